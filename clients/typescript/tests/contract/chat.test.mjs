// Chat and rooms against a real hub.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { app, call, newOrder, nothingIsLeft, online, open, reaches, shows, startHub, texts, token, until, wireTo } from './support.mjs';

describe('chat', { concurrency: true }, () => {
  test('two people write, read and type', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const dan = await app(t, hub, 'dan', { orders: [order], role: 'driver' });
    const [hers, his] = [await open(ana, order), await open(dan, order)];
    const sent = hers.send('third floor, please');
    assert.equal(hers.messages[0].status, 'pending');
    const { key } = hers.messages[0];
    const { id, seq } = await sent;
    await shows(hers, ['third floor, please']);
    await shows(his, ['third floor, please']);
    assert.deepEqual([hers.messages[0].key, hers.messages[0].id, seq, hers.messages[0].status], [key, id, 1, 'sent']);
    assert.equal(his.messages[0].senderName, 'Name of ana');
    assert.equal(his.snapshot.unread, 1);
    his.markRead();
    await until(() => hers.readMarks.dan === 1 && his.snapshot.unread === 0, 'the mark of dan');
    his.typing(true);
    await until(() => hers.snapshot.typing.includes('dan'), 'dan types');
    his.typing(false);
    await until(() => hers.snapshot.typing.length === 0, 'dan has stopped');
    assert.deepEqual(hers.snapshot.members.map(({ userId }) => userId).sort(), ['ana', 'dan']);
    hers.release();
    his.release();
    await nothingIsLeft(hub, 2);
  });

  test('an absence of any length is caught up', async (t) => {
    const hub = await startHub(t, { CHAT_PER_SECOND: '0', EVENTS_PER_SECOND: '100000', EVENTS_BURST: '100000' });
    const order = newOrder();
    const wire = await wireTo(t, hub);
    const ana = await app(t, hub, 'ana', { orders: [order], url: wire.url });
    const room = await open(ana, order);
    const all = [];
    for (const count of [1, 60, 420]) {
      wire.down();
      await reaches(ana, 'waiting');
      for (let n = 0; n < count; n++) {
        all.push(`m${all.length + 1}`);
        await call(hub, 'POST', `/orders/${order}/messages`, { content: all.at(-1), senderId: 'dan' }).catch(async () => {
          await call(hub, 'PUT', `/orders/${order}`, { status: 'NEW' });
          await call(hub, 'POST', `/orders/${order}/messages`, { content: all.at(-1), senderId: 'dan' });
        });
      }
      wire.up();
      ana.phone.tell('network');
      await shows(room, all);
    }
    assert.deepEqual(room.messages.map(({ seq }) => seq), all.map((_, n) => n + 1));
  });

  test('older messages are read back', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    await call(hub, 'PUT', `/orders/${order}`, { status: 'NEW' });
    for (let n = 1; n <= 70; n++) await call(hub, 'POST', `/orders/${order}/messages`, { content: `m${n}`, senderId: 'dan' });
    const room = await open(await app(t, hub, 'ana', { orders: [order] }), order);
    assert.equal(room.messages.length, 50);
    assert.equal(room.snapshot.hasMore, true);
    assert.equal(await room.loadOlder(), true);
    assert.deepEqual(texts(room), Array.from({ length: 70 }, (_, n) => `m${n + 1}`));
    assert.equal(await room.loadOlder(), false);
  });

  test('what is written while the hub is killed and started again arrives once, in order', async (t) => {
    const hub = await startHub(t, {}, { comesBack: true });
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const dan = await app(t, hub, 'dan', { orders: [order] });
    const [hers, his] = [await open(ana, order), await open(dan, order)];
    const written = [];
    const write = (room, text) => {
      written.push(text);
      return room.send(text);
    };
    await write(hers, 'before');
    hub.signal('SIGKILL');
    const waiting = [write(hers, 'one'), write(hers, 'two')];
    await reaches(ana, 'waiting');
    await hub.startAgain();
    await Promise.all(waiting);
    await shows(hers, written);
    await shows(his, written);
    await online(dan);
  });

  test('a drain is no end: it says when to come back', async (t) => {
    const hub = await startHub(t, { DRAIN_SECS: '0' }, { comesBack: true });
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const room = await open(ana, order);
    const states = [];
    ana.subscribe(() => states.push(ana.state));
    hub.signal('SIGTERM');
    await reaches(ana, 'waiting');
    const { code, reason, retryAt, since } = states.find(({ status }) => status === 'waiting');
    assert.deepEqual([code, reason], [1012, 'restart']);
    assert.ok(retryAt - since >= 900, `after ${retryAt - since} ms`);
    await hub.startAgain();
    await room.send('after');
    await shows(room, ['after']);
  });

  test('a refused order is a state, and a right that begins or ends is one too', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    const ana = await app(t, hub, 'ana');
    const room = ana.room(order);
    await until(() => room.state.status === 'refused', 'refused');
    assert.equal(room.state.error.code, 'forbidden');
    const failed = await room.send('x').catch((error) => error.code);
    assert.equal(failed, 'forbidden');
    assert.equal(room.messages[0].status, 'failed');
    room.discard(room.messages[0].key);
    await call(hub, 'PUT', `/orders/${order}`, { status: 'NEW', participants: [{ userId: 'ana', role: 'customer' }] });
    await call(hub, 'POST', `/orders/${order}/status`, { status: 'READY' });
    await until(() => room.state.status === 'joined', () => `joined, it is ${JSON.stringify(room.state)}`);
    await call(hub, 'DELETE', `/orders/${order}/participants/ana`);
    await until(() => room.state.status === 'left', 'left');
    assert.equal(room.state.error.code, 'removed');
  });

  test('what a back end does is shown: status, driver, messages and events of its own', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const events = [];
    ana.on('order:eta', (data) => events.push(data));
    const room = await open(ana, order);
    await call(hub, 'PUT', `/orders/${order}`, { status: 'NEW' });
    await call(hub, 'POST', `/orders/${order}/status`, { status: 'ON_THE_WAY' });
    await call(hub, 'POST', `/orders/${order}/assign`, { driverId: 'dan', driverName: 'Dan' });
    await call(hub, 'POST', `/orders/${order}/messages`, { type: 'SYSTEM', content: 'picked up' });
    await call(hub, 'POST', `/orders/${order}/events`, { event: 'order:eta', data: { minutes: 7 } });
    await until(() => events.length === 1, 'the event');
    const { status, driverId, driverName, messages } = room.snapshot;
    assert.deepEqual([status, driverId, driverName], ['ON_THE_WAY', 'dan', 'Dan']);
    assert.deepEqual(messages.map(({ type, content }) => [type, content]), [['SYSTEM', 'picked up']]);
    assert.deepEqual(events, [{ minutes: 7 }]);
  });

  test('a message that the hub refuses has failed with its code', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const room = await open(ana, order);
    const code = (content, type) => room.send(content, { type }).catch((error) => [error.code, error.field].join());
    assert.equal(await code('   '), 'invalid_payload,content');
    assert.equal(await code('x'.repeat(4_001)), 'invalid_payload,content');
    assert.equal(await code('javascript:alert(1)', 'IMAGE'), 'invalid_payload,content');
    assert.equal(await code('y'.repeat(70_000)), 'invalid_payload,');
    const half = await room.send('half a character: \ud83d');
    assert.equal(half.seq, 1);
    await shows(room, ['half a character: \ufffd', '   ', 'x'.repeat(4_001), 'javascript:alert(1)', 'y'.repeat(70_000)]);
    assert.equal(ana.state.status, 'online');
  });

  test('a burst over the rate of a user is slowed down, and nothing of it is lost', async (t) => {
    const hub = await startHub(t, { CHAT_PER_SECOND: '20', CHAT_BURST: '5' });
    const order = newOrder();
    const ana = await app(t, hub, 'ana', { orders: [order] });
    const room = await open(ana, order);
    const all = Array.from({ length: 40 }, (_, n) => `m${n}`);
    await Promise.all(all.map((text) => room.send(text)));
    await shows(room, all);
  });

  test('fifty-one orders are too many for a connection; one that is released makes room', async (t) => {
    const hub = await startHub(t, { MAX_ROOMS_PER_CONNECTION: '3' });
    const orders = [newOrder(), newOrder(), newOrder(), newOrder()];
    const ana = await app(t, hub, 'ana', { orders });
    const rooms = [];
    for (const order of orders.slice(0, 3)) rooms.push(await open(ana, order));
    const last = ana.room(orders[3]);
    await until(() => last.state.status === 'refused', 'refused');
    assert.equal(last.state.error.code, 'too_many_rooms');
    rooms[0].release();
    await until(() => last.state.status === 'joined', 'joined');
  });

  test('nothing is left when an app ends in whatever state', async (t) => {
    const hub = await startHub(t);
    const order = newOrder();
    for (const ms of [0, 1, 5, 20, 100]) {
      const ana = await app(t, hub, 'ana', { orders: [order] });
      const room = ana.room(order);
      void room.send('bye').catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, ms));
      ana.close();
    }
    await nothingIsLeft(hub);
    assert.ok(token('ana'));
  });
});
