// The hub goes and comes back: clients find it by themselves and miss nothing.

import assert from 'node:assert/strict';

import { CLIENTS, RESUMING, connect, forEach } from './support/devices.mjs';
import { within } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';

/** The app's own settings. */
const BACK_OFF = { reconnectionAttempts: 5, reconnectionDelay: 1000, reconnectionDelayMax: 5000 };

/** The numbers of the attempts with which it comes back. */
const reconnected = (device) =>
  within(new Promise((resolve) => device.socket.io.once('reconnect', resolve)), 'reconnected');

const seqs = (messages) => messages.map(({ seq }) => seq);

forEach(CLIENTS, 'killed and started again: back within the back-off, rejoined by sinceSeq', async (t, client) => {
  const hub = await startHub(t, {}, { comesBack: true });
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] }, BACK_OFF);
  await ann.settled();
  await ann.join(order);
  await ann.chat(order, 'one');
  await ann.take('chat:message');
  const firstId = ann.socket.id;

  const back = reconnected(ann);
  await hub.kill();
  await ann.life.take('disconnect');
  await hub.startAgain();
  const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders: [order] });
  const say = (content) => driver.call('chat:message', { orderId: order, content });
  assert.equal((await say('two')).seq, 2);
  assert.equal((await say('three')).seq, 3);
  assert.ok((await back) <= BACK_OFF.reconnectionAttempts);
  await ann.life.take('connect');
  assert.notEqual(ann.socket.id, firstId);
  assert.ok(!ann.socket.recovered);

  const room = await ann.join(order, { sinceSeq: 1 });
  assert.equal(room.recovered, true);
  assert.deepEqual(seqs(room.messages), [2, 3]);
  await say('four');
  assert.equal((await ann.take('chat:message')).seq, 4);
  assert.deepEqual(ann.inbox.of('chat:message'), []);
});

forEach(CLIENTS, 'SIGTERM says when to come back, and the next process is found', async (t, client) => {
  const hub = await startHub(t, {}, { comesBack: true });
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] }, BACK_OFF);
  await ann.settled();
  await ann.join(order);
  const back = reconnected(ann);
  hub.signal('SIGTERM');
  const { reconnectAfterMs, ...end } = await ann.take('session:end');
  assert.deepEqual(end, { code: 1012, reason: 'restart', retry: true });
  assert.ok(reconnectAfterMs >= 1000 && reconnectAfterMs <= 5000, `${reconnectAfterMs}`);
  // Not `io server disconnect`: then the client would stay away.
  assert.notEqual(await ann.life.take('disconnect'), 'io server disconnect');
  assert.deepEqual(await hub.ended(), { code: 0, signal: null });
  await hub.startAgain();
  assert.ok((await back) <= BACK_OFF.reconnectionAttempts);
  assert.equal((await ann.join(order)).ok, true);
});

forEach(RESUMING, 'after a deploy the session is recovered: an app that never rejoins loses nothing', async (t, client) => {
  const hub = await startHub(t, {}, { comesBack: true });
  const orders = [newOrder(), newOrder()];
  const driver = await connect(t, hub, client, 'driver-1', { role: 'driver', orders });
  const ann = await connect(t, hub, client, 'ann', { orders }, BACK_OFF);
  await ann.settled();
  for (const order of orders) {
    await ann.join(order);
    await driver.chat(order, 'before');
    await ann.take('chat:message');
  }
  const { id } = ann.socket;
  const back = reconnected(ann);
  hub.signal('SIGTERM');
  await ann.life.take('disconnect');
  await hub.startAgain();
  const plain = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders });
  for (const orderId of orders) await plain.call('chat:message', { orderId, content: 'meanwhile' });
  await back;
  await ann.life.take('connect');
  for (const orderId of orders) await plain.call('chat:message', { orderId, content: 'after' });
  for (const order of orders) {
    const mine = ({ orderId }) => orderId === order;
    assert.equal((await ann.take('chat:message', mine)).content, 'meanwhile');
    assert.equal((await ann.take('chat:message', mine)).content, 'after');
  }
  assert.equal(ann.socket.recovered, true);
  assert.equal(ann.socket.id, id);
  assert.deepEqual(ann.inbox.of('chat:message'), []);
});
