// Web pages: `io(URL + '/events', { auth })` as it comes, a plain WebSocket, and a page of strangers.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { PATIENCE_MS, within } from './support/deadline.mjs';
import { servePage, startBrowser } from './support/browser.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { FORGED, token } from './support/tokens.mjs';

const browser = await startBrowser({ after });
const origin = await servePage({ after });
const strangers = await servePage({ after });
const hub = await startHub({ after }, { ALLOWED_ORIGINS: origin });

/** Opens the page of an origin and runs `script` in it with `args`; a promise of its result. */
async function onPage(t, at, script, args) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(at, { timeout: PATIENCE_MS });
  return { page, result: page.evaluate(script, { url: hub.url, ...args }) };
}

/** In the page: connects, upgrades, joins, chats, and waits for the driver's answer. */
async function socketIoPage({ url, token, orderId }) {
  const socket = window.io(`${url}/events`, { auth: { token } });
  const transports = [socket.io.engine.transport.name];
  const upgraded = new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
  const heard = [];
  const answered = new Promise((resolve) => {
    socket.on('chat:message', (message) => {
      heard.push(message.content);
      if (message.senderRole === 'driver') resolve();
    });
  });
  const joined = await socket.emitWithAck('order:join', { orderId });
  await upgraded;
  transports.push(socket.io.engine.transport.name);
  const said = await socket.emitWithAck('chat:message', { orderId, content: 'from a page' });
  await answered;
  socket.disconnect();
  return { transports, joined: joined.ok, seq: said.seq, heard };
}

test('a page with Socket.IO begins with polling, upgrades, joins and chats', async (t) => {
  const orderId = newOrder();
  const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders: [orderId] });
  await driver.call('order:join', { orderId });
  const args = { token: token('ann', { orders: [orderId] }), orderId };
  const { result } = await onPage(t, origin, socketIoPage, args);
  result.catch(() => {}); // Awaited below, after the driver has had its say.
  assert.equal((await driver.take('chat:message')).content, 'from a page');
  await driver.call('chat:message', { orderId, content: 'seen' });
  assert.deepEqual(await within(result, 'the page is done'), {
    transports: ['polling', 'websocket'],
    joined: true,
    seq: 1,
    heard: ['from a page', 'seen'],
  });
});

/** In the page: what an attempt to connect comes to. */
function attemptPage({ url, token, transports }) {
  const socket = window.io(`${url}/events`, { auth: { token }, transports, reconnection: false });
  return new Promise((resolve) => {
    socket.on('connect', () => resolve({ connected: true }));
    socket.on('connect_error', ({ message, data }) => resolve({ message, data }));
  });
}

test('a page hears why its token is refused', async (t) => {
  for (const [bad, code] of [[FORGED, 'unauthenticated'], [token('ann', { secs: -60 }), 'token_expired']]) {
    const { result } = await onPage(t, origin, attemptPage, { token: bad });
    assert.deepEqual((await within(result, 'the page is done')).data, { code });
  }
});

test('a page of another origin gets nothing', async (t) => {
  const good = token('ann');
  for (const transports of [['polling'], ['websocket']]) {
    const stranger = await onPage(t, strangers, attemptPage, { token: good, transports });
    const { connected, data } = await within(stranger.result, 'the page is done');
    assert.equal(connected, undefined);
    assert.equal(data, undefined);
    const own = await onPage(t, origin, attemptPage, { token: good, transports });
    assert.deepEqual(await within(own.result, 'the page is done'), { connected: true });
  }
  const { result } = await onPage(t, strangers, plainPage, { token: good, orderId: newOrder() });
  assert.deepEqual(await within(result, 'the page is done'), { events: [], code: 1006 });
});

/** In the page: a plain WebSocket that joins, and what it hears until it is closed. */
function plainPage({ url, token, orderId }) {
  const protocols = ['orderhub.v1', `orderhub.jwt.${token}`];
  const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, protocols);
  const events = [];
  socket.onopen = () =>
    socket.send(JSON.stringify({ event: 'order:join', data: { orderId }, id: 1 }));
  socket.onmessage = ({ data }) => {
    const { event } = JSON.parse(data);
    events.push(event);
    if (event === 'chat:message') socket.close(1000);
  };
  return new Promise((resolve) => {
    socket.onclose = ({ code }) => resolve({ events, code });
  });
}

test('a page with a plain WebSocket logs in by subprotocol', async (t) => {
  const orderId = newOrder();
  const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders: [orderId] });
  await driver.call('order:join', { orderId });
  const args = { token: token('ann', { orders: [orderId] }), orderId };
  const { result } = await onPage(t, origin, plainPage, args);
  result.catch(() => {});
  await driver.take('presence:joined');
  await driver.call('chat:message', { orderId, content: 'hello page' });
  assert.deepEqual(await within(result, 'the page is done'), {
    events: ['connected', 'ack', 'chat:message'],
    code: 1000,
  });
});

test('a page with a plain WebSocket sees why it is closed', async (t) => {
  const { result } = await onPage(t, origin, plainPage, { token: FORGED, orderId: 'order-1' });
  assert.deepEqual(await within(result, 'the page is done'), {
    events: ['session:end'],
    code: 4401,
  });
});
