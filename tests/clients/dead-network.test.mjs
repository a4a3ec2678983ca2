// What the plain example does when the network dies without a word: no end of the connection, no answers.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { Inbox } from './support/inbox.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The example for a user, with what it prints in an inbox; gone with the test. */
function chat(t, url, order) {
  // Beside the packages of the tests: Node 20 needs `ws`.
  const folder = mkdtempSync(join(tmpdir(), 'orderhub-example-'));
  cpSync(here('../../examples/clients/chat.mjs'), join(folder, 'chat.mjs'));
  symlinkSync(here('node_modules'), join(folder, 'node_modules'));
  const child = spawn(process.execPath, ['chat.mjs', order, `${url.replace('http', 'ws')}/ws`], {
    cwd: folder,
    env: { ...process.env, TOKEN: token('ann', { orders: [order] }) },
  });
  t.after(() => child.kill());
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const said = new Inbox();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => said.push(line.split(' ')[0], line));
  }
  return { said, say: (content) => child.stdin.write(`${content}\n`) };
}

test('a dead network is noticed by a late answer, and nothing is lost', async (t) => {
  const hub = await startHub(t, { PING_INTERVAL_MS: 2000, PONG_TIMEOUT_MS: 2000 });
  const order = newOrder();
  const ann = chat(t, hub.url, order);
  await ann.said.take('joined');
  // It answers nothing, and ends nothing.
  hub.signal('SIGSTOP');
  assert.match(await ann.said.take('closed'), /^closed \(1006\), back in/);
  ann.say('kept');
  hub.signal('SIGCONT');
  await ann.said.take('joined');
  assert.equal(await ann.said.take('#1'), '#1 Name of ann: kept');
  const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders: [order] });
  await driver.call('chat:message', { orderId: order, content: 'heard' });
  assert.equal(await ann.said.take('#2'), '#2 Name of driver-1: heard');
});
