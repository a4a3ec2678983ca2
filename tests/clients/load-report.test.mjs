// The page of `orderhub load --html` in a browser: alone, in light and dark, and on paper.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { startBrowser } from './support/browser.mjs';
import { PATIENCE_MS } from './support/deadline.mjs';
import { BINARY, startHub } from './support/hub.mjs';
import { SECRET } from './support/tokens.mjs';

const dir = mkdtempSync(join(tmpdir(), 'orderhub-load-report-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const browser = await startBrowser({ after });
const hub = await startHub({ after });
const file = join(dir, 'page.html');
const args = ['load', 'chat', '--rooms', '3', '--ramp-up', '300ms', '--hold', '3s', '--html', file];
await promisify(execFile)(BINARY, [...args, '--url', hub.url, '--metrics', `${hub.url}/metrics`], {
  env: { JWT_SECRET: SECRET },
});

/** The page, with what it asked for and complained of. */
async function open(t, options) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  const asked = [];
  const complaints = [];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  const url = pathToFileURL(file).href;
  await page.goto(url, { timeout: PATIENCE_MS });
  return { page, asked, complaints, url };
}

/** In the page: the titles of the charts on which something is drawn, and the colours of it all. */
function look() {
  const drawn = (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value > 0);
  };
  const figures = [...document.querySelectorAll('#charts figure')];
  const body = getComputedStyle(document.body);
  return {
    charts: figures
      .filter((it) => drawn(it.querySelector('canvas')))
      .map((it) => it.querySelector('h3').textContent),
    colours: `${body.color} on ${body.backgroundColor}`,
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  };
}

test('the page asks for nothing, and draws what was measured', async (t) => {
  const { page, asked, complaints, url } = await open(t, {});
  const { charts } = await page.evaluate(look);
  const wanted = ['chat: milliseconds', 'Milliseconds by percentile', 'Messages a second'];
  for (const title of [...wanted, 'Memory of the hub: MB']) {
    assert.ok(charts.includes(title), `${title} is not among ${charts}`);
  }
  assert.deepEqual(asked, [url]);
  assert.deepEqual(complaints, []);
  assert.match(await page.innerText('body'), /Promises kept/);
});

test('the page follows the dark mode, is light on paper and fits on a phone', async (t) => {
  const viewport = { width: 360, height: 700 };
  const { page, complaints } = await open(t, { colorScheme: 'dark', viewport });
  const dark = await page.evaluate(look);
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  const paper = await page.evaluate(look);
  await page.emulateMedia({ media: 'screen', colorScheme: 'light' });
  const light = await page.evaluate(look);
  assert.notEqual(dark.colours, light.colours);
  assert.equal(paper.colours, light.colours);
  assert.deepEqual(paper.charts, dark.charts);
  assert.equal(dark.wide, false);
  assert.deepEqual(complaints, []);
});
