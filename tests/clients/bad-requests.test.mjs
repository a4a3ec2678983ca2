// Engine.IO requests that no stock client makes, beside healthy clients of the same room.

import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import test, { after } from 'node:test';

import WebSocket from 'ws';

import { once, until, within } from './support/deadline.mjs';
import { startHub } from './support/hub.mjs';
import { neighbours } from './support/neighbours.mjs';
import {
  RawPolling,
  RawSocket,
  enginePath,
  enterPolling,
  enterRaw,
  http,
  openPolling,
  openRaw,
} from './support/raw.mjs';

/** Pings come soon, so that who does not answer is gone soon. */
const BRISK = { PING_INTERVAL_MS: 1000, PONG_TIMEOUT_MS: 1000 };

const hub = await startHub({ after });

/** The test with healthy clients beside it. */
function beside(title, body) {
  test(title, async (t) => {
    const room = await neighbours(t, hub);
    await body(room.order, t);
    await room.noticedNothing();
  });
}

const GET = (more) => http(hub, 'GET', `/socket.io/?${new URLSearchParams(more)}`);

/** An Engine.IO error: its number, and words. */
function refused({ status, headers, body }, code, expected = 400) {
  assert.equal(status, expected, body);
  assert.match(headers['content-type'], /^application\/json/);
  const error = JSON.parse(body);
  assert.equal(error.code, code, body);
  assert.equal(typeof error.message, 'string');
}

beside('requests that are no Engine.IO requests', async () => {
  refused(await GET({ EIO: 3, transport: 'polling' }), 5);
  refused(await GET({ transport: 'polling' }), 5);
  refused(await GET({ EIO: 4 }), 0);
  refused(await GET({ EIO: 4, transport: 'carrier-pigeon' }), 0);
  refused(await GET({ EIO: 4, transport: 'polling', sid: 'nobody' }), 1);
  refused(await GET({ EIO: 4, transport: 'polling', sid: 's'.repeat(4096) }), 1);
  refused(await http(hub, 'POST', enginePath({ transport: 'polling', sid: 'nobody' }), { pieces: ['40'] }), 1);
  refused(await http(hub, 'POST', enginePath({ transport: 'polling' }), { pieces: ['40'] }), 2);
  refused(await GET({ EIO: 4, transport: 'websocket' }), 3);
});

beside('WebSockets that no handshake fits', async () => {
  for (const [more, code] of [
    [{ EIO: 3, transport: 'websocket' }, 5],
    [{ EIO: 4, transport: 'websocket', sid: 'nobody' }, 1],
    [{ EIO: 4 }, 0],
  ]) {
    const socket = new WebSocket(`${hub.url.replace('http', 'ws')}/socket.io/?${new URLSearchParams(more)}`);
    socket.on('error', () => {});
    const [request, response] = await once(socket, 'unexpected-response');
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    request.destroy();
    const { statusCode: status, headers } = response;
    refused({ status, headers, body: Buffer.concat(chunks).toString() }, code);
  }
});

beside('a page of another origin', async (order, t) => {
  const strict = await startHub(t, { ALLOWED_ORIGINS: 'https://app.example.com' });
  const from = (origin) =>
    http(strict, 'GET', enginePath({ transport: 'polling' }), { headers: { origin } });
  refused(await from('https://evil.example.com'), 4, 403);
  assert.equal((await from('https://app.example.com')).status, 200);
});

beside('two GETs on one sid: the connection ends', async () => {
  const polling = await openPolling(hub);
  const first = polling.get();
  // Whichever comes second is one too many.
  const answers = await Promise.all([first, polling.get()]);
  assert.ok(answers.some(({ status }) => status === 400), JSON.stringify(answers));
  refused(await polling.get(), 1);
});

beside('a POST that is larger than allowed', async (order) => {
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const { maxPayload } = polling.handshake;
  const over = await http(hub, 'POST', polling.path, { pieces: ['4'.repeat(maxPayload + 1)] });
  assert.equal(over.status, 413);
  // A client that polls on hears why, and then that it has to begin anew.
  assert.match(await polling.take('42/events,["session:end"'), /"code":1009/);
  refused(await polling.get(), 1);
});

beside('a POST that announces more than it sends', async (order, t) => {
  const polling = await openPolling(hub);
  const socket = createConnection({ host: '127.0.0.1', port: hub.port });
  t.after(() => socket.destroy());
  socket.write(`POST ${polling.path} HTTP/1.1\r\nHost: hub\r\nContent-Length: 1000000000\r\n\r\n40`);
  const [answer] = await once(socket, 'data');
  assert.match(answer.toString(), /^HTTP\/1\.1 4\d\d /);
});

beside('a payload split in the middle of a character', async (order) => {
  const content = 'žluťoučký kůň 🐎';
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const packet = Buffer.from(`42/events,1${JSON.stringify(['order:join', { orderId: order, x: content }])}`);
  const middle = packet.indexOf('🐎') + 2;
  const { status } = await polling.post(packet.subarray(0, middle), packet.subarray(middle));
  assert.equal(status, 200);
  assert.match(await polling.take('43/events,1['), /"ok":true/);
  await polling.post('1');
});

beside('payloads that are no packets', async (order) => {
  for (const body of ['', '9', 'x', '\x1e', '40\x1e\x1e40', Buffer.from([0x34, 0xff, 0xfe]), 'b!!!!', 'bAQI']) {
    const polling = await enterPolling(hub, 'ann', { orders: [order] });
    const { status } = await polling.post(body);
    assert.ok(status === 400 || status === 200, `${status}`);
    // Its connection is over either way: after what is left for it to read, it is not known.
    await until(async () => (await polling.get()).status === 400, `the end after ${body}`);
  }
});

beside('binary as a polling client sends it', async (order) => {
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const event = `451-/events,3${JSON.stringify(['chat:message', { _placeholder: true, num: 0 }])}`;
  await polling.post(event, '\x1e', `b${Buffer.from([1, 2]).toString('base64')}`);
  assert.match(await polling.take('43/events,3['), /invalid_payload/);
  await polling.post('1');
});

test('a polling client that never comes back is forgotten', async (t) => {
  const brisk = await startHub(t, BRISK);
  const room = await neighbours(t, brisk);
  const polling = await enterPolling(brisk, 'ann', { orders: [room.order] });
  assert.equal(await brisk.connections(), 3);
  await until(async () => (await brisk.connections()) === 2, 'the lost one is forgotten');
  refused(await polling.get(), 1);
  await room.noticedNothing();
});

test('a polling client that answers no ping is forgotten', async (t) => {
  const brisk = await startHub(t, BRISK);
  const room = await neighbours(t, brisk);
  const polling = await enterPolling(brisk, 'ann', { orders: [room.order] });
  const polls = async () => {
    while ((await polling.get()).status === 200);
  };
  await within(polls(), 'the end of polls');
  assert.equal(await brisk.connections(), 2);
  await room.noticedNothing();
});

test('a WebSocket that answers no ping is told and closed', async (t) => {
  const brisk = await startHub(t, BRISK);
  const room = await neighbours(t, brisk);
  const deaf = await openRaw(t, brisk);
  deaf.socket.removeAllListeners('message');
  const heard = [];
  deaf.socket.on('message', (data) => heard.push(data.toString()));
  assert.equal(await deaf.closeCode(), 1006, 'an end of TCP: nobody has entered a namespace');
  assert.ok(heard.includes('2'));
  await room.noticedNothing();
});

/** A second transport for the connection of a polling client. */
async function probe(t, polling) {
  const url = polling.hub.url.replace('http', 'ws') + enginePath({ transport: 'websocket', sid: polling.sid });
  const socket = new RawSocket(new WebSocket(url));
  t.after(() => socket.close());
  await once(socket.socket, 'open');
  socket.send('2probe');
  assert.equal(await socket.take(), '3probe');
  return socket;
}

beside('an upgrade by hand', async (order, t) => {
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const waiting = polling.get();
  const socket = await probe(t, polling);
  // The poll that waits is let go, so that the client can stop polling.
  assert.equal((await waiting).body, '6');
  socket.send('5');
  assert.equal((await socket.call('order:join', { orderId: order })).ok, true);
  refused(await polling.get(), 3);
});

test('an upgrade probe that never ends: polling goes on', async (t) => {
  const strict = await startHub(t, { CONNECT_TIMEOUT_MS: 1000 });
  const room = await neighbours(t, strict);
  const polling = await enterPolling(strict, 'ann', { orders: [room.order] });
  const socket = await probe(t, polling);
  await polling.post(`42/events,1${JSON.stringify(['order:join', { orderId: room.order }])}`);
  assert.match(await polling.take('43/events,1['), /"ok":true/);
  await within(socket.closed, 'the probe is ended');
  await polling.post('42/events,2["ping",{}]');
  assert.match(await polling.take('43/events,2['), /"ok":true/);
  await polling.post('1');
  await room.noticedNothing();
});

beside('a second probe of the same connection', async (order, t) => {
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const first = await probe(t, polling);
  const url = hub.url.replace('http', 'ws') + enginePath({ transport: 'websocket', sid: polling.sid });
  const second = new RawSocket(new WebSocket(url));
  t.after(() => second.close());
  await within(second.closed, 'the second one is closed');
  first.send('5');
  assert.equal((await first.call('ping', {})).ok, true);
});

beside('somebody who guesses at sids', async () => {
  for (const sid of ['', '0', '../../etc/passwd', '%00', 'a b', '🐎']) {
    const { status } = await new RawPolling(hub, sid).get();
    assert.equal(status, sid === '' ? 200 : 400, sid);
  }
});

beside('a client that leaves in the middle of a poll', async (order, t) => {
  const polling = await enterPolling(hub, 'ann', { orders: [order] });
  const socket = createConnection({ host: '127.0.0.1', port: hub.port });
  socket.write(`GET ${polling.path} HTTP/1.1\r\nHost: hub\r\n\r\n`);
  await once(socket, 'connect');
  socket.destroy();
  const other = await enterRaw(t, hub, 'ann', { orders: [order] });
  assert.equal((await other.call('ping', {})).ok, true);
});
