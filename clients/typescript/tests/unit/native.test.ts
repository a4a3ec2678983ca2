// What React Native and gifted-chat need, without either: plain functions.

import { describe, expect, test, vi } from 'vitest';
import { fromGifted, toGifted } from '../../src/gifted-chat.js';
import type { Message } from '../../src/index.js';
import { emulatorUrl, mmkvStorage, nativeLifecycle } from '../../src/react-native.js';
import { pass, useFakeTime } from '../support/setup.js';

useFakeTime();

describe('the lifecycle of an app', () => {
  const native = (pauseAfterMs?: number) => {
    let tellApp = (_: string) => {};
    let tellNet = (_: object) => {};
    const AppState = {
      currentState: 'active',
      addEventListener: (_: 'change', listener: (state: string) => void) => {
        tellApp = (state) => {
          AppState.currentState = state;
          listener(state);
        };
        return { remove: () => (tellApp = () => {}) };
      },
    };
    const NetInfo = {
      addEventListener: (listener: (state: never) => void) => {
        tellNet = listener as never;
        return () => void (tellNet = () => {});
      },
    };
    const lifecycle = nativeLifecycle({ AppState, NetInfo, pauseAfterMs });
    const heard: string[] = [];
    const off = lifecycle.subscribe((change) => heard.push(change));
    return { lifecycle, heard, off, app: (s: string) => tellApp(s), net: (s: object) => tellNet(s) };
  };

  test('a short look at another app is no background', async () => {
    const { heard, app, lifecycle } = native();
    app('inactive');
    app('background');
    expect(lifecycle.isActive()).toBe(false);
    await pass(9_900);
    app('active');
    await pass(60_000);
    expect(heard).toEqual(['inactive', 'inactive', 'active']);
    expect(lifecycle.isActive()).toBe(true);
  });

  test('after `pauseAfterMs` it is', async () => {
    const { heard, app } = native(2_000);
    app('background');
    await pass(2_100);
    expect(heard).toEqual(['inactive', 'background']);
  });

  test('`inactive` never is', async () => {
    const { heard, app } = native();
    app('inactive');
    await pass(60_000);
    expect(heard).toEqual(['inactive']);
  });

  test('a change of network is told, what is there and the strength of a signal are not', () => {
    const { heard, net } = native();
    const wifi = { type: 'wifi', isConnected: true, isInternetReachable: true };
    net({ ...wifi, details: { ipAddress: '192.168.1.2', strength: 90 } });
    net({ ...wifi, details: { ipAddress: '192.168.1.2', strength: 40 } });
    expect(heard).toEqual([]);
    net({ ...wifi, details: { ipAddress: '10.0.0.7', strength: 40 } });
    net({ type: 'none', isConnected: false, details: null });
    net({ type: 'cellular', isConnected: true, details: {} });
    expect(heard).toEqual(['network', 'network', 'network']);
  });

  test('nothing is heard after its end', async () => {
    const { heard, app, net, off } = native();
    app('background');
    off();
    net({ type: 'none', isConnected: false });
    net({ type: 'wifi', isConnected: true });
    await pass(60_000);
    expect(heard).toEqual(['inactive']);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test('MMKV of both versions is a storage', () => {
  for (const remove of ['delete', 'remove'] as const) {
    const items = new Map<string, string>();
    const storage = mmkvStorage({
      getString: (key) => items.get(key),
      set: (key, value) => void items.set(key, value),
      [remove]: (key: string) => items.delete(key),
    });
    storage.setItem('a', '1');
    expect(storage.getItem('a')).toBe('1');
    storage.removeItem('a');
    expect(storage.getItem('a')).toBeUndefined();
  }
});

test.each([
  ['http://localhost:8080', 'http://10.0.2.2:8080'],
  ['ws://127.0.0.1:8080/ws', 'ws://10.0.2.2:8080/ws'],
  ['http://[::1]:8080', 'http://10.0.2.2:8080'],
  ['https://localhost', 'https://10.0.2.2'],
  ['https://localhost.example.com', 'https://localhost.example.com'],
  ['https://hub.example.com/localhost', 'https://hub.example.com/localhost'],
])('%s is %s in the emulator of Android', (url, there) => {
  expect(emulatorUrl(url, { OS: 'android' })).toBe(there);
  expect(emulatorUrl(url, { OS: 'ios' })).toBe(url);
});

describe('gifted-chat', () => {
  const message = (more: Partial<Message>): Message => ({
    key: `k${more.seq ?? 0}`,
    id: 'id',
    orderId: 'o1',
    senderId: 'ana',
    senderName: 'Ana',
    senderRole: 'customer',
    content: 'hello',
    type: 'TEXT',
    createdAt: '2026-11-30T12:00:00.000Z',
    clientMsgId: null,
    status: 'sent',
    ...more,
  });

  test('messages come newest first, with their ticks', () => {
    const shown = toGifted(
      [
        message({ seq: 1 }),
        message({ seq: 2, type: 'IMAGE', content: 'photo-1', senderId: 'dan', senderName: 'Dan' }),
        message({ seq: 3, type: 'SYSTEM', content: 'READY', senderId: 'system' }),
        message({ key: 'p', status: 'pending' }),
        message({ key: 'f', status: 'failed', error: { code: 'order_closed', message: '' } }),
      ],
      { readMarks: { ana: 3, dan: 1 }, imageUrl: (key) => `https://cdn.example.com/${key}` },
    );
    expect(shown).toMatchObject([
      { _id: 'f', pending: false, sent: false, error: 'order_closed' },
      { _id: 'p', pending: true, sent: false, received: false },
      { _id: 'k3', system: true, text: 'READY' },
      { _id: 'k2', text: '', image: 'https://cdn.example.com/photo-1', user: { _id: 'dan', name: 'Dan' } },
      { _id: 'k1', text: 'hello', createdAt: new Date('2026-11-30T12:00:00.000Z'), sent: true, received: true },
    ]);
  });

  test('what `onSend` hands over is sent one by one', () => {
    expect(fromGifted([{ text: 'a' }, { text: 'b', image: 'https://x/y' }, { text: '' }])).toEqual([
      { content: 'a', type: 'TEXT' },
      { content: 'https://x/y', type: 'IMAGE' },
      { content: 'b', type: 'TEXT' },
    ]);
  });
});
