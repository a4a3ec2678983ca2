// The app as it is, with nothing but its URL changed: every line of its socket service.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { io as newest } from 'socket.io-client';
import { io as oldest } from 'socket.io-client-4.0';

import { SocketHook, SocketService } from './support/app.mjs';
import { until } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { Inbox } from './support/inbox.mjs';
import { connectPlain } from './support/plain.mjs';
import { FORGED, token } from './support/tokens.mjs';
import { wireTo } from './support/wire.mjs';

// The gateway's tokens name a user and no orders.
const OPEN = { JOIN_POLICY: 'open' };

const hub = await startHub({ after }, OPEN);

/** A phone with the app: its service, its store, and what it logs. */
function phone(t, url, user, { io = newest, ...claims } = {}) {
  const store = { accessToken: token(user, claims), isAuthenticated: true };
  const log = new Inbox();
  const service = new SocketService({ io, url, store, log: (...line) => log.push(...line) });
  t.after(() => service.disconnect());
  return { service, store, log };
}

/** The same, connected. */
async function connected(t, ...where) {
  const made = phone(t, ...where);
  made.service.connect();
  await made.log.take('connected');
  return made;
}

/** Has a phone join an order; the snapshot. */
function joined({ service }, order) {
  const told = new Inbox();
  service.on('order:joined', (data) => told.push('order:joined', data));
  service.joinOrderRoom(order);
  return told.take('order:joined', ({ orderId }) => orderId === order);
}

const WHERE = [
  ['newest at /events', '/events', newest],
  ['newest at /', '', newest],
  ['4.0 at /events', '/events', oldest],
  ['4.0 at /', '', oldest],
];

for (const [name, path, io] of WHERE) {
  const url = hub.url + path;

  test(`connects with its token, and is disconnected when it says so (${name})`, async (t) => {
    const { service, log } = phone(t, url, 'ann', { io });
    assert.equal(service.isConnected(), false);
    service.connect();
    assert.match(await log.take('connected'), /./);
    assert.equal(service.isConnected(), true);
    service.disconnect();
    assert.equal(await log.take('disconnected'), 'io client disconnect');
    assert.equal(service.isConnected(), false);
    assert.deepEqual(log.events(), []);
  });

  test(`sees the driver, who never joined (${name})`, async (t) => {
    const order = newOrder();
    const ann = await connected(t, url, 'ann', { io });
    await joined(ann, order);

    const driver = await connected(t, url, 'driver-1', { io, role: 'driver' });
    driver.service.emitDriverLocation(order, 45.27, 13.71);
    const { timestamp, ...seen } = await ann.log.take('location:updated');
    assert.deepEqual(seen, { orderId: order, lat: 45.27, lng: 13.71, driverId: 'driver-1' });
    assert.equal(new Date(timestamp).toISOString(), timestamp);
    assert.deepEqual(driver.log.events(), []);
  });

  test(`chats with text and pictures (${name})`, async (t) => {
    const order = newOrder();
    const [ann, driver] = [
      await connected(t, url, 'ann', { io }),
      await connected(t, url, 'driver-1', { io, role: 'driver' }),
    ];
    // Whoever joins behind a message has it in the snapshot, not as an event.
    for (const device of [ann, driver]) await joined(device, order);
    ann.service.sendMessage(order, 'third floor');
    for (const { log } of [ann, driver]) {
      const { id, createdAt, ...message } = await log.take('chat:message');
      assert.equal(typeof id, 'string');
      assert.equal(new Date(createdAt).toISOString(), createdAt);
      const { senderId, senderName, content, type } = message;
      assert.deepEqual([senderId, senderName, content, type], ['ann', 'Name of ann', 'third floor', 'TEXT']);
    }
    driver.service.sendMessage(order, 'https://pictures.example.com/door.jpg', 'IMAGE');
    assert.equal((await ann.log.take('chat:message')).type, 'IMAGE');
  });

  test(`two screens join and leave one room with one socket (${name})`, async (t) => {
    const order = newOrder();
    const { service, log } = await connected(t, url, 'ann', { io });
    const told = new Inbox();
    for (const event of ['order:joined', 'order:left']) service.on(event, (data) => told.push(event, data));
    const chatScreen = [];
    service.joinOrderRoom(order);
    service.joinOrderRoom(order);
    for (const _ of [1, 2]) await told.take('order:joined');
    const close = service.on('chat:message', (message) => chatScreen.push(message.content));
    service.sendMessage(order, 'on both screens');
    await log.take('chat:message');
    assert.deepEqual(chatScreen, ['on both screens']);

    // The chat screen goes; the tracking screen still hears.
    close();
    service.leaveOrderRoom(order);
    service.sendMessage(order, 'on one');
    await log.take('chat:message');
    assert.deepEqual(chatScreen, ['on both screens']);
    assert.deepEqual(told.events(), []);
    service.leaveOrderRoom(order);
    assert.deepEqual(await told.take('order:left'), { orderId: order, reason: 'requested' });
  });

  test(`what a screen says before the socket is connected is not lost (${name})`, async (t) => {
    const order = newOrder();
    const { service, log } = phone(t, url, 'ann', { io });
    service.connect();
    service.joinOrderRoom(order);
    service.sendMessage(order, 'early');
    assert.equal((await log.take('chat:message')).content, 'early');
  });

  test(`a wrong token is told once (${name})`, async (t) => {
    const { service, store, log } = phone(t, url, 'ann', { io });
    store.accessToken = FORGED;
    service.connect();
    assert.deepEqual((await log.take('connection error')).data, { code: 'unauthenticated' });
    store.accessToken = token('ann');
    service.connect();
    await log.take('connected');
    assert.deepEqual(log.events(), []);
  });
}

test('without a token it does not connect', (t) => {
  const { service, store, log } = phone(t, hub.url, 'ann');
  store.accessToken = null;
  service.connect();
  assert.deepEqual(log.events(), ['no token']);
  // Nothing of this throws where there is no socket.
  service.joinOrderRoom('order-1');
  service.sendMessage('order-1', 'hello');
  service.emitDriverLocation('order-1', 1, 2);
  service.leaveOrderRoom('order-1');
  service.disconnect();
  assert.equal(service.isConnected(), false);
});

test('login, logout and login of somebody else', async (t) => {
  const { service, store, log } = phone(t, `${hub.url}/events`, 'ann');
  store.isAuthenticated = false;
  const hook = new SocketHook(service, store);
  assert.deepEqual(log.events(), []);
  hook.authenticated(true);
  await log.take('connected');
  hook.authenticated(false);
  assert.equal(await log.take('disconnected'), 'io client disconnect');
  store.accessToken = token('bob');
  hook.authenticated(true);
  await log.take('connected');
  const order = newOrder();
  service.joinOrderRoom(order);
  service.sendMessage(order, 'hello');
  assert.equal((await log.take('chat:message')).senderId, 'bob');
  hook.unmount();
});

describe('with the back-off of the app', { concurrency: true }, () => {
  test('it never rejoins after a drop, and loses nothing', async (t) => {
    const order = newOrder();
    const wire = await wireTo(t, hub);
    const { service, log } = await connected(t, `${wire.url}/events`, 'ann');
    const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver' });
    const say = (content) => driver.call('chat:message', { orderId: order, content });
    await joined({ service }, order);
    await say('before');
    wire.down();
    assert.equal(await log.take('disconnected'), 'transport close');
    await say('meanwhile');
    wire.up();
    await log.take('connected');
    await say('after');
    for (const content of ['before', 'meanwhile', 'after']) {
      assert.equal((await log.take('chat:message')).content, content);
    }
    await driver.call('driver:location', { orderId: order, lat: 1, lng: 2 });
    await log.take('location:updated');
    assert.deepEqual(log.of('chat:message'), []);
  });

  test('a deploy: back within its five attempts, in its rooms', async (t) => {
    const own = await startHub(t, OPEN, { comesBack: true });
    const order = newOrder();
    const { service, log } = await connected(t, `${own.url}/events`, 'ann');
    service.joinOrderRoom(order);
    service.sendMessage(order, 'before');
    await log.take('chat:message');
    await own.stop();
    assert.equal(await log.take('disconnected'), 'transport close');
    await own.startAgain();
    await log.take('connected');
    const driver = await connectPlain(t, own, 'driver-1', { role: 'driver' });
    await driver.call('chat:message', { orderId: order, content: 'after' });
    assert.equal((await log.take('chat:message')).content, 'after');
    assert.deepEqual(log.of('gave up'), []);
  });

  test('a hub that stays away: five attempts, then the next foreground', async (t) => {
    const own = await startHub(t, OPEN, { comesBack: true });
    const { service, store, log } = phone(t, `${own.url}/events`, 'ann');
    const hook = new SocketHook(service, store);
    await log.take('connected');
    hook.changeAppState('background');
    await own.kill();
    await log.take('disconnected');
    // Five attempts take from 12.5 to 19.5 seconds.
    for (let failures = 0; failures < 5; failures++) await log.take('connection error');
    await log.take('gave up');
    await own.startAgain();
    assert.equal(service.isConnected(), false);
    hook.changeAppState('active');
    await log.take('connected');
    assert.equal(service.isConnected(), true);
  });

  test('to the background and back while connected: nothing happens', async (t) => {
    const own = await startHub(t, OPEN);
    const { service, store, log } = phone(t, `${own.url}/events`, 'ann');
    const hook = new SocketHook(service, store);
    await log.take('connected');
    for (const state of ['inactive', 'background', 'active']) hook.changeAppState(state);
    const order = newOrder();
    service.joinOrderRoom(order);
    service.sendMessage(order, 'hello');
    await log.take('chat:message');
    assert.deepEqual(log.events(), []);
    assert.equal(await own.connections(), 1);
  });

  test('a token that ends: told so, and in again with the next one', async (t) => {
    const own = await startHub(t, { ...OPEN, JWT_LEEWAY_SECS: 0 });
    const { service, store, log } = await connected(t, `${own.url}/events`, 'ann', { secs: 2 });
    await log.take('disconnected');
    assert.deepEqual((await log.take('connection error')).data, { code: 'token_expired' });
    await until(async () => (await own.connections()) === 0, 'no connection');
    store.accessToken = token('ann');
    service.connect();
    await log.take('connected');
  });
});
