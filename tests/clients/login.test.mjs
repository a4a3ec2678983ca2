// Who comes in with a stock client: tokens in CONNECT and in headers, good, wrong and expired.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { once } from './support/deadline.mjs';
import { CLIENTS, connect, device, forEach } from './support/devices.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { enterRaw, openPolling } from './support/raw.mjs';
import { FORGED, sign, token } from './support/tokens.mjs';

const hub = await startHub({ after }, { JWT_LEEWAY_SECS: 0 });

/** What a device hears that is not let in: one error, and then it stays away. */
async function refusal(t, client, options, namespace = '/events') {
  const stranger = device(t, hub.url + namespace, client, options);
  const error = await stranger.life.take('connect_error');
  // It has let its connection go and waits for its app to connect anew.
  assert.equal(stranger.socket.io._reconnecting ?? false, false);
  assert.equal(stranger.connected, false);
  assert.deepEqual(stranger.life.events(), []);
  return error;
}

forEach(CLIENTS, 'a wrong token gives one connect_error with its code', async (t, client) => {
  const expired = token('ann', { secs: -60 });
  const refused = [
    [{ token: FORGED }, 'unauthenticated'],
    [{ token: 'no token at all' }, 'unauthenticated'],
    [{ token: 7 }, 'unauthenticated'],
    [{}, 'unauthenticated'],
    [{ token: sign({ id: 'ann' }) }, 'unauthenticated'],
    [{ token: expired }, 'token_expired'],
  ];
  for (const [auth, code] of refused) {
    const error = await refusal(t, client, { auth });
    assert.deepEqual(error.data, { code });
    assert.ok(error.message.length > 0);
  }
});

forEach(CLIENTS, 'a namespace that does not exist is refused', async (t, client) => {
  const auth = { token: token('ann') };
  for (const namespace of ['/event', '/events/', '/admin']) {
    const error = await refusal(t, client, { auth }, namespace);
    assert.equal(error.message, 'Invalid namespace');
    assert.equal(error.data, undefined);
  }
});

forEach(CLIENTS, 'the token may come in the header of the request', async (t, client) => {
  const order = newOrder();
  const good = token('ann', { orders: [order] });
  for (const Authorization of [`Bearer ${good}`, good]) {
    for (const auth of [undefined, {}, { token: '' }, { token: good }]) {
      const ann = device(t, `${hub.url}/events`, client, { auth, extraHeaders: { Authorization } });
      await ann.life.take('connect');
      assert.equal((await ann.join(order)).ok, true);
      ann.close();
    }
  }
});

forEach(CLIENTS, 'the token of the packet counts before that of the header', async (t, client) => {
  const order = newOrder();
  const auth = { token: token('ann', { orders: [order] }) };
  for (const stale of [token('ann', { secs: -60 }), token('bob'), FORGED]) {
    const extraHeaders = { Authorization: `Bearer ${stale}` };
    const ann = device(t, `${hub.url}/events`, client, { auth, extraHeaders });
    await ann.life.take('connect');
    assert.equal((await ann.join(order)).ok, true);
    ann.close();
  }
  const extraHeaders = { Authorization: `Bearer ${auth.token}` };
  const expired = { token: token('ann', { secs: -60 }) };
  const error = await refusal(t, client, { auth: expired, extraHeaders });
  assert.deepEqual(error.data, { code: 'token_expired' });
});

// Older than 4.4 keep their connection after a refusal; the hub ends it, and they come again for ever.
forEach(CLIENTS, 'after a refusal the newest stays away, and 4.0 comes again', async (t, client) => {
  const brisk = await startHub(t, { CONNECT_TIMEOUT_MS: 1000 });
  const ann = device(t, `${brisk.url}/events`, client, { auth: { token: FORGED } });
  await ann.life.take('connect_error');
  const isOld = !client.resumes;
  assert.equal(ann.socket.active, isOld);
  if (!isOld) return;
  await ann.life.take('connect_error');
  // What such an app does itself.
  ann.socket.disconnect();
  assert.equal(ann.socket.active, false);
});

forEach(CLIENTS, 'who was refused comes in with another token', async (t, client) => {
  const auth = { token: FORGED };
  const ann = device(t, `${hub.url}/events`, client, { auth: (give) => give(auth) });
  await ann.life.take('connect_error');
  auth.token = token('ann');
  ann.socket.connect();
  await ann.life.take('connect');
  assert.equal((await ann.call('ping', {})).ok, true);
});

forEach(CLIENTS, 'a token that ends takes its session along; a fresh one comes back', async (t, client) => {
  const order = newOrder();
  let secs = 2;
  const given = [];
  const auth = (give) => {
    given.push(secs);
    give({ token: token('ann', { orders: [order], secs }) });
    secs = 3600;
  };
  const ann = device(t, `${hub.url}/events`, client, { auth });
  await ann.life.take('connect');
  await ann.join(order);
  const { inMs } = await ann.take('auth:expiring');
  assert.ok(inMs <= 2000);
  const { code, reason, retry } = await ann.take('session:end');
  assert.deepEqual({ code, reason, retry }, { code: 4401, reason: 'token_expired', retry: true });
  assert.notEqual(await ann.life.take('disconnect'), 'io server disconnect');
  await ann.life.take('connect');
  assert.deepEqual(given, [2, 3600]);
  // Its room may have been given back; an app that joins again does no harm.
  assert.equal((await ann.join(order)).ok, true);
  await ann.chat(order, 'back again');
  await ann.take('chat:message', ({ content }) => content === 'back again');
});

forEach(CLIENTS, 'revoked by a back end whose clock is behind, it comes back with its next token', async (t, client) => {
  const order = newOrder();
  const user = `user-of-${order}`;
  const behind = () => Math.floor(Date.now() / 1000) - 3;
  const auth = (give) => give({ token: token(user, { orders: [order], iat: behind() }) });
  const ann = device(t, `${hub.url}/events`, client, { auth });
  await ann.life.take('connect');
  await ann.join(order);
  const answer = await fetch(`${hub.url}/api/v1/users/${user}/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token('back-end', { role: 'service' })}` },
  });
  assert.equal(answer.status, 200);
  assert.equal((await ann.take('session:end')).reason, 'token_revoked');
  await ann.life.take('connect');
  assert.equal((await ann.join(order)).ok, true);
  // By polling the end of a connection is an error of its transport, from which a client comes back.
  for (const error of ann.life.of('connect_error')) assert.equal(error.data, undefined, error.message);
});

forEach(CLIENTS, 'a token that ends and is not replaced is refused once', async (t, client) => {
  const auth = { token: token('ann', { secs: 2 }) };
  const ann = device(t, `${hub.url}/events`, client, { auth });
  await ann.life.take('connect');
  await ann.life.take('disconnect');
  const error = await ann.life.take('connect_error');
  assert.deepEqual(error.data, { code: 'token_expired' });
  assert.equal(ann.socket.io._reconnecting ?? false, false);
});

forEach(CLIENTS, 'a refreshed token keeps the session', async (t, client) => {
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order], secs: 2 });
  await ann.take('auth:expiring');
  const fresh = await ann.call('auth:refresh', { token: token('ann', { orders: [order] }) });
  assert.equal(fresh.ok, true);
  assert.ok(Date.parse(fresh.expiresAt) > Date.now() + 3_000_000);
  const others = await ann.call('auth:refresh', { token: token('bob') });
  assert.equal(others.error.code, 'forbidden');
  // A session that keeps its first token ends later than this one would have.
  const witness = await connect(t, hub, client, 'bob', { secs: 2 });
  await witness.life.take('disconnect');
  assert.equal((await ann.join(order)).ok, true);
  assert.deepEqual(ann.life.events(), []);
});

forEach(CLIENTS, 'pings are answered', async (t, client) => {
  const brisk = await startHub(t, { PING_INTERVAL_MS: 1000, PONG_TIMEOUT_MS: 1000 });
  const ann = await connect(t, brisk, client, 'ann');
  // Three come and are answered; else the connection would be gone.
  for (let pings = 0; pings < 3; ) {
    const [{ type }] = await once(ann.socket.io.engine, 'packet');
    if (type === 'ping') pings += 1;
  }
  assert.equal((await ann.call('ping', {})).ok, true);
  assert.deepEqual(ann.life.events(), []);
});

test('the handshake says what is set', async (t) => {
  const set = await startHub(t, {
    PING_INTERVAL_MS: 3000,
    PONG_TIMEOUT_MS: 2000,
    MAX_MESSAGE_BYTES: 2048,
  });
  const { handshake } = await openPolling(set);
  const { sid, ...limits } = handshake;
  assert.equal(typeof sid, 'string');
  assert.deepEqual(limits, {
    upgrades: ['websocket'],
    pingInterval: 3000,
    pingTimeout: 2000,
    maxPayload: 2048,
  });
  const raw = await enterRaw(t, set, 'ann');
  assert.deepEqual(raw.handshake, { ...limits, sid: raw.handshake.sid, upgrades: [] });
});
