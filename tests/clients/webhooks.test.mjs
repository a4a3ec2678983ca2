// The receiver of webhooks in `examples/webhooks`: who did not see a message gets a push, also while the secret is
// replaced; what another one sent gets none.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once as onceOf } from 'node:events';
import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { until, within } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { token } from './support/tokens.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const secret = () => `whsec_${randomBytes(32).toString('base64')}`;

/** What Expo would be sent; `fails` of them are refused first. */
async function startExpo(t, fails) {
  const pushes = [];
  const server = createServer(async (request, response) => {
    const parts = await request.toArray();
    const isRefused = fails-- > 0;
    if (!isRefused) pushes.push(...JSON.parse(Buffer.concat(parts)));
    response.writeHead(isRefused ? 503 : 200).end('{}');
  });
  server.listen(0, '127.0.0.1');
  await onceOf(server, 'listening');
  t.after(() => server.close());
  return { pushes, url: `http://127.0.0.1:${server.address().port}/push` };
}

/** Runs the example; its port. */
async function startReceiver(t, secrets, expo, port = 0) {
  // Below the packages, where Node looks for those that it imports.
  const dir = mkdtempSync(here('node_modules/webhooks-'));
  copyFileSync(here('../../examples/webhooks/receiver.mjs'), join(dir, 'receiver.mjs'));
  const env = {
    ...process.env,
    WEBHOOK_SECRETS: secrets.join(','),
    PUSH_TOKENS: JSON.stringify({ ana: 'ExponentPushToken[ana]' }),
    EXPO_URL: expo.url,
  };
  const child = spawn(process.execPath, [join(dir, 'receiver.mjs'), String(port)], { env });
  const stop = async () => {
    if (child.exitCode === null && child.kill('SIGKILL')) await onceOf(child, 'exit');
    rmSync(dir, { recursive: true, force: true });
  };
  t.after(stop);
  const line = await within(onceOf(createInterface({ input: child.stdout }), 'line'), 'the receiver listens');
  return { port: Number(String(line).match(/^listens on (\d+)$/)[1]), stop };
}

test('a push is sent for a message that was not seen, also while the secret is replaced', async (t) => {
  const [first, second] = [secret(), secret()];
  const expo = await startExpo(t, 1);
  let receiver = await startReceiver(t, [first], expo);
  const { port } = receiver;

  const dir = mkdtempSync(join(tmpdir(), 'orderhub-client-tests-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'webhooks.toml');
  const write = (...secrets) => {
    const entry = { name: 'push', url: `http://127.0.0.1:${port}/`, secrets, events: ['chat.unread'] };
    const lines = Object.entries(entry).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
    writeFileSync(join(dir, 'draft'), `[[endpoints]]\n${lines.join('')}`);
    renameSync(join(dir, 'draft'), file);
  };
  write(first);
  const hub = await startHub(t, {
    WEBHOOKS_FILE: file, WEBHOOK_RETRY_SCHEDULE: '100ms,100ms,100ms,1s', UNREAD_AFTER_SECS: '1',
  });
  const call = async (method, path, body) => {
    const headers = { authorization: `Bearer ${token('shop', { role: 'service' })}`, 'content-type': 'application/json' };
    const answer = await fetch(`${hub.url}/api/v1/orders/${path}`, { method, headers, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.text()}`);
  };
  const isPushed = async (text) => {
    const order = newOrder();
    await call('PUT', order, { participants: [{ userId: 'ana', role: 'customer' }] });
    await call('POST', `${order}/messages`, { senderId: 'bob', senderName: 'Bob', content: text });
    await until(() => expo.pushes.some(({ body }) => body === text), `a push that says ${text}`);
    const push = expo.pushes.find(({ body }) => body === text);
    assert.deepEqual(push, { to: 'ExponentPushToken[ana]', title: 'Bob', body: text, badge: 1, data: { orderId: order } });
  };
  const counts = () => hub.log().split('WEBHOOKS_FILE: 1 endpoints of').length;

  // The first try fails at Expo, and the hub tries again.
  await isPushed('one');

  // Both sign; the receiver knows the old one, then the new one as well.
  let before = counts();
  write(second, first);
  await until(() => counts() > before, 'the new secret');
  await isPushed('two');
  await receiver.stop();
  receiver = await startReceiver(t, [second, first], expo, port);
  await isPushed('three');

  // The old one goes.
  before = counts();
  write(second);
  await until(() => counts() > before, 'the end of the old secret');
  await isPushed('four');
  // The receiver that was stopped may not have answered for "two", which then came once more.
  const pushes = new Map(expo.pushes.map(({ body }) => [body, expo.pushes.filter((push) => push.body === body).length]));
  assert.deepEqual([...pushes.keys()].sort(), ['four', 'one', 'three', 'two']);
  assert.ok(pushes.get('two') <= 2 && pushes.get('one') + pushes.get('three') + pushes.get('four') === 3, [...pushes]);
  const beforeForgery = expo.pushes.length;

  // What the hub has not signed is refused.
  const forged = { type: 'chat.unread', timestamp: new Date().toISOString(), data: { userId: 'ana', messages: [] } };
  const answer = await fetch(`http://127.0.0.1:${port}/`, {
    method: 'POST',
    headers: {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
      'webhook-signature': 'v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    },
    body: JSON.stringify(forged),
  });
  assert.equal(answer.status, 401);
  assert.equal(expo.pushes.length, beforeForgery);
});
