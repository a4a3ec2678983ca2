// The clients of `examples/clients`: what a back end and a driver do with an order is what they show.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after } from 'node:test';
import { fileURLToPath } from 'node:url';

import { startBrowser } from './support/browser.mjs';
import { PATIENCE_MS, within } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const examples = here('../../examples/clients/');
// Below the packages, where Node looks for those that an example imports.
const dir = mkdtempSync(here('node_modules/examples-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const browser = await startBrowser({ after });
const hub = await startHub({ after });

/** Calls the HTTP API as a back end; the answer. */
async function call(method, path, body) {
  const headers = { authorization: `Bearer ${token('shop', { role: 'service' })}`, 'content-type': 'application/json' };
  const answer = await fetch(`${hub.url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

/** An order in which Ana takes part, and another one of hers. */
async function twoOrders() {
  const [order, other] = [newOrder(), newOrder()];
  const participants = [{ userId: 'ana', role: 'customer', name: 'Ana' }];
  for (const id of [order, other]) await call('PUT', `/orders/${id}`, { status: 'NEW', participants });
  return { order, other };
}

/** Runs an example of Node; `says` waits for a line, `ended` for its status. */
function start(t, name, args) {
  copyFileSync(join(examples, name), join(dir, name));
  const env = { ...process.env, TOKEN: token('ana') };
  const child = spawn(process.execPath, [join(dir, name), ...args], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines = [];
  const waiting = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    for (const { wanted, resolve } of waiting) if (wanted === line) resolve();
  });
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  const says = (wanted) => within(
    lines.includes(wanted) ? Promise.resolve() : new Promise((resolve) => { waiting.push({ wanted, resolve }); }),
    () => `${JSON.stringify(wanted)} among ${JSON.stringify(lines)}`,
  );
  return { lines, says, ended: () => within(ended, 'its end') };
}

for (const [name, url, driver, status] of [
  ['order-app.mjs', () => hub.url, '= driver Dan', '= ON_THE_WAY'],
  ['chat.mjs', () => hub.plainUrl, '= assigned Dan', '= status ON_THE_WAY'],
]) {
  test(`${name} hears of status and driver, and ends when its user is removed`, async (t) => {
    const { order, other } = await twoOrders();
    const app = start(t, name, [order, url()]);
    await app.says(name === 'chat.mjs' ? `joined ${order}: Name of ana` : `joined ${order} (NEW): Name of ana`);
    await call('POST', `/orders/${other}/status`, { status: 'ELSEWHERE' });
    await call('POST', `/orders/${order}/assign`, { driverId: 'dan', driverName: 'Dan' });
    await app.says(driver);
    await call('POST', `/orders/${order}/status`, { status: 'ON_THE_WAY' });
    await app.says(status);
    assert.ok(!app.lines.some((line) => line.includes('ELSEWHERE')), app.lines.join('\n'));
    await call('DELETE', `/orders/${order}/participants/ana`);
    assert.equal(await app.ended(), 1);
  });
}

test('the tracking page follows the order to its end', async (t) => {
  const { order, other } = await twoOrders();
  const bundle = readFileSync(here('node_modules/socket.io-client/dist/socket.io.min.js'));
  const page = readFileSync(join(examples, 'tracking.html'));
  const server = createServer((request, response) => {
    const isPage = request.url.startsWith('/tracking.html');
    response.setHeader('content-type', isPage ? 'text/html' : 'text/javascript');
    response.end(isPage ? page : bundle);
  });
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const shown = await browser.newPage();
  const complaints = [];
  shown.on('pageerror', (error) => complaints.push(String(error)));
  const place = new URLSearchParams({ hub: hub.url, order, token: token('ana') });
  await shown.goto(`http://127.0.0.1:${server.address().port}/tracking.html#${place}`, { timeout: PATIENCE_MS });
  const says = (id, text) => shown.waitForFunction(
    ([at, wanted]) => document.getElementById(at).textContent === wanted, [id, text], { timeout: PATIENCE_MS },
  );
  await says('connection', 'connected');
  await says('status', 'NEW');
  await says('driver', 'none yet');
  await call('POST', `/orders/${order}/assign`, { driverId: 'dan', driverName: 'Dan' });
  await says('driver', 'Dan');
  const driver = await connectPlain(t, hub, 'dan', { role: 'driver' });
  await driver.call('driver:location', { orderId: order, lat: 45.2735, lng: 13.7142 });
  await says('position', '45.27350, 13.71420');
  await call('POST', `/orders/${other}/status`, { status: 'ELSEWHERE' });
  await call('POST', `/orders/${order}/status`, { status: 'ON_THE_WAY' });
  await says('status', 'ON_THE_WAY');
  await call('POST', `/orders/${order}/assign`, { driverId: 'eve' });
  await says('driver', 'eve');
  await says('position', 'none yet');
  await call('POST', `/orders/${order}/status`, { status: 'DELIVERED' });
  await says('status', 'DELIVERED');
  await call('DELETE', `/orders/${order}`);
  await says('connection', 'the order is gone');
  assert.deepEqual(complaints, []);
});
