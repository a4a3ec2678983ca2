// The outbox: messages that are shown at once and sent when that is possible, once.

import { describe, expect, test, vi } from 'vitest';
import type { RoomHandle } from '../../src/index.js';
import { FakeHub } from '../support/fake-hub.js';
import { MemoryStorage, online, pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

const shown = (room: RoomHandle) => room.messages.map(({ content, status }) => `${content} ${status}`);
const stored = (server: FakeHub, orderId = 'o1') => server.order(orderId).messages.map(({ content }) => content);

describe('sending', () => {
  test('shows a message at once, keeps its key, and is fulfilled with what the hub has made of it', async () => {
    const { hub, server } = await online();
    const room = hub.room('o1');
    await pass(20);
    const sent = room.send('hello');
    const [pending] = room.messages;
    expect(pending).toMatchObject({ content: 'hello', status: 'pending', senderId: 'ana', senderName: 'Name of ana' });
    expect(hub.state.pending).toBe(1);
    await pass(50);
    const [message] = room.messages;
    expect(message).toMatchObject({ content: 'hello', status: 'sent', seq: 1, key: pending!.key });
    await expect(sent).resolves.toEqual({ id: message!.id, seq: 1, createdAt: message!.createdAt });
    expect(hub.state.pending).toBe(0);
    expect(server.heard('chat:message')[0]!.data).toMatchObject({ type: 'TEXT', clientMsgId: pending!.key });
  });

  test('before there is a connection waits for it, in order', async () => {
    const { hub, server } = setup();
    const room = hub.room('o1');
    for (const text of ['one', 'two', 'three']) void room.send(text);
    expect(shown(room)).toEqual(['one pending', 'two pending', 'three pending']);
    await pass(1_000);
    hub.connect();
    await pass(200);
    expect(stored(server)).toEqual(['one', 'two', 'three']);
    expect(shown(room)).toEqual(['one sent', 'two sent', 'three sent']);
  });

  test('has one message under way per order', async () => {
    const { hub, server } = await online();
    server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
    for (const order of ['o1', 'o2']) for (const text of ['one', 'two']) void hub.send(order, text);
    await pass(100);
    expect(server.heard('chat:message').map(({ data }) => data.orderId)).toEqual(['o1', 'o2']);
  });

  test('an ack that is lost with the connection does not make two', async () => {
    const { hub, server } = await online();
    const room = hub.room('o1');
    await pass(20);
    server.order('o1');
    const sent = room.send('once');
    await pass(4);
    // It has been stored when the connection is cut, and the answer is lost.
    server.answer = (socket, message) => {
      if (message.event !== 'chat:message') return undefined;
      server.answer = () => undefined;
      server.say('o1', 'ana', 'once', { clientMsgId: (message.data as never as { clientMsgId: string }).clientMsgId });
      socket.end();
      return 'silent';
    };
    await pass(1_000);
    await expect(sent).resolves.toMatchObject({ seq: 1 });
    expect(stored(server)).toEqual(['once']);
    expect(shown(room)).toEqual(['once sent']);
  });

  test('an acknowledged message stays at the end until it has its place', async () => {
    const { hub, server } = await online();
    const room = hub.room('o1');
    await pass(20);
    server.answer = (socket, message) => {
      if (message.event !== 'chat:message') return undefined;
      const key = (message.data as never as { clientMsgId: string }).clientMsgId;
      server.up[0]!.joined.clear();
      server.say('o1', 'ben', 'between');
      server.say('o1', 'ana', 'mine', { clientMsgId: key });
      socket.tell('ack', { ok: true, id: 'id-o1-2', seq: 2, createdAt: '' }, message.id);
      return 'silent';
    };
    void room.send('mine');
    await pass(50);
    expect(room.messages.map(({ content, seq, status }) => [content, seq, status])).toEqual([['mine', undefined, 'sent']]);
    const { key } = room.messages[0]!;
    for (const message of server.order('o1').messages) server.last.tell('chat:message', message);
    await pass(10);
    expect(shown(room)).toEqual(['between sent', 'mine sent']);
    expect(room.messages[1]!.key).toBe(key);
  });

  test('what is no text is refused at once', async () => {
    const { hub } = await online();
    await expect(hub.send('o1', [{ text: 'a list' }] as never)).rejects.toMatchObject({ code: 'invalid_payload' });
    expect(hub.state.pending).toBe(0);
  });

  test('half a character is replaced: the hub could not read it', async () => {
    const { hub, server } = await online();
    void hub.send('o1', 'a\ud83d b😀c\ude00');
    await pass(50);
    expect(stored(server)).toEqual(['a\ufffd b😀c\ufffd']);
  });

  test('a message that is longer than the hub takes is not written', async () => {
    const { hub, server } = await online();
    const sent = expect(hub.send('o1', 'ž'.repeat(33_000))).rejects.toMatchObject({ code: 'invalid_payload' });
    await pass(50);
    await sent;
    expect(server.heard('chat:message')).toHaveLength(0);
  });

  test('an `IMAGE` is sent as one', async () => {
    const { hub, server } = await online();
    void hub.send('o1', 'photo-1', { type: 'IMAGE' });
    await pass(50);
    expect(server.heard('chat:message')[0]!.data).toMatchObject({ type: 'IMAGE', content: 'photo-1' });
  });
});

describe('refusals', () => {
  const refusing = async (code: string, more: object = {}, times = 1) => {
    const made = await online();
    const room = made.hub.room('o1');
    await pass(20);
    made.server.answer = (_, { event }) =>
      event === 'chat:message' && times-- > 0 ? { code, message: 'no', ...more } : undefined;
    const sent = room.send('hello');
    const outcome = sent.then(
      () => 'sent',
      (error: { code: string }) => error.code,
    );
    return { ...made, room, outcome };
  };

  test.each([
    'forbidden',
    'order_closed',
    'invalid_payload',
    'conflict',
    'rejected',
    'not_found',
    'too_many_rooms',
    'a_code_of_tomorrow',
  ])('%s is final', async (code) => {
    const { room, outcome, server, hub } = await refusing(code);
    await pass(60_000);
    await expect(outcome).resolves.toBe(code);
    expect(room.messages).toMatchObject([{ status: 'failed', error: { code, message: 'no' } }]);
    expect(server.heard('chat:message')).toHaveLength(1);
    expect(hub.state.pending).toBe(0);
  });

  test.each([
    ['unavailable', { retryAfterMs: 2_000 }, 2_000],
    ['rate_limited', { retryAfterMs: 700 }, 700],
    ['unavailable', {}, 1_000],
    ['a_code_of_tomorrow', { retryAfterMs: 300 }, 300],
    ['internal', {}, 1_000],
  ])('%s %j is tried again', async (code, more, pause) => {
    const { outcome, server } = await refusing(code, more);
    await pass(pause);
    expect(server.heard('chat:message')).toHaveLength(1);
    await pass(50);
    await expect(outcome).resolves.toBe('sent');
    const keys = server.heard('chat:message').map(({ data }) => (data as never as { clientMsgId: string }).clientMsgId);
    expect(new Set(keys).size).toBe(1);
  });

  test('`internal` is tried five times', async () => {
    const { outcome, server } = await refusing('internal', {}, Infinity);
    await pass(120_000);
    await expect(outcome).resolves.toBe('internal');
    expect(server.heard('chat:message')).toHaveLength(5);
  });

  test('one that has failed does not hold up those behind it', async () => {
    const { room, server } = await refusing('forbidden');
    void room.send('next');
    await pass(100);
    expect(stored(server)).toEqual(['next']);
    expect(shown(room)).toEqual(['next sent', 'hello failed']);
  });

  test('`retry` sends it again, `discard` takes it away', async () => {
    const { room, server } = await refusing('order_closed', {}, 2);
    void room.send('other');
    await pass(50);
    const [first, second] = room.messages;
    room.retry(first!.key);
    expect(shown(room)).toEqual(['other failed', 'hello pending']);
    room.discard(second!.key);
    await pass(50);
    expect(shown(room)).toEqual(['hello sent']);
    expect(room.messages[0]!.key).toBe(first!.key);
    expect(stored(server)).toEqual(['hello']);
  });

  test('`retry` after a conflict takes a new key', async () => {
    const { room, server } = await refusing('conflict');
    await pass(50);
    room.retry(room.messages[0]!.key);
    await pass(50);
    const keys = server.heard('chat:message').map(({ data }) => (data as never as { clientMsgId: string }).clientMsgId);
    expect(new Set(keys).size).toBe(2);
  });

  test('a refused message that was stored after all is shown once, as sent', async () => {
    const { room, server } = await refusing('internal', {}, Infinity);
    await pass(120_000);
    server.say('o1', 'ana', 'hello', { clientMsgId: room.messages[0]!.key });
    await pass(10);
    expect(shown(room)).toEqual(['hello sent']);
  });

  test('nothing is thrown where an app does not look at the promise', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    const { hub, server } = await online();
    server.answer = () => ({ code: 'forbidden', message: '' });
    void hub.send('o1', 'x');
    await pass(50);
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe('bounds', () => {
  test('200 wait at most; the next one has failed visibly', async () => {
    const { hub } = setup();
    const room = hub.room('o1');
    for (let n = 0; n < 200; n++) void room.send(`m${n}`);
    await expect(room.send('too many')).rejects.toMatchObject({ code: 'outbox_full' });
    expect(hub.state.pending).toBe(200);
    expect(room.messages.slice(-1)).toMatchObject([{ content: 'too many', status: 'failed' }]);
    for (let n = 0; n < 300; n++) void room.send(`f${n}`);
    expect(room.messages).toHaveLength(400);
  });

  test('what is older than 24 h has failed visibly', async () => {
    const { hub, server } = setup();
    const room = hub.room('o1');
    const sent = expect(room.send('old')).rejects.toMatchObject({ code: 'expired' });
    await pass(24 * 3_600_000 - 1_000);
    void room.send('new');
    await pass(2_000);
    hub.connect();
    await pass(50);
    await sent;
    expect(stored(server)).toEqual(['new']);
    expect(shown(room)).toEqual(['new sent', 'old failed']);
  });

  test('a clock that is set back makes nothing old', async () => {
    const { hub, server } = setup();
    void hub.send('o1', 'from the future');
    vi.setSystemTime(Date.now() - 48 * 3_600_000);
    hub.connect();
    await pass(50);
    expect(stored(server)).toEqual(['from the future']);
  });
});

describe('storage', () => {
  const started = async (storage: MemoryStorage, server = new FakeHub(), token = 'ana.1.x') =>
    online({ storage, getToken: async () => token }, server);

  /** An app that was killed with messages in its queue. */
  const killed = async (...texts: string[]) => {
    const storage = new MemoryStorage();
    const { hub, server } = await started(storage);
    server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
    for (const text of texts) void hub.send('o1', text);
    await pass(20);
    hub.close();
    return storage;
  };

  test('after an app was killed the queue goes on, in order', async () => {
    const storage = await killed('one', 'two');
    const { server, hub } = await started(storage);
    await pass(100);
    expect(stored(server)).toEqual(['one', 'two']);
    expect(hub.state.pending).toBe(0);
    expect([...storage.items.values()].join()).not.toMatch(/one|two/);
  });

  test('what waits is shown before there is a connection', async () => {
    const storage = await killed('one');
    const { hub } = setup({ storage });
    const room = hub.room('o1');
    await pass(10);
    expect(shown(room)).toEqual(['one pending']);
    expect(room.messages[0]!.senderId).toBe('ana');
  });

  test('what was stored when the app was killed is not sent as two', async () => {
    const storage = await killed('one');
    const server = new FakeHub();
    const key = JSON.parse([...storage.items].find(([name]) => /ana:./.test(name))![1])[0].key;
    server.say('o1', 'ana', 'one', { clientMsgId: key });
    const { hub } = await started(storage, server);
    const room = hub.room('o1');
    await pass(100);
    expect(stored(server)).toEqual(['one']);
    expect(shown(room)).toEqual(['one sent']);
  });

  test('another user neither sees nor sends it, and it waits for its own', async () => {
    const storage = await killed('of ana');
    const { hub, server } = setup({ storage, getToken: async () => 'ben.1.x' });
    await pass(10);
    void hub.send('o1', 'of ben');
    hub.connect();
    await pass(100);
    expect(stored(server)).toEqual(['of ben']);
    expect(server.order('o1').messages[0]!.senderId).toBe('ben');
    hub.close();
    const ana = await started(storage);
    await pass(100);
    expect(stored(ana.server)).toEqual(['of ana']);
  });

  test('a user who changes while it runs takes nothing along', async () => {
    const storage = new MemoryStorage();
    const { hub, server } = setup({ storage });
    hub.connect();
    await pass(50);
    server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
    const sent = expect(hub.send('o1', 'of ana')).rejects.toMatchObject({ code: 'user_changed' });
    await pass(10);
    server.answer = () => undefined;
    server.user = () => 'ben';
    server.cut();
    await pass(1_000);
    await sent;
    expect(stored(server)).toEqual([]);
    hub.close();
    const ana = await started(storage);
    await pass(100);
    expect(stored(ana.server)).toEqual(['of ana']);
  });

  test('`signOut` erases it, everywhere', async () => {
    const storage = await killed('secret');
    const { hub, server } = setup({ storage });
    const room = hub.room('o1');
    await pass(10);
    expect(shown(room)).toEqual(['secret pending']);
    const sent = expect(room.send('also secret')).rejects.toMatchObject({ code: 'signed_out' });
    await hub.signOut();
    await sent;
    expect(storage.items.size).toBe(0);
    expect(room.messages).toEqual([]);
    expect(hub.state).toMatchObject({ status: 'idle', pending: 0 });
    hub.connect();
    await pass(100);
    expect(stored(server)).toEqual([]);
  });

  test('`signOut` erases it also before the user is known, and after `close`', async () => {
    for (const close of [false, true]) {
      const storage = await killed('secret');
      const { hub } = setup({ storage });
      if (close) {
        hub.connect();
        await pass(5);
        hub.close();
      }
      await hub.signOut();
      expect(storage.items.size).toBe(0);
    }
  });

  test('messages written after `close` are sent after the next `connect`', async () => {
    const { hub, server } = await online();
    hub.close();
    void hub.send('o1', 'later');
    await pass(50);
    expect(stored(server)).toEqual([]);
    hub.connect();
    await pass(100);
    expect(stored(server)).toEqual(['later']);
  });

  test('one that throws, is full or hangs is a state, and sending goes on', async () => {
    const throws = () => {
      throw new Error('quota');
    };
    const rejects = async () => throws();
    for (const bad of [throws, rejects, () => new Promise<never>(() => {})]) {
      const warn = vi.fn();
      const storage = { getItem: bad, setItem: bad, removeItem: bad };
      const { hub, server } = await online({ storage, logger: { warn } });
      server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
      void hub.send('o1', 'hello');
      await pass(20);
      if (bad !== throws && bad !== rejects) expect(hub.state.pending).toBe(1);
      else expect(hub.state).toMatchObject({ pending: 1, unsaved: true });
      server.answer = () => undefined;
      server.cut();
      await pass(1_000);
      expect(stored(server)).toEqual(['hello']);
    }
  });

  test('without one the state says that what waits would be lost', async () => {
    const { hub } = setup({ storage: undefined });
    expect(hub.state).not.toHaveProperty('unsaved');
    void hub.send('o1', 'hello');
    expect(hub.state).toMatchObject({ pending: 1, unsaved: true });
  });

  test('what waits is not stored before the hub has said who the user is, and the state says so', async () => {
    const { hub, storage } = setup();
    void hub.send('o1', 'hello');
    expect(hub.state).toMatchObject({ pending: 1, unsaved: true });
    expect(storage.items.size).toBe(0);
  });

  test('rubbish in it does no harm', async () => {
    for (const rubbish of ['', '{', '7', 'null', '{"a":1}', '[1,null,{"key":1}]', '["x"]', '[{"key":"k","orderId":"o1"}]']) {
      const storage = await killed('one');
      for (const key of storage.items.keys()) if (key !== 'orderhub:1:user') storage.items.set(key, rubbish);
      const { hub, server } = await started(storage);
      void hub.send('o1', 'hello');
      await pass(100);
      expect(stored(server)).toEqual(['hello']);
    }
  });
});

describe('tabs', () => {
  /** Web Locks in memory. */
  const locks = () => {
    const held = new Map<string, Promise<unknown>>();
    return {
      async request(name: string, { ifAvailable }: { ifAvailable?: boolean }, run: (lock: unknown) => unknown) {
        while (held.has(name)) {
          if (ifAvailable) return run(null);
          await held.get(name);
        }
        const done = Promise.resolve().then(() => run({ name }));
        held.set(name, done.catch(() => {}));
        try {
          return await done;
        } finally {
          held.delete(name);
        }
      },
    };
  };

  test('a living tab keeps its messages, a tab that is gone leaves them to another', async () => {
    vi.stubGlobal('navigator', { locks: locks() });
    const storage = new MemoryStorage();
    const server = new FakeHub();
    server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
    const one = await online({ storage }, server);
    void one.hub.send('o1', 'from one');
    const two = await online({ storage }, server);
    const room = two.hub.room('o1');
    await pass(20);
    expect(shown(room)).toEqual([]);
    one.hub.close();
    server.answer = () => undefined;
    await pass(10);
    two.lifecycle.tell('active');
    server.cut();
    await pass(1_000);
    expect(stored(server)).toEqual(['from one']);
    expect(shown(room)).toEqual(['from one sent']);
  });

  test('locks that are refused are done without', async () => {
    vi.stubGlobal('navigator', { locks: { request: async () => Promise.reject(new Error('insecure')) } });
    const { hub, server } = await online();
    void hub.send('o1', 'hello');
    await pass(100);
    expect(stored(server)).toEqual(['hello']);
  });

  test('a crash in the middle of an adoption loses and doubles nothing', async () => {
    for (let crashAt = 1; crashAt < 12; crashAt++) {
      const storage = new MemoryStorage();
      const server = new FakeHub();
      server.answer = (_, { event }) => (event === 'chat:message' ? 'silent' : undefined);
      const one = await online({ storage }, server);
      void one.hub.send('o1', 'from one');
      await pass(20);
      one.hub.close();
      let left = crashAt;
      const dying = new MemoryStorage();
      for (const [key, value] of storage.items) dying.items.set(key, value);
      const write = (run: () => void) => {
        if (left-- <= 0) return new Promise<undefined>(() => {});
        run();
        return Promise.resolve(undefined);
      };
      dying.setItem = (key, value) => write(() => dying.items.set(key, value));
      dying.removeItem = (key) => write(() => dying.items.delete(key));
      const two = await online({ storage: dying }, server);
      two.hub.close();
      dying.setItem = MemoryStorage.prototype.setItem;
      const after = new MemoryStorage();
      for (const [key, value] of dying.items) after.items.set(key, value);
      server.answer = () => undefined;
      const three = await online({ storage: after }, server);
      await pass(100);
      expect(stored(server), `crash at write ${crashAt}`).toEqual(['from one']);
      expect(three.hub.state.pending).toBe(0);
    }
  });
});
