// A device sends, all at once, what it has kept while it was offline; and what becomes of one that floods.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { APP, CLIENTS, connect, forEach } from './support/devices.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { wireTo } from './support/wire.mjs';

const POSITIONS = 150;
const MESSAGES = 5;

const hub = await startHub({ after });

/** When a position was taken: a second after the one before. */
const taken = (number) => new Date(Date.now() - 1000 * (POSITIONS - number)).toISOString();

forEach(CLIENTS, 'sends all that it kept while offline: stored once, no error, not cut', async (t, client) => {
  const order = newOrder();
  const user = `driver-${order}`;
  const wire = await wireTo(t, hub);
  const device = await connect(t, wire, client, user, { role: 'driver', orders: [order] });
  await device.settled();
  const watcher = await connectPlain(t, hub, 'watcher', { orders: [order] });
  assert.equal((await watcher.call('order:join', { orderId: order })).ok, true);

  wire.down();
  await device.life.take('disconnect');
  // The stock client keeps what is emitted now, and sends it when it is back.
  const acks = [];
  for (let number = 0; number < POSITIONS; number += 1) {
    const fix = { orderId: order, lat: 45, lng: number / 10, recordedAt: taken(number) };
    device.emit('driver:location', fix);
    if (number % 30 === 29) {
      const say = { orderId: order, content: `word ${acks.length}`, clientMsgId: `m${acks.length}` };
      acks.push(new Promise((resolve) => device.socket.emit('chat:message', say, resolve)));
    }
  }
  wire.up();
  const said = await Promise.all(acks);
  assert.deepEqual(said.map(({ ok, seq }) => [ok, seq]), said.map((_, index) => [true, index + 1]));

  const newest = ({ lng }) => lng === (POSITIONS - 1) / 10;
  await watcher.take('location:updated', newest);
  const { messages } = await watcher.call('chat:history', { orderId: order });
  assert.deepEqual(messages.map(({ content }) => content), said.map((_, index) => `word ${index}`));
  assert.equal(messages.length, MESSAGES);
  assert.equal(device.inbox.of('exception').length, 0);
  assert.equal(device.inbox.of('session:end').length, 0);
  assert.ok(device.connected);
});

test('a device that floods is cut once, and is back when its pause is over', async (t) => {
  const order = newOrder();
  const device = await connect(t, hub, APP, 'flooder', { orders: [order] });
  for (let number = 0; number < 2000; number += 1) device.emit('ping', number);
  const end = await device.take('session:end');
  assert.deepEqual([end.code, end.reason, end.retry], [4029, 'rate_limited', true]);
  await device.life.take('disconnect');
  const cut = Date.now();
  await device.life.take('connect');
  assert.ok(Date.now() - cut > 8_000, `back after ${Date.now() - cut} ms`);
  assert.equal((await device.join(order)).ok, true);
});
