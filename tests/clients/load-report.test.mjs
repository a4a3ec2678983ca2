// The page of `orderhub load --html` in a browser: alone, in light and dark, and on paper.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
async function open(t, options, path = file) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  const asked = [];
  const complaints = [];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  const url = pathToFileURL(path).href;
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

/** In the page: which tenths of the chart of chat times have something in the colour of a line. */
function tenthsWithLines() {
  const figure = [...document.querySelectorAll('#charts figure')].find((it) => it.querySelector('h3').textContent.startsWith('chat:'));
  const canvas = figure.querySelector('canvas');
  const plot = figure.querySelector('.u-over').getBoundingClientRect();
  const whole = canvas.getBoundingClientRect();
  const scale = canvas.width / whole.width;
  const left = (plot.left - whole.left) * scale;
  const width = plot.width * scale;
  const { data } = canvas.getContext('2d').getImageData(left, 0, width, plot.height * scale);
  const row = Math.floor(data.length / 4 / Math.floor(plot.height * scale));
  const tenths = Array.from({ length: 10 }, () => false);
  for (let pixel = 0; pixel < data.length / 4; pixel += 1) {
    const [red, green, blue, alpha] = data.subarray(pixel * 4, pixel * 4 + 4);
    // The lines have hues; axes and grid are grey.
    if (alpha > 0 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) {
      tenths[Math.min(9, Math.floor(((pixel % row) / row) * 10))] = true;
    }
  }
  return tenths;
}

test('no line leads through seconds without data, and a lone second is a point', async (t) => {
  const page = readFileSync(file, 'utf8');
  const begin = page.indexOf('id="report">') + 'id="report">'.length;
  const end = page.indexOf('</script>', begin);
  const report = JSON.parse(page.slice(begin, end));
  const [second] = report.seconds;
  const times = { chat: { count: 1, p50: 2, p99: 5, max: 9 } };
  const has = [0, 1, 2, 5, 8, 9, 10];
  report.seconds = Array.from({ length: 11 }, (_, at) => ({ ...second, at, times: has.includes(at) ? times : {} }));
  const path = join(dir, 'gap.html');
  writeFileSync(path, page.slice(0, begin) + JSON.stringify(report).replaceAll('<', '\\u003c') + page.slice(end));
  const { page: shown, complaints } = await open(t, {}, path);
  const tenths = await shown.evaluate(tenthsWithLines);
  assert.deepEqual([tenths[0], tenths[1], tenths[8], tenths[9]], [true, true, true, true]);
  assert.deepEqual([tenths[2], tenths[3], tenths[6], tenths[7]].filter(Boolean), [], String(tenths));
  assert.ok(tenths[4] || tenths[5], 'the second alone is not drawn');
  assert.deepEqual(complaints, []);
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
