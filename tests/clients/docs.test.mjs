// The page /docs in a browser: it shows every call, and asks nobody but the hub for anything. And what
// docs/backend.md has back ends copy.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { PATIENCE_MS } from './support/deadline.mjs';
import { startBrowser } from './support/browser.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { SECRET, token } from './support/tokens.mjs';

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

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test('a token that a back end signs as docs/backend.md says lets its user in', async (t) => {
  const guide = readFileSync(here('../../docs/backend.md'), 'utf8');
  const [, code] = guide.match(/### Node\n\n```js\n(.*?)```/s);
  // Below the packages, where Node looks for those that it imports.
  const dir = mkdtempSync(here('node_modules/docs-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'sign.mjs'), code);
  const { tokenFor } = await import(pathToFileURL(join(dir, 'sign.mjs')).href);
  process.env.JWT_SECRET = SECRET;
  const signed = tokenFor({ id: 'ana', name: 'Ana', role: 'customer' });
  const orderId = newOrder();
  const call = async (method, path, bearer, body) => {
    const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' };
    const answer = await fetch(`${hub.url}/api/v1/orders/${path}`, { method, headers, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  const service = token('shop', { role: 'service' });
  await call('PUT', orderId, service, { participants: [{ userId: 'ana', role: 'customer' }] });
  const said = await call('POST', `${orderId}/messages`, signed, { content: 'hello' });
  assert.equal(said.status, 201, JSON.stringify(said.body));
  const { body } = await call('GET', `${orderId}/messages`, service);
  const [{ senderId, senderName, senderRole }] = body.messages;
  assert.deepEqual([senderId, senderName, senderRole], ['ana', 'Ana', 'customer']);
});
