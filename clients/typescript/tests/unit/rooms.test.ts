// Rooms: joining, gaps, what an order shows, what a user does in it.

import { describe, expect, test, vi } from 'vitest';
import type { ChatMessage, RoomHandle } from '../../src/index.js';
import { FakeHub } from '../support/fake-hub.js';
import { online, pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

const texts = (room: RoomHandle) => room.messages.map(({ content }) => content);
const seqs = (room: RoomHandle) => room.messages.map(({ seq }) => seq);

const joined = async (server = new FakeHub()) => {
  const made = await online({}, server);
  const room = made.hub.room('o1');
  await pass(20);
  expect(room.state).toEqual({ status: 'joined' });
  return { ...made, room };
};

const fill = (server: FakeHub, count: number) => {
  for (let n = 0; n < count; n++) server.say('o1', 'ben', `m${server.order('o1').messages.length + 1}`);
};

describe('holding a room', () => {
  test('one join, however many hold it; the last release leaves', async () => {
    const { hub, server, room } = await joined();
    const other = hub.room('o1');
    await pass(20);
    expect(server.heard('order:join')).toHaveLength(1);
    room.release();
    room.release();
    await pass(20);
    expect(server.heard('order:leave')).toHaveLength(0);
    other.release();
    await pass(20);
    expect(server.heard('order:leave')).toHaveLength(1);
    expect(server.last.joined.size).toBe(0);
  });

  test('released and held again within a tick is neither left nor joined again', async () => {
    const { hub, server, room } = await joined();
    room.release();
    hub.room('o1');
    await pass(20);
    expect(server.heard('order:leave')).toHaveLength(0);
    expect(server.heard('order:join')).toHaveLength(1);
  });

  test('opened again while it is left it is joined anew', async () => {
    const { hub, server, room } = await joined();
    room.release();
    await pass(2);
    const again = hub.room('o1');
    await pass(20);
    expect(again.state.status).toBe('joined');
    expect(server.last.joined.get('o1')).toBe(1);
  });

  test('opened before there is a connection it is joined with it', async () => {
    const { hub, server } = setup();
    const room = hub.room('o1');
    expect(room.state.status).toBe('joining');
    hub.connect();
    await pass(50);
    expect(room.state.status).toBe('joined');
    expect(server.heard('order:join')).toHaveLength(1);
  });

  test('released before it is joined, no room is left behind', async () => {
    const { hub, server } = await online();
    hub.room('o1').release();
    await pass(50);
    expect(server.last.joined.size).toBe(0);
  });

  test('is joined again after every connect, and left where nothing holds it any more', async () => {
    const { hub, server, room } = await joined();
    const gone = hub.room('o2');
    await pass(20);
    server.cut();
    gone.release();
    await pass(1_000);
    expect([...server.last.joined.keys()]).toEqual(['o1']);
    expect(room.state.status).toBe('joined');
  });
});

describe('refusals', () => {
  const refusing = async (code: string, retryAfterMs?: number) => {
    const made = await online();
    let times = 1;
    made.server.answer = (_, { event }) =>
      event === 'order:join' && times-- > 0 ? { code, message: 'no', retryAfterMs } : undefined;
    const room = made.hub.room('o1');
    await pass(20);
    return { ...made, room };
  };

  test.each(['forbidden', 'not_found', 'too_many_rooms', 'invalid_payload', 'a_code_of_tomorrow'])(
    '%s is a state',
    async (code) => {
      const { room, server } = await refusing(code);
      expect(room.state).toEqual({ status: 'refused', error: { code, message: 'no' } });
      await pass(60_000);
      expect(server.heard('order:join')).toHaveLength(1);
    },
  );

  test.each([
    ['unavailable', 2_000, 2_000],
    ['rate_limited', 500, 500],
    ['unavailable', undefined, 1_000],
    ['internal', undefined, 1_000],
  ])('%s is tried again (%s)', async (code, retryAfterMs, pause) => {
    const { room, server } = await refusing(code, retryAfterMs);
    expect(room.state.status).toBe('joining');
    await pass(pause - 50);
    expect(server.heard('order:join')).toHaveLength(1);
    await pass(100);
    expect(room.state.status).toBe('joined');
  });

  test('is asked for again after a reconnect and with a new token', async () => {
    const { room, server, getToken } = await refusing('forbidden');
    server.last.tell('auth:expiring', {});
    await pass(100);
    expect(getToken).toHaveBeenLastCalledWith({ reason: 'expiring' });
    expect(room.state.status).toBe('joined');
  });

  test('for too many rooms is asked for again when one is left, and others are not', async () => {
    const { room, hub, server } = await refusing('too_many_rooms');
    const other = hub.room('o2');
    server.answer = (_, { event, data }) =>
      event === 'order:join' && data.orderId === 'o3' ? { code: 'forbidden', message: '' } : undefined;
    hub.room('o3');
    await pass(50);
    other.release();
    await pass(50);
    expect(room.state.status).toBe('joined');
    expect(server.heard('order:join').map(({ data }) => data.orderId)).toEqual(['o1', 'o2', 'o3', 'o1']);
  });

  test('is asked for again when the order changes', async () => {
    const { room, server } = await refusing('forbidden');
    server.last.tell('order:assigned', { orderId: 'o1', driverId: 'ana', driverName: null, at: '' });
    await pass(50);
    expect(room.state.status).toBe('joined');
  });

  test('a right that ends is a state', async () => {
    const { room, server } = await joined();
    server.broadcast('o1', 'order:left', { orderId: 'o1', reason: 'removed' });
    await pass(10);
    expect(room.state).toMatchObject({ status: 'left', error: { code: 'removed' } });
  });

  test('an answer that makes no sense is asked for again, and no exception', async () => {
    const { hub, server } = await online();
    const handle = vi.spyOn(server as unknown as { handle(): object }, 'handle').mockReturnValueOnce({ lastSeq: 'many' });
    const room = hub.room('o1');
    await pass(20);
    expect(room.state.status).toBe('joining');
    await pass(2_000);
    expect(room.state.status).toBe('joined');
    expect(handle).toHaveBeenCalledTimes(2);
  });
});

describe('chat', () => {
  test('the newest page, then what comes live', async () => {
    const server = new FakeHub();
    fill(server, 60);
    const { room } = await joined(server);
    expect(seqs(room)).toEqual(Array.from({ length: 50 }, (_, n) => n + 11));
    server.say('o1', 'ben', 'live');
    await pass(10);
    expect(texts(room).slice(-2)).toEqual(['m60', 'live']);
  });

  test('after a reconnect only what was missed is asked for', async () => {
    const { room, server } = await joined();
    fill(server, 3);
    await pass(10);
    server.cut();
    fill(server, 2);
    await pass(1_000);
    expect(server.heard('order:join').map(({ data }) => (data as never as { sinceSeq?: number }).sinceSeq)).toEqual([
      undefined,
      3,
    ]);
    expect(seqs(room)).toEqual([1, 2, 3, 4, 5]);
  });

  test('a gap is filled before anything behind it is shown', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    await pass(10);
    server.pageLimit = 20;
    server.cut();
    fill(server, 70);
    const shown: (number | undefined)[][] = [];
    room.subscribe(() => shown.push(seqs(room)));
    server.answer = (socket, { event }) => {
      if (event === 'chat:history' && socket.heard.filter((m) => m.event === event).length === 1) fill(server, 1);
      return undefined;
    };
    await pass(1_000);
    expect(seqs(room)).toEqual(Array.from({ length: 72 }, (_, n) => n + 1));
    for (const seen of shown) expect(seen).toEqual(seen.map((_, n) => n + 1));
  });

  test('a gap that cannot be read now is read later', async () => {
    const { room, server } = await joined();
    server.pageLimit = 5;
    server.cut();
    fill(server, 20);
    let refusals = 1;
    server.answer = (_, { event }) =>
      event === 'chat:history' && refusals-- > 0
        ? { code: 'unavailable', message: '', retryAfterMs: 3_000 }
        : undefined;
    await pass(1_000);
    expect(seqs(room)).toEqual([]);
    await pass(3_000);
    expect(seqs(room)).toHaveLength(20);
  });

  test('after a long absence it begins with the newest page', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    await pass(10);
    server.cut();
    fill(server, 800);
    await pass(1_000);
    expect(seqs(room)).toEqual(Array.from({ length: 200 }, (_, n) => n + 602));
    expect(room.snapshot.hasMore).toBe(true);
    expect(server.heard('chat:history')).toHaveLength(0);
  });

  test('a live message is shown once and in its place, whatever comes', async () => {
    const { room, server } = await joined();
    const [one, two, three] = [1, 2, 3].map((seq) => ({
      ...(server.say('o9', 'ben', `m${seq}`) as ChatMessage),
      orderId: 'o1',
    }));
    server.order('o1').messages = [one!, two!, three!];
    for (const message of [one, three, three, two, one]) server.last.tell('chat:message', message);
    await pass(50);
    expect(texts(room)).toEqual(['m1', 'm2', 'm3']);
  });

  test('a gap between live messages is read', async () => {
    const { room, server } = await joined();
    const members = [...server.last.joined];
    server.last.joined.clear();
    fill(server, 2);
    for (const [order, count] of members) server.last.joined.set(order, count);
    fill(server, 1);
    await pass(50);
    expect(texts(room)).toEqual(['m1', 'm2', 'm3']);
    expect(server.sockets).toHaveLength(1);
  });

  test('a snapshot counts before what came behind it, also within one task', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    await pass(10);
    server.cut();
    server.answer = (_, { event }) => (event === 'order:join' ? 'silent' : undefined);
    await pass(1_000);
    const { id } = server.heard('order:join')[1]!;
    const members = [{ userId: 'ana', name: 'Ana', role: 'customer' }];
    const data = { ok: true, lastSeq: 1, recovered: true, messages: [], members, readMarks: [], unread: 0, lastLocation: null };
    const shown: number[] = [];
    room.subscribe(() => shown.push(room.messages.length));
    const socket = server.last;
    const tell = (message: object) => (socket.onmessage as unknown as (e: object) => void)({ data: JSON.stringify(message) });
    tell({ event: 'ack', id, data });
    tell({ event: 'presence:joined', data: { orderId: 'o1', userId: 'dan', name: 'Dan', role: 'driver' } });
    tell({ event: 'chat:message', data: { ...server.order('o1').messages[0], seq: 2, id: 'm2' } });
    await pass(50);
    expect(seqs(room)).toEqual([1, 2]);
    expect(shown.every((count) => count > 0)).toBe(true);
    expect(room.snapshot.members).toHaveLength(2);
    expect(server.heard('order:join')).toHaveLength(2);
  });

  test('a number from nowhere holds nothing up', async () => {
    const { room, server } = await joined();
    server.last.tell('chat:message', { id: 'x', orderId: 'o1', seq: 1e12, senderId: 'ben', content: 'far' });
    await pass(50);
    fill(server, 2);
    await pass(50);
    expect(texts(room)).toEqual(['m1', 'm2']);
  });

  test('a database that was set back is believed', async () => {
    const { room, server } = await joined();
    fill(server, 5);
    await pass(10);
    server.cut();
    server.order('o1').messages.length = 3;
    await pass(1_000);
    expect(seqs(room)).toEqual([1, 2, 3]);
    server.say('o1', 'ben', 'again');
    await pass(10);
    expect(texts(room).slice(-1)).toEqual(['again']);
  });

  test('at most 500 are held, the newest', async () => {
    const { room, server } = await joined();
    fill(server, 620);
    await pass(50);
    expect(seqs(room)).toEqual(Array.from({ length: 500 }, (_, n) => n + 121));
  });

  test('`loadOlder` reads back until there is no more', async () => {
    const server = new FakeHub();
    fill(server, 120);
    const { room } = await joined(server);
    const load = async () => {
      const [one, two] = [room.loadOlder(), room.loadOlder()];
      await pass(20);
      expect(await one).toBe(await two);
      return one;
    };
    expect(await load()).toBe(true);
    expect(seqs(room)[0]).toBe(21);
    expect(room.snapshot.hasMore).toBe(true);
    expect(await load()).toBe(true);
    expect(seqs(room)).toEqual(Array.from({ length: 120 }, (_, n) => n + 1));
    expect(room.snapshot.hasMore).toBe(false);
    expect(await load()).toBe(false);
    expect(server.heard('chat:history')).toHaveLength(2);
  });

  test('`loadOlder` without a connection is false, and no exception', async () => {
    const server = new FakeHub();
    fill(server, 120);
    const { room } = await joined(server);
    server.isDown = true;
    server.cut();
    await expect(room.loadOlder()).resolves.toBe(false);
  });

  test('`loadOlder` stops at 500', async () => {
    const server = new FakeHub();
    fill(server, 700);
    const { room } = await joined(server);
    for (let n = 0; n < 12; n++) {
      void room.loadOlder();
      await pass(20);
    }
    expect(seqs(room)).toEqual(Array.from({ length: 500 }, (_, n) => n + 201));
    expect(room.snapshot.hasMore).toBe(false);
  });

  test('a deletion replaces what is shown, live and after an absence', async () => {
    const { room, server } = await joined();
    fill(server, 3);
    await pass(10);
    const deletion = { at: '2026-11-30T12:00:00.000Z', by: 'sender' };
    server.broadcast('o1', 'chat:deleted', { orderId: 'o1', seq: 1, ...deletion });
    await pass(10);
    server.cut();
    server.order('o1').deletions.push({ seq: 2, ...deletion });
    await pass(1_000);
    expect(texts(room)).toEqual(['…', '…', 'm3']);
    expect(room.messages[1]).toMatchObject({ seq: 2, type: 'TEXT', deleted: deletion });
  });

  test('`delete` asks the hub, and is rejected with its refusal', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    const deleted = room.delete(1);
    await pass(20);
    await deleted;
    expect(server.heard('chat:delete')[0]!.data).toEqual({ orderId: 'o1', seq: 1 });
    server.answer = () => ({ code: 'forbidden', message: 'no' });
    const refused = expect(room.delete(1)).rejects.toMatchObject({ name: 'OrderHubError', code: 'forbidden' });
    await pass(20);
    await refused;
    server.cut();
    await expect(room.delete(1)).rejects.toMatchObject({ code: 'lost' });
  });

  test('a deleted order begins anew', async () => {
    const { room, server } = await joined();
    fill(server, 3);
    await pass(10);
    server.broadcast('o1', 'order:left', { orderId: 'o1', reason: 'closed' });
    await pass(10);
    expect(room.state).toMatchObject({ status: 'left', error: { code: 'closed' } });
    expect(room.messages).toEqual([]);
  });
});

describe('what an order shows', () => {
  test('status, driver, members, marks and typing follow the events', async () => {
    const { room, server } = await joined();
    const tell = (event: string, data: object) => server.broadcast('o1', event, { orderId: 'o1', ...data });
    expect(room.snapshot).toMatchObject({ status: null, driverId: null, members: [{ userId: 'ana' }] });
    tell('order:status', { status: 'ON_THE_WAY', previousStatus: null, at: '' });
    tell('order:assigned', { driverId: 'dan', driverName: 'Dan', at: '' });
    tell('presence:joined', { userId: 'dan', name: 'Dan', role: 'driver' });
    tell('presence:joined', { userId: 'dan', name: 'Dan', role: 'driver' });
    tell('chat:read', { userId: 'dan', seq: 3, at: '' });
    tell('chat:read', { userId: 'dan', seq: 2, at: '' });
    tell('chat:typing', { userId: 'dan', typing: true });
    await pass(10);
    expect(room.snapshot).toMatchObject({
      status: 'ON_THE_WAY',
      driverId: 'dan',
      driverName: 'Dan',
      members: [{ userId: 'ana' }, { userId: 'dan', name: 'Dan', role: 'driver' }],
      readMarks: { dan: 3 },
      typing: ['dan'],
    });
    tell('order:unassigned', { driverId: 'eve', driverName: null, at: '' });
    tell('order:unassigned', { driverId: 'dan', driverName: null, at: '' });
    tell('presence:left', { userId: 'dan', name: 'Dan', role: 'driver' });
    tell('chat:typing', { userId: 'dan', typing: false });
    await pass(10);
    expect(room.snapshot).toMatchObject({ driverId: null, driverName: null, members: [{ userId: 'ana' }], typing: [] });
  });

  test('typing ends after 6 s without another word, and with the message', async () => {
    const { room, server } = await joined();
    const type = () => server.broadcast('o1', 'chat:typing', { orderId: 'o1', userId: 'dan', typing: true });
    type();
    await pass(4_000);
    type();
    await pass(5_900);
    expect(room.snapshot.typing).toEqual(['dan']);
    await pass(200);
    expect(room.snapshot.typing).toEqual([]);
    type();
    server.say('o1', 'dan', 'here');
    await pass(10);
    expect(room.snapshot.typing).toEqual([]);
  });

  test('a position is stale after a minute, and with the age that the snapshot says', async () => {
    const server = new FakeHub();
    server.order('o1').lastLocation = { lat: 1, lng: 2, driverId: 'dan', timestamp: '', ageMs: 50_000, stale: false };
    const { room } = await joined(server);
    expect(room.snapshot.location).toMatchObject({ lat: 1, stale: false });
    await pass(10_000);
    expect(room.snapshot.location).toMatchObject({ lat: 1, stale: true });
    server.broadcast('o1', 'location:updated', { orderId: 'o1', lat: 3, lng: 4, driverId: 'dan', timestamp: '' });
    await pass(59_000);
    expect(room.snapshot.location).toMatchObject({ lat: 3, stale: false });
    await pass(2_000);
    expect(room.snapshot.location).toMatchObject({ lat: 3, stale: true });
  });

  test('what has not changed keeps its identity', async () => {
    const { room, server } = await joined();
    fill(server, 2);
    await pass(10);
    const before = room.snapshot;
    expect(room.snapshot).toBe(before);
    server.broadcast('o1', 'location:updated', { orderId: 'o1', lat: 3, lng: 4, driverId: 'dan', timestamp: '' });
    await pass(10);
    const { location, ...rest } = room.snapshot;
    expect(location).not.toBe(before.location);
    for (const [name, value] of Object.entries(rest)) expect(value, name).toBe(before[name as keyof typeof before]);
  });

  test.each([
    ['chat:message', { seq: 'one', id: 'x', senderId: 'b', content: 'c' }],
    ['chat:message', { seq: 1.5, id: 'x', senderId: 'b', content: 'c' }],
    ['chat:message', { seq: 1, id: 'x', senderId: 'b' }],
    ['location:updated', { lat: '45', lng: 13 }],
    ['location:updated', { lat: 45 }],
    ['order:status', {}],
    ['order:assigned', { driverId: 7 }],
    ['presence:joined', {}],
    ['chat:read', { userId: 'dan' }],
    ['chat:typing', {}],
    ['chat:deleted', {}],
    ['order:of_tomorrow', { status: 'X' }],
  ])('a %s that is half changes nothing: %j', async (event, data) => {
    const { room, server } = await joined();
    const before = room.snapshot;
    server.last.tell(event, { orderId: 'o1', ...data });
    await pass(10);
    expect({ ...room.snapshot }).toEqual({ ...before });
  });
});

describe('unread', () => {
  test('counts what others wrote behind the mark, on whichever device it moves', async () => {
    const server = new FakeHub();
    fill(server, 60);
    server.order('o1').marks.set('ana', 2);
    const { room } = await joined(server);
    expect(room.snapshot.unread).toBe(58);
    server.say('o1', 'ben', 'more');
    await pass(10);
    expect(room.snapshot.unread).toBe(59);
    server.broadcast('o1', 'chat:read', { orderId: 'o1', userId: 'ana', seq: 60, at: '' });
    await pass(10);
    expect(room.snapshot.unread).toBe(1);
    void room.send('my own');
    await pass(20);
    expect(room.snapshot.unread).toBe(0);
  });

  test('`markRead` tells the newest once', async () => {
    const { room, server } = await joined();
    fill(server, 3);
    await pass(10);
    room.markRead();
    room.markRead();
    await pass(50);
    room.markRead();
    await pass(50);
    expect(server.heard('chat:read').map(({ data }) => data)).toEqual([{ orderId: 'o1', seq: 3 }]);
    expect(room.snapshot.unread).toBe(0);
  });

  test('`markRead` waits while the app is not in front', async () => {
    const { room, server, lifecycle } = await joined();
    fill(server, 1);
    await pass(10);
    lifecycle.tell('inactive');
    room.markRead();
    await pass(1_000);
    expect(server.heard('chat:read')).toHaveLength(0);
    lifecycle.tell('active');
    await pass(50);
    expect(server.heard('chat:read')).toHaveLength(1);
  });

  test('`markRead` waits for the connection', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    await pass(10);
    server.cut();
    room.markRead();
    await pass(1_000);
    expect(server.heard('chat:read')).toHaveLength(1);
    expect(server.order('o1').marks.get('ana')).toBe(1);
  });

  test('a mark that is refused is not asked for again and again', async () => {
    const { room, server } = await joined();
    fill(server, 1);
    await pass(10);
    server.answer = (_, { event }) => (event === 'chat:read' ? { code: 'forbidden', message: '' } : undefined);
    room.markRead();
    await pass(10_000);
    expect(server.heard('chat:read')).toHaveLength(1);
  });
});

describe('typing', () => {
  test('is told at once, then every 3 s, and its end once', async () => {
    const { room, server } = await joined();
    const told = () => server.heard('chat:typing').map(({ data }) => (data as never as { typing: boolean }).typing);
    for (let n = 0; n < 8; n++) {
      room.typing(true);
      await pass(500);
    }
    expect(told()).toEqual([true, true]);
    room.typing(false);
    room.typing(false);
    await pass(10);
    expect(told()).toEqual([true, true, false]);
    expect(server.heard('chat:typing').every(({ id }) => id === undefined)).toBe(true);
  });
});

describe('users', () => {
  test('another user sees nothing of the former one', async () => {
    const { room, server, getToken } = await joined();
    fill(server, 3);
    await pass(10);
    getToken.mockResolvedValue('ben.1.x');
    server.answer = (socket) => (socket.userId === 'ben' ? { code: 'forbidden', message: '' } : undefined);
    server.cut();
    await pass(1_000);
    expect(room.state.status).toBe('refused');
    expect(room.messages).toEqual([]);
  });
});
