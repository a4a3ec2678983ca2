// The page /docs in a browser: it shows every call, and asks nobody but the hub for anything.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { PATIENCE_MS } from './support/deadline.mjs';
import { startBrowser } from './support/browser.mjs';
import { startHub } from './support/hub.mjs';

const browser = await startBrowser({ after });
const hub = await startHub({ after });

test('the page of the API shows every call and loads nothing from elsewhere', async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const elsewhere = [];
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== hub.url && protocol !== 'data:') elsewhere.push(request.url());
  });
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  await page.goto(`${hub.url}/docs`, { timeout: PATIENCE_MS });

  const { paths } = await (await fetch(`${hub.url}/openapi.json`)).json();
  const calls = Object.values(paths).flatMap((item) => Object.values(item));
  const shown = page.locator('.opblock-summary-description');
  await shown.nth(calls.length - 1).waitFor({ timeout: PATIENCE_MS });
  const summaries = await shown.allInnerTexts();
  assert.deepEqual(summaries.sort(), calls.map((call) => call.summary).sort());

  // One of them opens, with what it answers.
  await page.locator('#operations-Orders-show_order .opblock-summary-control').click();
  await page.locator('#operations-Orders-show_order .responses-table').waitFor({ timeout: PATIENCE_MS });
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(complaints, []);
});
