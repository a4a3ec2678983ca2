// A room with real clients: who hears what, and what senders are told.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { APP, CLIENTS, Device, RESUMING, connect, device, forEach } from './support/devices.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';

const hub = await startHub({ after });

/** A driver's device in the room of a new order. */
async function driverOf(t, client, order) {
  const driver = await connect(t, hub, client, 'driver-1', { role: 'driver', orders: [order] });
  assert.equal((await driver.join(order)).ok, true);
  return driver;
}

forEach(CLIENTS, 'three devices of two users hear position and chat', async (t, client) => {
  const order = newOrder();
  const phone = await connect(t, hub, client, 'ann', { orders: [order] });
  const tablet = await connect(t, hub, client, 'ann', { orders: [order] });
  const snapshot = await phone.join(order);
  assert.equal(snapshot.orderId, order);
  assert.deepEqual(snapshot.members, [
    { userId: 'ann', name: 'Name of ann', role: 'customer' },
  ]);
  assert.equal((await tablet.join(order)).ok, true);
  const driver = await driverOf(t, client, order);
  const everybody = [phone, tablet, driver];
  for (const device of [phone, tablet]) {
    assert.equal((await device.take('presence:joined')).userId, 'driver-1');
  }

  const fix = { orderId: order, lat: 45.27, lng: 13.71, speed: 8.3 };
  assert.deepEqual(await driver.call('driver:location', fix), { ok: true, accepted: 1 });
  for (const device of everybody) {
    const { timestamp, ...seen } = await device.take('location:updated');
    assert.deepEqual(seen, { ...fix, driverId: 'driver-1' });
    assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 60_000);
  }

  const said = await phone.chat(order, 'third floor', { clientMsgId: 'p-1' });
  for (const device of everybody) {
    assert.deepEqual(await device.take('chat:message'), {
      id: said.id,
      orderId: order,
      seq: 1,
      senderId: 'ann',
      senderName: 'Name of ann',
      senderRole: 'customer',
      content: 'third floor',
      type: 'TEXT',
      createdAt: said.createdAt,
      clientMsgId: 'p-1',
    });
  }
  const again = await tablet.chat(order, 'third floor', { clientMsgId: 'p-1' });
  assert.deepEqual(again, { ...said, duplicate: true });

  // One of two devices goes: its user is still there. Then the other one.
  tablet.close();
  phone.emit('chat:message', { orderId: order, content: 'still here' });
  await driver.take('chat:message', ({ seq }) => seq === 2);
  assert.deepEqual(driver.inbox.events(), []);
  phone.close();
  assert.equal((await driver.take('presence:left')).userId, 'ann');
  assert.deepEqual(driver.inbox.events(), []);
});

forEach(CLIENTS, 'plain and Socket.IO clients share a room', async (t, client) => {
  const order = newOrder();
  const plain = await connectPlain(t, hub, 'ann', { orders: [order] });
  await plain.call('order:join', { orderId: order });
  const driver = await driverOf(t, client, order);
  assert.equal((await plain.take('presence:joined')).userId, 'driver-1');

  await driver.call('driver:location', { orderId: order, lat: 1, lng: 2 });
  await driver.chat(order, 'ten minutes');
  await plain.call('chat:message', { orderId: order, content: 'žluťoučký 🐎' });
  for (const event of ['location:updated', 'chat:message', 'chat:message']) {
    assert.deepEqual(await plain.take(event), await driver.take(event));
  }
});

forEach(CLIENTS, 'without an ack the reply is an event', async (t, client) => {
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] });
  ann.emit('order:join', { orderId: order });
  const joined = await ann.take('order:joined');
  assert.equal(joined.orderId, order);
  assert.equal(joined.lastSeq, 0);
  ann.emit('order:leave', { orderId: order });
  assert.deepEqual(await ann.take('order:left'), { orderId: order, reason: 'requested' });
  ann.emit('chat:message', { orderId: 'order-of-others', content: 'hello' });
  const { message, ...exception } = await ann.take('exception');
  assert.equal(typeof message, 'string');
  assert.deepEqual(exception, {
    status: 'error',
    code: 'forbidden',
    event: 'chat:message',
    cause: { pattern: 'chat:message' },
  });
});

forEach(CLIENTS, 'a refused event has a code, and the connection stays', async (t, client) => {
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] });
  const code = async (...args) => (await ann.call(...args)).error.code;
  assert.equal(await code('order:join', { orderId: 'order-of-others' }), 'forbidden');
  assert.equal(await code('order:leave', { orderId: order }), 'not_joined');
  assert.equal(await code('order:join', { orderId: 5.5 }), 'invalid_payload');
  assert.equal(await code('order:join', null), 'invalid_payload');
  assert.equal(await code('chat:message', { orderId: order, content: '' }), 'invalid_payload');
  assert.equal(await code('order:steal', { orderId: order }), 'unknown_event');
  assert.equal(await code('error', { orderId: order }), 'unknown_event');
  assert.equal(await code('driver:location', { orderId: order, lat: 1, lng: 2 }), 'forbidden');
  assert.equal((await ann.join(order)).ok, true);
  assert.deepEqual(ann.life.events(), []);
});

forEach(CLIENTS, 'both namespaces serve, two on one connection are two sessions', async (t, client) => {
  const order = newOrder();
  const auth = { token: token('ann', { orders: [order] }) };
  const events = device(t, `${hub.url}/events`, client, { auth });
  await events.life.take('connect');
  const root = new Device(events.socket.io.socket('/', { auth }));
  t.after(() => root.close());
  await root.life.take('connect');
  assert.notEqual(root.socket.id, events.socket.id);

  await events.join(order);
  await root.join(order);
  await root.chat(order, 'hello');
  for (const session of [events, root]) {
    assert.equal((await session.take('chat:message')).content, 'hello');
  }
  // One goes, the other one stays.
  events.close();
  await root.chat(order, 'still here');
  assert.equal((await root.take('chat:message')).content, 'still here');
  assert.deepEqual(events.inbox.of('chat:message'), []);
});

forEach(RESUMING, 'emitWithAck gives the result', async (t, client) => {
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] });
  const socket = ann.socket.timeout(20_000);
  assert.equal((await socket.emitWithAck('order:join', { orderId: order })).lastSeq, 0);
  const message = { orderId: order, content: 'hello' };
  assert.equal((await socket.emitWithAck('chat:message', message)).seq, 1);
  const { messages, hasMore } = await socket.emitWithAck('chat:history', { orderId: order, afterSeq: 0 });
  assert.deepEqual(messages.map(({ content }) => content), ['hello']);
  assert.equal(hasMore, false);
});

test('joins are counted, as screens share a socket', async (t) => {
  const order = newOrder();
  const ann = await connect(t, hub, APP, 'ann', { orders: [order] });
  await ann.join(order);
  await ann.join(order);
  assert.deepEqual(await ann.call('order:leave', { orderId: order }), { ok: true, remaining: 1 });
  await ann.chat(order, 'one screen left');
  await ann.take('chat:message');
  assert.deepEqual(await ann.call('order:leave', { orderId: order }), { ok: true, remaining: 0 });
});

test('only chat ends in a string, which is its offset', async (t) => {
  const order = newOrder();
  const ann = await connect(t, hub, APP, 'ann', { orders: [order] });
  ann.emit('order:join', { orderId: order });
  await ann.take('order:joined');
  const driver = await driverOf(t, APP, order);
  await driver.call('driver:location', { orderId: order, lat: 1, lng: 2 });
  await ann.chat(order, 'hello');
  await ann.call('ping', 'anything');
  const told = ann.inbox.all();
  const events = ['presence:joined', 'location:updated', 'chat:message', 'pong'];
  assert.deepEqual(told.map(({ event }) => event), events);
  for (const { event, args } of told) {
    if (event === 'chat:message') assert.equal(args[1], `${order}:1`);
    else if (event !== 'pong') assert.equal(args.length, 1);
  }
});
