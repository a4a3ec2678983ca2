// The connection: coming back, tokens, sleep, the ends that the hub decides.

import { describe, expect, test, vi } from 'vitest';
import { StopError } from '../../src/index.js';
import { FakeHub } from '../support/fake-hub.js';
import { online, pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

describe('addresses', () => {
  test.each([
    ['https://hub.example.com', 'wss://hub.example.com/ws', 'https://hub.example.com'],
    ['http://10.0.2.2:8080/', 'ws://10.0.2.2:8080/ws', 'http://10.0.2.2:8080'],
    ['wss://example.com/hub/', 'wss://example.com/hub/ws', 'https://example.com/hub'],
    ['WS://example.com/hub/ws?x=1#y', 'ws://example.com/hub/ws', 'http://example.com/hub'],
  ])('%s', async (url, socket, http) => {
    const { hub, server } = await online({ url });
    expect(server.last.url).toBe(socket);
    expect(hub.httpUrl).toBe(http);
  });

  test.each(['hub.example.com', 'ftp://x', '', 'http://'])('%s is refused', (url) => {
    expect(() => setup({ url })).toThrow(TypeError);
  });
});

describe('coming back', () => {
  test('a lost connection comes back after half a second at most', async () => {
    const { hub, server } = await online();
    server.cut();
    expect(hub.state).toMatchObject({ status: 'waiting', code: 1006, retryAt: Date.now() + 250 });
    await pass(300);
    expect(hub.state.status).toBe('online');
    expect(hub.state.offlineSince).toBeUndefined();
    expect(server.up).toHaveLength(1);
  });

  test('the pause doubles up to 30 s, and begins anew only after 10 s online', async () => {
    const { hub, server } = await online();
    const pauses: number[] = [];
    const isFlapping = async () => {
      server.cut();
      const pause = hub.state.retryAt! - Date.now();
      await pass(pause + 100);
      return pause;
    };
    for (let n = 0; n < 9; n++) pauses.push(await isFlapping());
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    await pass(10_000);
    expect(await isFlapping()).toBe(250);
  });

  test('chance spreads the pause from nothing to its full length', async () => {
    const { hub, server } = await online();
    vi.mocked(Math.random).mockReturnValue(0);
    server.cut();
    expect(hub.state.retryAt).toBe(Date.now());
    vi.mocked(Math.random).mockReturnValue(0.999);
    server.isDown = true;
    await pass(20);
    expect(hub.state.retryAt! - Date.now()).toBeGreaterThan(900);
  });

  test('`reconnectAfterMs` wins, and nothing makes it earlier', async () => {
    const { hub, server, lifecycle } = await online();
    server.endAll(4029, 'rate_limited', true, 10_000);
    await pass(5);
    expect(hub.state).toMatchObject({ status: 'waiting', code: 4029, reason: 'rate_limited', retryAt: Date.now() + 10_000 });
    hub.connect();
    lifecycle.tell('active');
    lifecycle.tell('network');
    await pass(9_900);
    expect(server.sockets).toHaveLength(1);
    await pass(200);
    expect(hub.state.status).toBe('online');
  });

  test('`connect`, the network and the foreground cut a pause of its own short', async () => {
    for (const hurry of ['connect', 'network', 'active'] as const) {
      const { hub, server, lifecycle } = await online();
      server.isDown = true;
      server.cut();
      await pass(10_000);
      server.isDown = false;
      expect(hub.state.status).toBe('waiting');
      if (hurry === 'connect') hub.connect();
      else lifecycle.tell(hurry);
      await pass(20);
      expect(hub.state.status).toBe('online');
    }
  });

  test('`offlineSince` says since when, over all attempts', async () => {
    const { hub, server } = await online();
    const since = Date.now();
    server.isDown = true;
    server.cut();
    await pass(60_000);
    expect(hub.state.offlineSince).toBe(since);
  });

  test('a hub that accepts and says nothing is given up after 10 s', async () => {
    const { hub, server } = setup();
    server.refuse = () => 'silent';
    hub.connect();
    await pass(9_900);
    expect(hub.state.status).toBe('connecting');
    await pass(200);
    expect(hub.state).toMatchObject({ status: 'waiting', reason: 'timeout' });
    expect(server.last.isClosed).toBe(true);
  });

  test('a socket that cannot be made is a state', async () => {
    const { hub } = setup({
      WebSocket: class {
        constructor() {
          throw new Error('insecure');
        }
      },
    });
    hub.connect();
    await pass(1);
    expect(hub.state).toMatchObject({ status: 'waiting', reason: 'Error: insecure' });
  });

  test('`close` ends it in every state, and nothing is left behind', async () => {
    for (const ms of [0, 1, 6, 12, 50]) {
      const { hub, server } = setup();
      hub.connect();
      await pass(ms);
      hub.close();
      expect(hub.state.status).toBe('idle');
      await pass(20);
      expect(server.sockets.every((socket) => socket.isClosed)).toBe(true);
      expect(vi.getTimerCount()).toBe(0);
    }
  });
});

describe('ends', () => {
  test.each([1002, 1003, 1007, 1008, 1009, 4000, 4403, 4409])('%d with `retry: false` is final', async (code) => {
    const { hub, server } = await online();
    server.endAll(code, 'the words of an admin', false);
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', code, reason: 'the words of an admin' });
    expect(server.sockets).toHaveLength(1);
  });

  test.each([4000, 4400, 4403, 4409, 4499])('%d without a word is final', async (code) => {
    const { hub, server } = await online();
    server.last.end(code, 'removed');
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', code, reason: 'removed' });
    expect(server.sockets).toHaveLength(1);
  });

  test.each([1000, 1001, 1006, 1011, 1012, 1013, 4008, 4009, 4029])('after %d it comes back', async (code) => {
    const { hub, server } = await online();
    server.last.end(code);
    await pass(1_000);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });

  test('after an end only `connect` begins again', async () => {
    const { hub, server, lifecycle } = await online();
    server.endAll(4409, 'replaced', false);
    await pass(100);
    lifecycle.tell('network');
    lifecycle.tell('active');
    await pass(60_000);
    expect(hub.state.status).toBe('ended');
    hub.connect();
    await pass(50);
    expect(hub.state.status).toBe('online');
  });
});

describe('tokens', () => {
  test('two fresh tokens refused end it', async () => {
    const { hub, server, getToken } = setup();
    server.refuse = () => 4401;
    hub.connect();
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', code: 4401, reason: 'refused_4401' });
    expect(getToken.mock.calls.map(([why]) => why.reason)).toEqual(['connect', 'refused', 'refused']);
  });

  test('a fresh token after a refused one connects', async () => {
    const { hub, server, getToken } = setup();
    getToken.mockResolvedValueOnce('ana.old.x');
    server.refuse = (token) => (token === 'ana.old.x' ? 4401 : undefined);
    hub.connect();
    await pass(1_000);
    expect(hub.state.status).toBe('online');
    expect(getToken).toHaveBeenLastCalledWith({ reason: 'refused' });
  });

  test('401 of a proxy counts as a refused token where the platform tells it', async () => {
    const { hub, server } = setup();
    server.open = (socket) => {
      (socket.onerror as unknown as (e: object) => void)({ message: 'Unexpected server response: 401' });
      socket.end(1006);
    };
    hub.connect();
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', code: 4401 });
  });

  test('null means signed out', async () => {
    const { hub, getToken, server } = setup();
    getToken.mockResolvedValue(null as never);
    hub.connect();
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', reason: 'no_token' });
    expect(server.sockets).toHaveLength(0);
  });

  test('a `getToken` that throws is a network that is not there', async () => {
    const { hub, getToken } = setup();
    getToken.mockRejectedValueOnce(new Error('no network'));
    getToken.mockImplementationOnce(() => {
      throw new Error('thrown at once');
    });
    hub.connect();
    await pass(1);
    expect(hub.state).toMatchObject({ status: 'waiting', reason: 'token_unavailable' });
    await pass(1_000);
    expect(hub.state.status).toBe('online');
  });

  test('a `StopError` ends it, with its words', async () => {
    const { hub, getToken } = setup();
    getToken.mockRejectedValue(new StopError('account closed'));
    hub.connect();
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', reason: 'account closed' });
    expect(getToken).toHaveBeenCalledTimes(1);
  });

  test('a `getToken` that hangs is given up after 30 s', async () => {
    const { hub, getToken } = setup();
    getToken.mockReturnValueOnce(new Promise(() => {}));
    hub.connect();
    await pass(30_000);
    expect(hub.state).toMatchObject({ status: 'waiting', reason: 'token_unavailable' });
    await pass(1_000);
    expect(hub.state.status).toBe('online');
  });

  test('one call is under way at a time', async () => {
    const { hub, getToken, lifecycle } = setup();
    let give = (_: string) => {};
    getToken.mockReturnValueOnce(new Promise((resolve) => (give = resolve)));
    hub.connect();
    await pass(2_000);
    lifecycle.tell('active');
    hub.connect();
    await pass(2_000);
    lifecycle.tell('network');
    expect(getToken).toHaveBeenCalledTimes(1);
    give('ana.1.x');
    await pass(50);
    expect(hub.state.status).toBe('online');
  });

  test('what is no token is refused without a connection', async () => {
    const { hub, getToken, server } = setup();
    getToken.mockResolvedValue('not a token');
    hub.connect();
    await pass(60_000);
    expect(hub.state).toMatchObject({ status: 'ended', code: 4401, reason: 'malformed_token' });
    expect(server.sockets).toHaveLength(0);
  });

  test('white space and `Bearer` around a token do no harm', async () => {
    const { hub, getToken, server } = setup();
    getToken.mockResolvedValue(' Bearer ana.1.x\n');
    hub.connect();
    await pass(50);
    expect(server.last.token).toBe('ana.1.x');
  });
});

describe('a token that expires', () => {
  const expiring = async () => {
    const made = await online();
    made.getToken.mockResolvedValue('ana.2.x');
    made.server.last.tell('auth:expiring', { expiresAt: '', inMs: 60_000 });
    return made;
  };

  test('is refreshed on the open socket', async () => {
    const { hub, server, getToken } = await expiring();
    await pass(50);
    expect(getToken).toHaveBeenLastCalledWith({ reason: 'expiring' });
    expect(server.heard('auth:refresh').map(({ data }) => data)).toEqual([{ token: 'ana.2.x' }]);
    expect(server.sockets).toHaveLength(1);
    expect(hub.state.status).toBe('online');
  });

  test('is asked for again while there is no network for it', async () => {
    const { server, getToken } = await online();
    getToken.mockRejectedValueOnce(new Error('no network'));
    server.last.tell('auth:expiring', { expiresAt: '', inMs: 60_000 });
    await pass(5_100);
    expect(server.heard('auth:refresh')).toHaveLength(1);
  });

  test('ends the connection where there is none any more', async () => {
    const { hub, server, getToken } = await online();
    getToken.mockResolvedValue(null as never);
    server.last.tell('auth:expiring', { expiresAt: '', inMs: 60_000 });
    await pass(50);
    expect(hub.state).toMatchObject({ status: 'ended', reason: 'no_token' });
    expect(server.up).toHaveLength(0);
  });

  test('ends the connection where the fresh ones are refused', async () => {
    const { hub, server, getToken } = await expiring();
    server.answer = (_, { event }) => (event === 'auth:refresh' ? { code: 'token_expired', message: '' } : undefined);
    await pass(1_000);
    expect(hub.state).toMatchObject({ status: 'ended', code: 4401, reason: 'token_expired' });
    expect(getToken.mock.calls.map(([why]) => why.reason)).toEqual(['connect', 'expiring', 'refused', 'refused']);
  });

  test('of another user begins another session', async () => {
    const { server, getToken } = await online();
    getToken.mockResolvedValue('ben.1.x');
    server.answer = (_, { event }) => (event === 'auth:refresh' ? { code: 'forbidden', message: '' } : undefined);
    server.last.tell('auth:expiring', { expiresAt: '', inMs: 60_000 });
    await pass(100);
    expect(server.up.map(({ userId }) => userId)).toEqual(['ben']);
  });

  test('is tried again after the time that the hub says', async () => {
    const { server } = await expiring();
    let refusals = 1;
    server.answer = (_, { event }) =>
      event === 'auth:refresh' && refusals-- > 0
        ? { code: 'rate_limited', message: '', retryAfterMs: 2_000 }
        : undefined;
    await pass(1_900);
    expect(server.heard('auth:refresh')).toHaveLength(1);
    await pass(200);
    expect(server.heard('auth:refresh')).toHaveLength(2);
  });
});

describe('a dead connection', () => {
  test('is noticed in the foreground within 1.5 s, and replaced', async () => {
    const { hub, server, lifecycle } = await online();
    server.stall();
    lifecycle.tell('active');
    await pass(1_450);
    expect(server.sockets).toHaveLength(1);
    expect(hub.state.status).toBe('online');
    await pass(100);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });

  test('is noticed after a change of network', async () => {
    const { hub, server, lifecycle } = await online();
    server.stall();
    lifecycle.tell('network');
    await pass(1_550);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });

  test('is noticed by a ping that is not answered', async () => {
    const { hub, server } = await online();
    server.stall();
    await pass(25_000 + 12_400);
    expect(server.sockets).toHaveLength(1);
    await pass(200);
    expect(server.sockets).toHaveLength(2);
    expect(hub.state.status).toBe('online');
  });

  test('that was only slow is kept, and the attempt beside it is dropped', async () => {
    const { hub, server, lifecycle } = await online();
    const slow = server.last;
    server.answer = (_, { event }) => (event === 'ping' ? 'silent' : undefined);
    server.refuse = () => 'silent';
    lifecycle.tell('active');
    await pass(1_600);
    expect(hub.state.status).toBe('connecting');
    slow.tell('ack', { ok: true }, slow.heard.find(({ event }) => event === 'ping')!.id);
    await pass(20);
    expect(hub.state.status).toBe('online');
    expect(server.up).toEqual([slow]);
    expect(server.last.isClosed).toBe(true);
  });

  test('is not believed because of what came before the ping', async () => {
    const { server, lifecycle } = await online();
    server.answer = (_, { event }) => (event === 'ping' ? 'silent' : undefined);
    lifecycle.tell('active');
    await pass(1_000);
    server.last.tell('order:eta', {});
    await pass(1_000);
    expect(server.sockets).toHaveLength(2);
  });

  test('whose end comes late disturbs nothing', async () => {
    const { hub, server, lifecycle } = await online();
    const dead = server.last;
    server.stall();
    lifecycle.tell('active');
    await pass(1_600);
    dead.isDead = false;
    dead.end(1006);
    await pass(1_000);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });

  test('with no network beside it waits, and comes back', async () => {
    const { hub, server, lifecycle } = await online();
    server.stall();
    server.isDown = true;
    lifecycle.tell('active');
    await pass(60_000);
    expect(hub.state.status).toMatch(/waiting|connecting/);
    server.isDown = false;
    lifecycle.tell('network');
    await pass(50);
    expect(hub.state.status).toBe('online');
    await pass(60_000);
    expect(server.up.filter((socket) => !socket.isDead)).toHaveLength(1);
  });

  test('an attempt from before a sleep is not waited for', async () => {
    const { hub, server, lifecycle } = setup();
    server.refuse = () => 'silent';
    hub.connect();
    await pass(2_000);
    server.refuse = () => undefined;
    lifecycle.tell('active');
    await pass(50);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });
});

describe('in the background', () => {
  test('it rests, and comes back with the foreground', async () => {
    const { hub, server, lifecycle } = await online();
    lifecycle.tell('background');
    expect(hub.state.status).toBe('paused');
    await pass(60_000);
    expect(server.up).toHaveLength(0);
    lifecycle.tell('network');
    await pass(1_000);
    expect(hub.state.status).toBe('paused');
    lifecycle.tell('active');
    await pass(50);
    expect(hub.state.status).toBe('online');
  });

  test('`inactive` is not background', async () => {
    const { hub, lifecycle } = await online();
    lifecycle.tell('inactive');
    await pass(60_000);
    expect(hub.state.status).toBe('online');
  });

  test('it stays connected while it is held', async () => {
    const { hub, lifecycle } = await online();
    const release = hub.hold();
    const other = hub.hold();
    lifecycle.tell('background');
    expect(hub.state.status).toBe('online');
    release();
    release();
    expect(hub.state.status).toBe('online');
    other();
    expect(hub.state.status).toBe('paused');
    hub.hold();
    await pass(50);
    expect(hub.state.status).toBe('online');
  });

  test('what has ended or was never begun is not paused', async () => {
    const { hub, lifecycle, server } = await online();
    server.endAll(4403, 'removed', false);
    await pass(10);
    lifecycle.tell('background');
    expect(hub.state.status).toBe('ended');
    hub.close();
    expect(lifecycle.listeners.size).toBe(0);
  });
});

describe('listeners', () => {
  test('one that throws stops neither the others nor the kit', async () => {
    const error = vi.fn();
    const { hub, server } = await online({ logger: { error } });
    const heard = vi.fn();
    hub.on('order:eta', () => {
      throw new Error('a bug of the app');
    });
    const off = hub.on('order:eta', heard);
    server.last.tell('order:eta', { minutes: 7 });
    await pass(10);
    expect(heard).toHaveBeenCalledWith({ minutes: 7 });
    expect(error).toHaveBeenCalledTimes(1);
    off();
    server.last.tell('order:eta', {});
    await pass(10);
    expect(heard).toHaveBeenCalledTimes(1);
  });

  test('`subscribe` tells every change of the state once', async () => {
    const { hub } = setup();
    const states: string[] = [];
    hub.subscribe(() => states.push(hub.state.status));
    hub.connect();
    await pass(50);
    hub.close();
    expect(states).toEqual(['connecting', 'online', 'idle']);
    expect(hub.state).toBe(hub.state);
  });
});

describe('what cannot be read', () => {
  test.each([
    ['no JSON', '{"event":'],
    ['no object', '[]'],
    ['no text', new Uint8Array([1, 2])],
    ['no event', '{"data":{}}'],
    ['an ack of nothing', '{"event":"ack","id":99,"data":{"ok":true}}'],
    ['an ack without data', '{"event":"ack","id":1}'],
    ['an event without data', '{"event":"chat:message"}'],
    ['an event of another type', '{"event":"location:updated","data":[1]}'],
    ['`connected` again', '{"event":"connected","data":{"userId":"ana"}}'],
  ])('%s changes nothing', async (_, raw) => {
    const { hub, server } = await online();
    server.last.raw(raw);
    await pass(1_000);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(1);
  });

  test('a `connected` that is none is waited for no longer than another', async () => {
    const { hub, server } = setup();
    server.open = (socket) => socket.tell('connected', { user: 'ana' });
    hub.connect();
    await pass(10_100);
    expect(hub.state).toMatchObject({ status: 'waiting', reason: 'timeout' });
  });

  test('a `session:end` that is half is an end like any other', async () => {
    const { hub, server } = await online();
    server.last.tell('session:end', null);
    await pass(1_000);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(2);
  });

  test('a clock that jumps changes nothing', async () => {
    const server = new FakeHub();
    const { hub } = await online({}, server);
    for (const jump of [86_400_000, -2 * 86_400_000]) {
      vi.setSystemTime(Date.now() + jump);
      server.cut();
      await pass(1_000);
      expect(hub.state.status).toBe('online');
    }
  });
});
