// A hub of the kit on a fake hub, with a lifecycle that the test moves and a storage in memory.

import { afterEach, beforeEach, vi } from 'vitest';
import { type Lifecycle, type LifecycleChange, OrderHub, type Options, type Storage } from '../../src/index.js';
import { FakeHub } from './fake-hub.js';

export class FakeLifecycle implements Lifecycle {
  private active = true;
  readonly listeners = new Set<(change: LifecycleChange) => void>();
  isActive = () => this.active;
  subscribe = (listener: (change: LifecycleChange) => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
  tell(change: LifecycleChange) {
    if (change !== 'network') this.active = change === 'active';
    for (const listener of this.listeners) listener(change);
  }
}

export class MemoryStorage implements Storage {
  readonly items = new Map<string, string>();
  getItem = async (key: string) => this.items.get(key) ?? null;
  setItem = async (key: string, value: string) => void this.items.set(key, value);
  removeItem = async (key: string) => void this.items.delete(key);
}

/** Fake timers and a middle value of chance for every test of a file. */
export function useFakeTime() {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.UTC(2026, 10, 30, 12) });
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
}

export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

export interface Setup {
  server: FakeHub;
  hub: OrderHub;
  lifecycle: FakeLifecycle;
  storage: MemoryStorage;
  getToken: ReturnType<typeof vi.fn>;
}

export function setup(options: Partial<Options> = {}, server = new FakeHub()): Setup {
  const lifecycle = new FakeLifecycle();
  const storage = new MemoryStorage();
  const getToken = vi.fn(async () => 'ana.1.x');
  const hub = new OrderHub({
    url: 'https://hub.example.com',
    getToken: getToken as Options['getToken'],
    storage,
    lifecycle,
    WebSocket: server.WebSocket,
    ...options,
  });
  return { server, hub, lifecycle, storage: (options.storage as MemoryStorage) ?? storage, getToken };
}

/** The same, connected. */
export async function online(options: Partial<Options> = {}, server = new FakeHub()): Promise<Setup> {
  const made = setup(options, server);
  made.hub.connect();
  await pass(50);
  if (made.hub.state.status !== 'online') throw new Error(`not online: ${JSON.stringify(made.hub.state)}`);
  return made;
}
