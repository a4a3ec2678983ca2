// A connection is cut and taken up again: its rooms are there, and nothing is missed or doubled.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { APP, CLIENTS, RESUMING, connect, device, forEach } from './support/devices.mjs';
import { until } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';
import { wireTo } from './support/wire.mjs';

/** Speakers need not wait for the limit on chat. */
const TALKATIVE = { CHAT_PER_SECOND: 0, EVENTS_PER_SECOND: 0 };

const hub = await startHub({ after }, TALKATIVE);

/** A driver on the plain framing, who speaks in these rooms. */
async function speaker(t, orders, at = hub) {
  const driver = await connectPlain(t, at, 'driver-1', { role: 'driver', orders });
  driver.say = async (orderId, content) => {
    const { ok, seq } = await driver.call('chat:message', { orderId, content });
    assert.equal(ok, true);
    return seq;
  };
  return driver;
}

/** Ann's device behind a wire, in these rooms. */
async function annBehind(t, wire, client, orders, options) {
  const ann = await connect(t, wire, client, 'ann', { orders }, options);
  for (const order of orders) assert.equal((await ann.join(order)).ok, true);
  await ann.settled();
  return ann;
}

/** Waits until it is back. */
async function back(ann) {
  await ann.life.take('disconnect');
  await ann.life.take('connect');
}

const seqs = (device, order) =>
  device.inbox.of('chat:message').filter(({ orderId }) => orderId === order).map(({ seq }) => seq);

forEach(RESUMING, 'cut and resumed: recovered, nothing missed or doubled', async (t, client) => {
  const orders = [newOrder(), newOrder()];
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, orders);
  const driver = await speaker(t, orders);
  const { id } = ann.socket;
  for (const order of orders) await driver.say(order, 'heard');
  await until(() => orders.every((order) => seqs(ann, order).length === 1), 'the first are heard');

  wire.down();
  await ann.life.take('disconnect');
  for (let more = 0; more < 3; more++) for (const order of orders) await driver.say(order, 'missed');
  wire.up();
  await ann.life.take('connect');
  assert.equal(ann.socket.recovered, true);
  assert.equal(ann.socket.id, id);
  for (const order of orders) assert.equal(await driver.say(order, 'heard again'), 5);
  const whole = () => orders.every((order) => seqs(ann, order).at(-1) === 5);
  await until(whole, 'the last are heard');
  for (const order of orders) assert.deepEqual(seqs(ann, order), [1, 2, 3, 4, 5]);
  assert.deepEqual(new Set(ann.inbox.events()), new Set(['chat:message']));
});

forEach(RESUMING, 'back in twenty rooms in which much was said: not cut, nothing missed', async (t, client) => {
  const orders = Array.from({ length: 20 }, newOrder);
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, orders);
  const driver = await speaker(t, orders);
  const { id } = ann.socket;
  await driver.say(orders[0], 'heard');
  await until(() => seqs(ann, orders[0]).length === 1, 'the first is heard');

  wire.down();
  await ann.life.take('disconnect');
  for (const order of orders) {
    await Promise.all(Array.from({ length: 60 }, (_, number) => driver.say(order, `missed ${number}`)));
  }
  wire.up();
  await ann.life.take('connect');
  assert.equal(ann.socket.recovered, true);
  assert.equal(ann.socket.id, id);
  const last = (order) => (order === orders[0] ? 61 : 60);
  await until(() => orders.every((order) => seqs(ann, order).length >= last(order)), 'all is heard');
  for (const order of orders) {
    assert.deepEqual(seqs(ann, order), Array.from({ length: last(order) }, (_, at) => at + 1));
  }
  assert.equal(ann.socket.id, id, 'it was not cut on the way');
});

forEach(RESUMING, 'cut again and again while others speak', async (t, client) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, [order]);
  const driver = await speaker(t, [order]);
  let last = 0;
  for (let cuts = 0; cuts < 4; cuts++) {
    for (let said = 0; said < 2; said++) last = await driver.say(order, 'before');
    wire.down();
    for (let said = 0; said < 2; said++) last = await driver.say(order, 'after');
    await ann.life.take('disconnect');
    wire.up();
    await ann.life.take('connect');
    await ann.settled();
    assert.equal(ann.socket.recovered, true);
  }
  await until(() => seqs(ann, order).at(-1) === last, 'the last is heard');
  assert.deepEqual(seqs(ann, order), Array.from({ length: last }, (_, index) => index + 1));
});

forEach(RESUMING, 'what was said into the hole arrives once', async (t, client) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, [order]);
  const witness = await connect(t, hub, client, 'bob', { orders: [order] });
  await witness.join(order);
  wire.down();
  await ann.life.take('disconnect');
  // Kept by the client until it is connected.
  const said = ann.chat(order, 'out of the tunnel');
  wire.up();
  assert.equal((await said).seq, 1);
  for (const device of [ann, witness]) {
    assert.equal((await device.take('chat:message')).content, 'out of the tunnel');
    await device.call('ping', {});
    assert.deepEqual(device.inbox.of('chat:message'), []);
  }
});

forEach(CLIENTS, 'an app that joins again with sinceSeq misses nothing either', async (t, client) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, [order]);
  const driver = await speaker(t, [order]);
  await driver.say(order, 'heard');
  await ann.take('chat:message');
  wire.down();
  await ann.life.take('disconnect');
  await driver.say(order, 'missed');
  wire.up();
  await ann.life.take('connect');
  const room = await ann.join(order, { sinceSeq: 1 });
  assert.equal(room.recovered, true);
  assert.deepEqual(room.messages.map(({ seq }) => seq), [2]);
  await driver.say(order, 'heard again');
  await ann.take('chat:message', ({ seq }) => seq === 3);
  // Where the session was recovered the missed one was an event as well: the app sees its seq.
  assert.deepEqual(seqs(ann, order), client.resumes ? [2] : []);
});

forEach(RESUMING, 'a join whose snapshot was lost: the room is shown once it is back', async (t, client) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const driver = await speaker(t, [order]);
  await driver.call('order:join', { orderId: order });
  for (let said = 0; said < 3; said++) await driver.say(order, 'before the join');
  const phone = await connect(t, wire, client, 'ann', { orders: [order] });
  await phone.settled();
  wire.deafen();
  phone.emit('order:join', { orderId: order });
  await driver.take('presence:joined', ({ userId }) => userId === 'ann');
  await driver.say(order, 'lost');
  wire.down();
  await phone.life.take('disconnect');
  await driver.say(order, 'missed');
  wire.up();
  await phone.life.take('connect');
  assert.equal(phone.socket.recovered, true);
  const room = await phone.take('order:joined');
  assert.deepEqual(room.messages.map(({ seq }) => seq), [1, 2, 3]);
  assert.equal(await driver.say(order, 'heard'), 6);
  await until(() => seqs(phone, order).at(-1) === 6, 'the last is heard');
  assert.deepEqual(seqs(phone, order), [4, 5, 6]);
  // Now it has it for sure.
  wire.cut();
  await back(phone);
  await driver.say(order, 'heard too');
  await until(() => seqs(phone, order).at(-1) === 7, 'it is heard');
  assert.deepEqual(phone.inbox.events().filter((event) => event !== 'chat:message'), []);
});

test('nobody notices who is back in time', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, APP, [order]);
  const bob = await connect(t, hub, APP, 'bob', { orders: [order] });
  await bob.join(order);
  const came = back(ann);
  wire.cut();
  await came;
  await ann.chat(order, 'there');
  assert.equal((await bob.take('chat:message')).content, 'there');
  assert.deepEqual(bob.inbox.events(), []);
});

test('a join after a resume does not count twice', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, APP, [order]);
  // As apps do: on every connect.
  let rejoined;
  ann.socket.on('connect', () => (rejoined = ann.join(order)));
  const came = back(ann);
  wire.cut();
  await came;
  assert.equal((await rejoined).ok, true);
  assert.equal(ann.socket.recovered, true);
  assert.deepEqual(await ann.call('order:leave', { orderId: order }), { ok: true, remaining: 0 });
});

test('two joins are two after a resume as well', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, APP, [order]);
  await ann.join(order);
  const came = back(ann);
  wire.cut();
  await came;
  assert.deepEqual(await ann.call('order:leave', { orderId: order }), { ok: true, remaining: 1 });
  assert.deepEqual(await ann.call('order:leave', { orderId: order }), { ok: true, remaining: 0 });
});

forEach(RESUMING, 'a device that changed networks takes its session over', async (t, client) => {
  const own = await startHub(t);
  const order = newOrder();
  const wire = await wireTo(t, own);
  const ann = await annBehind(t, wire, client, [order]);
  const driver = await speaker(t, [order], own);
  const { id } = ann.socket;
  const came = back(ann);
  // The hub still holds the old connection, and hears nothing on it.
  wire.lose();
  await driver.say(order, 'missed');
  await came;
  assert.equal(ann.socket.recovered, true);
  assert.equal(ann.socket.id, id);
  await driver.say(order, 'heard');
  await until(() => seqs(ann, order).length === 2, 'both are heard');
  assert.deepEqual(seqs(ann, order), [1, 2]);
  // The old one is closed, not left to its pings.
  await until(async () => (await own.connections()) === 2, 'a connection for each of the two');
});

/** Resumes after `meanwhile`, and finds that a right is gone. */
async function losesOneOfTwo(t, wire, ann, [lost, kept], meanwhile, cut = () => wire.down()) {
  const driver = await speaker(t, [lost, kept]);
  const { id } = ann.socket;
  cut();
  await ann.life.take('disconnect');
  for (const order of [lost, kept]) await driver.say(order, 'missed');
  await meanwhile();
  wire.up();
  await ann.life.take('connect');
  assert.deepEqual(await ann.take('order:left'), { orderId: lost, reason: 'removed' });
  assert.ok(!ann.socket.recovered);
  assert.notEqual(ann.socket.id, id);
  for (const order of [lost, kept]) await driver.say(order, 'now');
  await until(() => seqs(ann, kept).at(-1) === 2, 'the room that is left is heard');
  assert.deepEqual(seqs(ann, kept), [1, 2]);
  assert.deepEqual(seqs(ann, lost), []);
}

forEach(RESUMING, 'rights that an admin has taken: not recovered, the other room is', async (t, client) => {
  const orders = [newOrder(), newOrder()];
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, orders);
  await losesOneOfTwo(t, wire, ann, orders, async () => {
    const { status } = await hub.admin('DELETE', `/admin/v1/rooms/${orders[0]}/members/ann`);
    assert.equal(status, 200);
  });
  assert.equal((await ann.join(orders[0])).error.code, 'forbidden');
});

forEach(RESUMING, 'rights that are taken before the hub knows of the cut', async (t, client) => {
  const orders = [newOrder(), newOrder()];
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, client, orders);
  const remove = () => hub.admin('DELETE', `/admin/v1/rooms/${orders[0]}/members/ann`);
  await losesOneOfTwo(t, wire, ann, orders, remove, () => {
    wire.hold();
    wire.lose();
  });
});

test('rights that a new token does not have: not recovered, the other room is', async (t) => {
  const orders = [newOrder(), newOrder()];
  const wire = await wireTo(t, hub);
  let rights = orders;
  const auth = (give) => give({ token: token('ann', { orders: rights }) });
  const ann = await annBehind(t, wire, APP, orders, { auth });
  await losesOneOfTwo(t, wire, ann, orders, () => (rights = [orders[1]]));
});

forEach(RESUMING, "another user's pid is worth nothing", async (t, client) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const auths = { now: token('ann', { orders: [order] }) };
  const auth = (give) => give({ token: auths.now });
  const phone = device(t, `${wire.url}/events`, client, { auth });
  await phone.life.take('connect');
  await phone.join(order);
  await phone.settled();
  const driver = await speaker(t, [order]);
  await driver.say(order, 'for ann');
  await phone.take('chat:message');
  const { id } = phone.socket;
  wire.down();
  await phone.life.take('disconnect');
  await driver.say(order, 'for ann alone');
  // The phone is bob's now, and may not even see this order.
  auths.now = token('bob');
  wire.up();
  await phone.life.take('connect');
  assert.ok(!phone.socket.recovered);
  assert.notEqual(phone.socket.id, id);
  assert.equal((await phone.join(order)).error.code, 'forbidden');
  assert.deepEqual(phone.inbox.events(), []);
});

test('without RESUME_SECS there is no pid, and sinceSeq does', async (t) => {
  const forgetful = await startHub(t, { RESUME_SECS: 0 });
  const order = newOrder();
  const wire = await wireTo(t, forgetful);
  const ann = await annBehind(t, wire, APP, [order]);
  const driver = await speaker(t, [order], forgetful);
  await driver.say(order, 'heard');
  await ann.take('chat:message');
  const came = back(ann);
  wire.cut();
  await came;
  assert.ok(!ann.socket.recovered);
  await driver.say(order, 'missed');
  const room = await ann.join(order, { sinceSeq: 1 });
  assert.deepEqual(room.messages.map(({ seq }) => seq), [2]);
  assert.deepEqual(seqs(ann, order), []);
});

test('a client that asks for no resume gets no offsets', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const auth = { token: token('ann', { orders: [order] }), resume: false };
  const ann = await annBehind(t, wire, APP, [order], { auth });
  await ann.chat(order, 'hello');
  await ann.take('chat:message');
  let args;
  ann.socket.once('chat:message', (...all) => (args = all));
  await ann.chat(order, 'again');
  await ann.take('chat:message');
  assert.equal(args.length, 1);
  const came = back(ann);
  wire.cut();
  await came;
  assert.ok(!ann.socket.recovered);
});

test('a session that was left in order is not there any more', async (t) => {
  const order = newOrder();
  const ann = await annBehind(t, hub, APP, [order]);
  const { id } = ann.socket;
  ann.close();
  ann.socket.connect();
  await ann.life.take('disconnect');
  await ann.life.take('connect');
  assert.ok(!ann.socket.recovered);
  assert.notEqual(ann.socket.id, id);
  assert.equal((await ann.call('order:leave', { orderId: order })).error.code, 'not_joined');
});

test('a long absence: everything missed comes, once', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, APP, [order]);
  const driver = await speaker(t, [order]);
  await driver.say(order, 'heard');
  await ann.take('chat:message');
  wire.down();
  await ann.life.take('disconnect');
  for (let said = 0; said < 150; said++) await driver.say(order, 'missed');
  wire.up();
  await ann.life.take('connect');
  assert.equal(ann.socket.recovered, true);
  await until(() => seqs(ann, order).length >= 150, 'all are heard');
  await ann.call('ping', {});
  assert.deepEqual(seqs(ann, order), Array.from({ length: 150 }, (_, index) => index + 2));
});

test('an offset that the hub does not know: rejoined, and the rest by history', async (t) => {
  const order = newOrder();
  const wire = await wireTo(t, hub);
  const ann = await annBehind(t, wire, APP, [order]);
  const driver = await speaker(t, [order]);
  const { id } = ann.socket;
  await driver.say(order, 'heard');
  await ann.take('chat:message');
  wire.down();
  await ann.life.take('disconnect');
  await driver.say(order, 'missed');
  ann.socket._lastOffset = `${order}:999999`;
  wire.up();
  await ann.life.take('connect');
  assert.ok(!ann.socket.recovered);
  assert.notEqual(ann.socket.id, id);
  const { messages } = await ann.call('chat:history', { orderId: order, afterSeq: 1 });
  assert.deepEqual(messages.map(({ seq }) => seq), [2]);
  assert.equal(await driver.say(order, 'heard again'), 3);
  await ann.take('chat:message', ({ seq }) => seq === 3);
});
