// What apps get wrong by hand: rooms left behind, tokens that expire, reconnects without an end, and
// messages sent before there is a connection. Each has a scenario that passes with the kit, and that
// fails with the kit without the cure that is named: so the cure is what makes it pass.

import { describe, expect, test, vi } from 'vitest';
import { FakeHub } from '../support/fake-hub.js';
import { FakeLifecycle, MemoryStorage, pass, useFakeTime } from '../support/setup.js';
import { type Cure, kit } from '../support/without.js';

useFakeTime();

type Kit = Awaited<ReturnType<typeof kit>>;

interface Pitfall {
  name: string;
  scenario(kit: Kit, server: FakeHub): Promise<void>;
  cures: Record<string, Cure>;
}

const start = ({ OrderHub }: Kit, server: FakeHub, getToken: () => Promise<string> = async () => 'ana.1.x') => {
  const lifecycle = new FakeLifecycle();
  const hub = new OrderHub({
    url: 'https://hub.example.com',
    getToken,
    lifecycle,
    storage: new MemoryStorage(),
    WebSocket: server.WebSocket,
  });
  hub.connect();
  return { hub, lifecycle };
};

const PITFALLS: Pitfall[] = [
  {
    name: 'a room is left when the last screen is gone, and a room that is shown is joined again',
    async scenario(kit, server) {
      const { hub } = start(kit, server);
      const [one, two] = [hub.room('o1'), hub.room('o1')];
      const gone = hub.room('o2');
      await pass(50);
      one.release();
      gone.release();
      await pass(50);
      expect([...server.last.joined.keys()]).toEqual(['o1']);
      server.cut();
      await pass(1_000);
      expect([...server.last.joined.keys()]).toEqual(['o1']);
      two.release();
      await pass(50);
      expect(server.last.joined.size).toBe(0);
    },
    cures: {
      'the leave': { file: 'room.ts', code: "void host.link()?.call('order:leave', { orderId, all: true });", without: '' },
      'the count': { file: 'hub.ts', code: 'if (mine.holds || ', without: 'if (' },
      'the join after a connect': { file: 'hub.ts', code: 'this.each((room) => room.join());', without: '' },
    },
  },
  {
    name: 'a token that expires is replaced on the open connection',
    async scenario(kit, server) {
      let issued = 0;
      const { hub } = start(kit, server, async () => `ana.${++issued}.x`);
      await pass(50);
      server.last.tell('auth:expiring', { expiresAt: '', inMs: 60_000 });
      let isRefreshed = false;
      server.answer = (_, { event }) => {
        if (event === 'auth:refresh') isRefreshed = true;
        return undefined;
      };
      await pass(60_000);
      if (!isRefreshed) server.endAll(4401, 'token_expired', true);
      await pass(10);
      expect(hub.state.status).toBe('online');
      expect(server.sockets).toHaveLength(1);
    },
    cures: {
      'the refresh': { file: 'connection.ts', code: "if (name === 'auth:expiring') refresh(link, 'expiring');", without: '' },
    },
  },
  {
    name: 'a token that expired while the app slept is replaced when it comes back',
    async scenario(kit, server) {
      let newest = 'ana.1.x';
      const getToken = vi.fn(async () => newest);
      const { hub, lifecycle } = start(kit, server, getToken);
      await pass(50);
      lifecycle.tell('background');
      await pass(8 * 3_600_000);
      newest = 'ana.2.x';
      server.refuse = (token) => (token === 'ana.1.x' ? 4401 : undefined);
      lifecycle.tell('active');
      await pass(50);
      expect(hub.state.status).toBe('online');
    },
    cures: {
      'a token for every connection': {
        file: 'tokens.ts',
        code: 'if (current === mine) current = undefined;',
        without: '',
      },
    },
  },
  {
    name: 'an end that is final is not followed by another attempt',
    async scenario(kit, server) {
      const { hub } = start(kit, server);
      await pass(50);
      server.endAll(4403, 'removed', false);
      await pass(3_600_000);
      expect(server.sockets).toHaveLength(1);
      expect(hub.state).toMatchObject({ status: 'ended', code: 4403 });
    },
    cures: {
      'the end': { file: 'connection.ts', code: "if (isTerminal(end)) rest('ended', { code, reason });\n    else if", without: 'if' },
    },
  },
  {
    name: 'tokens that are refused for ever are not asked for, and shown, for ever',
    async scenario(kit, server) {
      server.refuse = () => 4401;
      const { hub } = start(kit, server);
      await pass(3_600_000);
      expect(server.sockets.length).toBeLessThan(5);
      expect(hub.state).toMatchObject({ status: 'ended', code: 4401 });
    },
    cures: { 'the count of refusals': { file: 'connection.ts', code: '++refused >= MAX_REFUSED) rest(', without: '++refused < 0) rest(' } },
  },
  {
    name: 'a hub that is away is tried less and less often, and found when it is back',
    async scenario(kit, server) {
      server.isDown = true;
      const { hub } = start(kit, server);
      await pass(3_600_000);
      expect(server.sockets.length).toBeLessThan(260);
      server.isDown = false;
      await pass(30_000);
      expect(hub.state.status).toBe('online');
    },
    cures: {
      'the doubling': { file: 'decisions.ts', code: '500 * 2 ** n', without: '500' },
      'the longest pause': { file: 'decisions.ts', code: 'Math.min(MAX_BACK_OFF_MS, 500 * 2 ** n)', without: '(500 * 2 ** n)' },
    },
  },
  {
    name: 'a hub that accepts and ends every connection is not connected to without a pause',
    async scenario(kit, server) {
      start(kit, server);
      for (let n = 0; n < 36_000; n++) {
        server.cut();
        await pass(100);
      }
      expect(server.sockets.length).toBeLessThan(300);
    },
    cures: { '10 s online': { file: 'connection.ts', code: 'stopCalm = after(CALM_MS, () => (failures = refused = 0));', without: 'failures = 0;' } },
  },
  {
    name: 'a message that is written before there is a connection is sent, once and in order',
    async scenario(kit, server) {
      server.isDown = true;
      const { hub } = start(kit, server);
      const room = hub.room('o1');
      for (const text of ['one', 'two', 'three']) void room.send(text);
      await pass(10_000);
      server.isDown = false;
      // The database is down for the first; the second is stored, and its answer is lost.
      let heard = 0;
      server.answer = (socket, { event }) => {
        if (event !== 'chat:message') return undefined;
        if (++heard === 2) setTimeout(() => socket.end(), 1);
        return heard === 1 ? { code: 'unavailable', message: '', retryAfterMs: 500 } : undefined;
      };
      await pass(60_000);
      expect(server.order('o1').messages.map(({ content }) => content)).toEqual(['one', 'two', 'three']);
      expect(room.messages.map(({ content, status }) => [content, status])).toEqual([
        ['one', 'sent'],
        ['two', 'sent'],
        ['three', 'sent'],
      ]);
    },
    cures: {
      'sending when it is connected': {
        file: 'hub.ts',
        code: 'this.each((room) => room.join());\n    this.outbox.pump();',
        without: 'this.each((room) => room.join());',
      },
      'the queue': { file: 'queue.ts', code: 'return [...items, item];', without: 'return [item];' },
      'one at a time': { file: 'queue.ts', code: '!taken.has(orderId) && taken.add(orderId)', without: 'true' },
      'its key': { file: 'outbox.ts', code: 'clientMsgId: key }', without: 'clientMsgId: newKey() }' },
    },
  },
];

describe.each(PITFALLS)('$name', ({ scenario, cures }) => {
  test('with the kit', async () => {
    await scenario(await kit(), new FakeHub());
  }, 60_000);

  test.each(Object.entries(cures))('not without %s', async (_, cure) => {
    const without = await kit(cure);
    await expect(scenario(without, new FakeHub())).rejects.toThrow();
  }, 60_000);
});
