// Packets that no stock client sends, each beside healthy clients of the same room.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { within } from './support/deadline.mjs';
import { startHub } from './support/hub.mjs';
import { neighbours } from './support/neighbours.mjs';
import { enterPolling, enterRaw, openRaw } from './support/raw.mjs';
import { FORGED, token } from './support/tokens.mjs';

const hub = await startHub({ after }, { EVENTS_PER_SECOND: 0, CHAT_PER_SECOND: 0 });

/** The test with somebody who misbehaves as another device of Ann's, in the same room. */
function beside(title, body) {
  test(title, async (t) => {
    const room = await neighbours(t, hub);
    const raw = await enterRaw(t, hub, 'ann', { orders: [room.order] });
    assert.equal((await raw.call('order:join', { orderId: room.order })).ok, true);
    await body(raw, room.order, t);
    raw.close();
    await room.noticedNothing();
  });
}

/** The session answers, so it is still there. */
const alive = async (raw) => assert.equal((await raw.call('ping', {}, 999)).ok, true);

// --- what ends a connection ---

/** Packets after each of which the connection is ended, with 1002. */
const CLOSED = {
  'an Engine.IO type that does not exist': ['7'],
  'an Engine.IO type without meaning here': ['5'],
  'an Engine.IO type that only servers send': ['0{}'],
  'no Engine.IO type at all': [''],
  'a letter for a type': ['x'],
  'a Socket.IO type that does not exist': ['49'],
  'a Socket.IO packet without a type': ['4'],
  'a type that only servers send': ['44/events,{"message":"no"}'],
  'CONNECT twice': [`40/events,${JSON.stringify({ token: token('ann') })}`],
  'CONNECT with a list': ['40[]'],
  'CONNECT with a text': ['40"token"'],
  'EVENT for a namespace that is not connected': ['42["ping",{}]'],
  'DISCONNECT of a namespace that is not connected': ['41'],
  'EVENT for a namespace that does not exist': ['42/nowhere,["ping",{}]'],
  'an event that is an object': ['42/events,{}'],
  'an event that is not JSON': ['42/events,["ping",'],
  'an event without arguments': ['42/events,'],
  'the reserved name connect': ['42/events,["connect"]'],
  'the reserved name connect_error': ['42/events,["connect_error",{}]'],
  'the reserved name disconnect': ['42/events,["disconnect"]'],
  'the reserved name disconnecting': ['42/events,["disconnecting"]'],
  'the reserved name newListener': ['42/events,["newListener"]'],
  'the reserved name removeListener': ['42/events,["removeListener"]'],
  'an ack id over 2^53 - 1': ['42/events,9007199254740992["ping",{}]'],
  'an ack id of 20 digits': ['42/events,12345678901234567890["ping",{}]'],
  'a negative ack id': ['42/events,-1["ping",{}]'],
  'binary that nothing announced': [Buffer.from([1, 2, 3])],
  'text while an attachment is awaited': ['451-/events,["ping",{"_placeholder":true,"num":0}]', '42/events,["ping"]'],
  'eleven attachments': ['4511-/events,["ping",{"_placeholder":true,"num":0}]'],
  'attachments that are not counted': ['45/events,["ping",{}]'],
  'a placeholder without its attachment': ['451-/events,["ping",{"_placeholder":true,"num":1}]', Buffer.from([1])],
  'nested 65 levels deep': [`42/events,["ping",${'['.repeat(64)}${']'.repeat(64)}]`],
};

for (const [title, packets] of Object.entries(CLOSED)) {
  beside(`${title}: closed`, async (raw) => {
    raw.send(...packets);
    assert.equal(await raw.endCode(), 1002);
  });
}

beside('bytes that are not UTF-8: closed', async (raw) => {
  raw.socket.send(Buffer.from([0x34, 0x32, 0xff, 0xfe]), { binary: false });
  assert.equal(await raw.endCode(), 1007);
});

beside('a message over the limit: closed', async (raw, order) => {
  const { maxPayload } = raw.handshake;
  raw.send(`42/events,${JSON.stringify(['chat:message', { orderId: order, content: 'x'.repeat(maxPayload) }])}`);
  assert.equal(await raw.endCode(), 1009);
});

beside('attachments over the limit together: closed', async (raw) => {
  const half = Buffer.alloc(raw.handshake.maxPayload / 2);
  raw.send('452-/events,["ping",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', half, half);
  assert.equal(await raw.endCode(), 1009);
});

beside('EVENT before CONNECT: closed', async (_, order, t) => {
  const raw = await openRaw(t, hub);
  raw.send(`42/events,${JSON.stringify(['order:join', { orderId: order }])}`);
  assert.equal(await raw.closeCode(), 1006, 'an end of TCP');
});

beside('ten events without a name: told each time, then closed for good', async (raw) => {
  for (let bad = 1; bad <= 10; bad++) raw.send(bad % 2 ? '42/events,[]' : '42/events,[1]');
  for (let bad = 1; bad < 10; bad++) {
    const [name, data] = JSON.parse((await raw.take('42/events,["exception"')).slice('42/events,'.length));
    assert.deepEqual([name, data.code], ['exception', 'bad_envelope']);
  }
  const end = JSON.parse((await raw.take('42/events,["session:end"')).slice('42/events,'.length));
  assert.deepEqual([end[1].code, end[1].retry], [4000, false]);
  assert.equal(await raw.take('41'), '41/events,');
  assert.equal(await raw.closeCode(), 4000);
});

// --- what is refused, and the connection stays ---

beside('an event without a name is a bad envelope', async (raw) => {
  for (const args of ['[]', '[1]', '[null,{}]', '[{}]', '[["ping"]]']) {
    raw.send(`42/events,5${args}`);
    const [{ ok, error }] = JSON.parse((await raw.take('43/events,5[')).slice('43/events,5'.length));
    assert.deepEqual([ok, error.code], [false, 'bad_envelope'], args);
  }
  await alive(raw);
});

beside('arguments that are not what the event takes', async (raw, order) => {
  for (const data of [undefined, null, 7, 'order', true, [order], {}, { orderId: {} }]) {
    const args = data === undefined ? ['order:join'] : ['order:join', data];
    raw.send(`42/events,6${JSON.stringify(args)}`);
    const [{ error }] = JSON.parse((await raw.take('43/events,6[')).slice('43/events,6'.length));
    assert.equal(error.code, 'invalid_payload', JSON.stringify(data));
  }
  await alive(raw);
});

beside('names that stock clients emit and the hub does not know', async (raw) => {
  for (const name of ['error', 'reconnect', 'connection', '']) {
    raw.send(`42/events,12${JSON.stringify([name, {}])}`);
    const [{ error }] = JSON.parse((await raw.take('43/events,12[')).slice('43/events,12'.length));
    assert.equal(error.code, 'unknown_event', name);
  }
  await alive(raw);
});

beside('further arguments are ignored', async (raw, order) => {
  raw.send(`42/events,7${JSON.stringify(['order:join', { orderId: order }, 'more', [1], null])}`);
  const [{ ok, orderId }] = JSON.parse((await raw.take('43/events,7[')).slice('43/events,7'.length));
  assert.deepEqual([ok, orderId], [true, order]);
});

beside('an ack id that is used twice is answered twice', async (raw) => {
  raw.send('42/events,8["ping",{}]', '42/events,8["ping",{}]');
  await raw.take('43/events,8[');
  await raw.take('43/events,8[');
  await alive(raw);
});

beside('the largest ack id comes back as it was', async (raw) => {
  assert.equal((await raw.call('ping', {}, '9007199254740991')).ok, true);
});

beside('an ack that nobody asked for is nothing', async (raw) => {
  raw.send('43/events,3["thanks"]', '461-/events,4[{"_placeholder":true,"num":0}]', Buffer.from([1]));
  await alive(raw);
});

beside('binary where an event takes none', async (raw, order) => {
  const data = { orderId: order, content: { _placeholder: true, num: 0 } };
  raw.send(`451-/events,9${JSON.stringify(['chat:message', data])}`, Buffer.from([1, 2]));
  const [{ error }] = JSON.parse((await raw.take('43/events,9[')).slice('43/events,9'.length));
  assert.equal(error.code, 'invalid_payload');
  await alive(raw);
});

beside('ten attachments are taken in before the event is refused', async (raw) => {
  const holders = Array.from({ length: 10 }, (_, num) => ({ _placeholder: true, num }));
  raw.send(`4510-/events,9${JSON.stringify(['chat:message', holders])}`);
  for (let sent = 0; sent < 10; sent++) raw.send(Buffer.from([sent]));
  const [{ error }] = JSON.parse((await raw.take('43/events,9[')).slice('43/events,9'.length));
  assert.equal(error.code, 'invalid_payload');
  await alive(raw);
});

beside('attachments that are announced and never sent hold up nobody else', async (raw, order, t) => {
  raw.send('451-/events,["ping",{"_placeholder":true,"num":0}]');
  const other = await enterRaw(t, hub, 'ann', { orders: [order] });
  await alive(other);
});

beside('a character split over two frames is one', async (raw, order) => {
  const content = 'žluťoučký kůň 🐎';
  const data = Buffer.from(`42/events,11${JSON.stringify(['chat:history', { orderId: order, x: content }])}`);
  const middle = data.indexOf('🐎') + 2;
  raw.socket.send(data.subarray(0, middle), { binary: false, fin: false });
  raw.socket.send(data.subarray(middle), { binary: false, fin: true });
  assert.ok((await raw.take('43/events,11[')).includes('"ok":true'));
});

// --- namespaces and logins ---

beside('a namespace that does not exist', async (raw) => {
  for (const namespace of ['/nowhere', '/events/', '/events?token=x', `/${'n'.repeat(4096)}`]) {
    raw.send(`40${namespace},{}`);
    const [name] = namespace.split('?');
    const answer = await raw.take('44');
    assert.ok(
      [namespace, name].some((ns) => answer === `44${ns},{"message":"Invalid namespace"}`),
      answer,
    );
  }
  await alive(raw);
});

test('a bad login leaves time for a good one', async (t) => {
  const raw = await openRaw(t, hub);
  for (const auth of ['', '{}', '{"token":null}', JSON.stringify({ token: FORGED })]) {
    raw.send(`40/events,${auth}`);
    const answer = await raw.take('44/events,');
    assert.deepEqual(JSON.parse(answer.slice('44/events,'.length)).data, { code: 'unauthenticated' }, auth);
  }
  const { sid } = await raw.enter({ token: token('ann') });
  assert.equal(typeof sid, 'string');
  await alive(raw);
});

test('who sends no CONNECT is closed, and so is who sends none that is good', async (t) => {
  const strict = await startHub(t, { CONNECT_TIMEOUT_MS: 1000 });
  const silent = await openRaw(t, strict);
  const wrong = await openRaw(t, strict);
  const good = await enterRaw(t, strict, 'ann', {});
  wrong.send(`40/events,${JSON.stringify({ token: FORGED })}`);
  await wrong.take('44/events,');
  for (const raw of [silent, wrong]) await within(raw.closed, 'closed without a login');
  await alive(good);
  // After the last namespace has gone the time starts again.
  good.send('41/events,');
  await within(good.closed, 'closed after the last namespace');
});

test('CONNECT and DISCONNECT of one namespace after the other', async (t) => {
  const raw = await enterRaw(t, hub, 'ann', {});
  const first = raw.session.sid;
  raw.send('41/events,');
  const { sid } = await raw.enter({ token: token('ann') });
  assert.notEqual(sid, first);
  await alive(raw);
});

test('packets at the same time by long-polling', async (t) => {
  const room = await neighbours(t, hub);
  const polling = await enterPolling(hub, 'ann', { orders: [room.order] });
  const { status, body } = await polling.post(
    ['42/events,1["ping",{}]', '42/events,[]', '42/events,2["ping",{}]'].join('\x1e'),
  );
  assert.deepEqual([status, body], [200, 'ok']);
  await polling.take('43/events,1[');
  await polling.take('42/events,["exception"');
  await polling.take('43/events,2[');
  await polling.post('1');
  await room.noticedNothing();
});
