// Generated histories: whatever happens between the app and the hub, an order shows every message
// once and in order, everything that was written is stored once, and no connection or room is left.

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { RoomHandle } from '../../src/index.js';
import { FakeHub } from '../support/fake-hub.js';
import { MemoryStorage, pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

const ORDERS = ['o1', 'o2'];

type Step =
  | { do: 'send' | 'others' | 'open' | 'release'; order: string; count: number }
  | { do: 'cut' | 'stall' | 'drain' | 'sleep' | 'wake' | 'network' | 'loseAnswers' | 'fail' | 'kill' | 'repeat' }
  | { do: 'pass'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('send' as const, 'others' as const), order: fc.constantFrom(...ORDERS), count: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('open' as const, 'release' as const), order: fc.constantFrom(...ORDERS), count: fc.constant(1) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'stall' as const, 'drain' as const, 'sleep' as const, 'wake' as const, 'network' as const, 'loseAnswers' as const, 'fail' as const, 'kill' as const, 'repeat' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 60_000 })) }) },
);

/** What is shown of others and acknowledged: numbers without a gap, each once. */
function check(room: RoomHandle) {
  const numbers = room.messages.flatMap(({ seq, status }) => (status === 'sent' && seq ? [seq] : []));
  const keys = room.messages.map(({ key }) => key);
  expect(new Set(keys).size, 'each message once').toBe(keys.length);
  for (let n = 1; n < numbers.length; n++) expect(numbers[n], 'no gap').toBe(numbers[n - 1]! + 1);
  expect(numbers, 'in order').toEqual([...numbers].sort((one, other) => one - other));
  const statuses = room.messages.map(({ status }) => status);
  expect(statuses.indexOf('pending') < 0 || statuses.lastIndexOf('sent') < statuses.indexOf('pending'), 'own ones last').toBe(true);
}

async function run(steps: Step[], pageLimit: number) {
  // Nothing of a history that has failed goes on in the next.
  vi.clearAllTimers();
  const server = new FakeHub();
  server.pageLimit = pageLimit;
  const storage = new MemoryStorage();
  const rooms = new Map<string, RoomHandle>();
  const written: string[] = [];
  let app = setup({ storage }, server);
  let lost = 0;
  let failing = 0;
  server.answer = (_, message) => {
    if (lost > 0 && message.event !== 'ping') {
      lost--;
      // It is done, and the answer is lost with the connection.
      setTimeout(() => server.cut(), 1);
      return undefined;
    }
    if (failing > 0 && /chat|join/.test(message.event)) {
      failing--;
      return { code: failing % 2 ? 'unavailable' : 'internal', message: '', retryAfterMs: 50 };
    }
    return undefined;
  };
  const open = (order: string) => {
    if (rooms.has(order)) return;
    const room = app.hub.room(order);
    room.subscribe(() => check(room));
    rooms.set(order, room);
  };
  app.hub.connect();
  open('o1');
  // Before the first session of all nothing is stored, since the user is not known.
  await pass(50);
  for (const action of steps) {
    switch (action.do) {
      case 'send':
        for (let n = 0; n < action.count; n++) {
          written.push(`${action.order} #${written.length}`);
          void app.hub.send(action.order, written[written.length - 1]!);
        }
        break;
      case 'others':
        for (let n = 0; n < action.count; n++) server.say(action.order, 'ben', 'x');
        break;
      case 'open':
        open(action.order);
        break;
      case 'release':
        rooms.get(action.order)?.release();
        rooms.delete(action.order);
        break;
      case 'cut':
        server.cut();
        break;
      case 'stall':
        server.stall();
        break;
      case 'drain':
        server.endAll(1012, 'restart', true, 700);
        break;
      case 'sleep':
        app.lifecycle.tell('background');
        break;
      case 'wake':
        app.lifecycle.tell('active');
        break;
      case 'network':
        app.lifecycle.tell('network');
        break;
      case 'loseAnswers':
        lost = 1;
        break;
      case 'fail':
        failing = 2;
        break;
      case 'repeat': {
        const again = server.order('o1').messages.slice(-3);
        for (const socket of server.up) if (socket.joined.has('o1')) for (const m of again) socket.tell('chat:message', m);
        break;
      }
      case 'kill': {
        // What was written is stored by then.
        await pass(1);
        app.hub.close();
        const opened = [...rooms.keys()];
        rooms.clear();
        app = setup({ storage }, server);
        app.hub.connect();
        opened.forEach(open);
        break;
      }
      case 'pass':
        await pass(action.ms);
        break;
    }
  }
  lost = failing = 0;
  app.lifecycle.tell('active');
  await pass(90_000);
  expect(app.hub.state).toMatchObject({ status: 'online', pending: 0 });
  for (const order of ORDERS) {
    const stored = server.order(order).messages.filter(({ senderId }) => senderId === 'ana');
    expect(stored.map(({ content }) => content)).toEqual(written.filter((text) => text.startsWith(order)));
  }
  for (const [order, room] of rooms) {
    check(room);
    const { messages } = server.order(order);
    expect(room.state.status).toBe('joined');
    expect(room.messages.map(({ seq, status }) => [seq, status])).toEqual(
      messages.slice(-room.messages.length || messages.length).map(({ seq }) => [seq, 'sent']),
    );
    expect(room.messages.length).toBeGreaterThanOrEqual(Math.min(messages.length, pageLimit, 50));
    room.release();
  }
  await pass(100);
  const alive = server.up.filter(({ isDead }) => !isDead);
  expect(alive).toHaveLength(1);
  expect(alive[0]!.joined.size).toBe(0);
  app.hub.close();
  await pass(100);
  expect(server.up.filter(({ isDead }) => !isDead)).toHaveLength(0);
  await pass(600_000);
  expect(vi.getTimerCount(), 'timers').toBe(0);
}

test('an order shows every message once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.constantFrom(3, 20, 200), run),
    { numRuns: Number(process.env['RUNS'] ?? 300), seed: Number(process.env['SEED'] ?? 1) },
  );
}, 600_000);
