// Where the messages of a user are kept: each tab has a key of its own, and a list names the keys. A
// tab that is gone leaves its messages to another, which takes them under a lock. Where the platform
// has no locks there is one app, and every key but its own was left behind.

import { newKey, platform, type Storage } from './platform.js';
import { type Item, merge, parse } from './queue.js';

const PREFIX = 'orderhub:1:';
const LAST_USER = `${PREFIX}user`;

/** Keys in use by this process. */
const used = new Set<string>();

export interface Tab {
  /** Takes over what tabs that are gone have left. */
  adopt(): Promise<Item[]>;
  save(items: Item[]): Promise<void>;
  /** Erases everything that the user has written, in all tabs. */
  erase(): Promise<void>;
  /** Leaves what is stored to another tab. */
  leave(): void;
}

/** A storage that neither throws nor holds anything up; `trouble` hears of what it cannot do. */
export interface SafeStorage {
  get(key: string): Promise<string | null | undefined>;
  set(key: string, value: string): Promise<void>;
}

export function safeStorage(storage: Storage | undefined, trouble: (error?: unknown) => void): SafeStorage {
  return {
    async get(key) {
      try {
        return await storage?.getItem(key);
      } catch (error) {
        trouble(error);
      }
      return null;
    },
    async set(key, value) {
      try {
        await (value ? storage?.setItem(key, value) : storage?.removeItem(key));
        trouble();
      } catch (error) {
        trouble(error);
      }
    },
  };
}

export const lastUser = (storage: SafeStorage) => ({
  get: () => storage.get(LAST_USER),
  set: (userId: string) => storage.set(LAST_USER, userId),
});

/**
 * Runs with a lock of the browser; undefined where another has it and `ifAvailable` is set. Some
 * pages are refused locks.
 */
async function locked<T>(name: string, ifAvailable: boolean, run: () => Promise<T>): Promise<T | undefined> {
  const locks = platform.navigator?.locks;
  return locks
    ? locks.request<T | undefined>(name, { ifAvailable }, (lock) => (lock ? run() : undefined)).catch(run)
    : run();
}

export function openTab(storage: SafeStorage, userId: string): Tab {
  const list = `${PREFIX}${userId}`;
  const own = `${list}:${newKey()}`;
  let release = () => {};
  used.add(own);
  void locked(own, false, () => new Promise<void>((done) => (release = done)));

  const readList = async (): Promise<string[]> => {
    try {
      const keys: unknown = JSON.parse((await storage.get(list)) ?? '[]');
      return (keys as unknown[]).filter((key): key is string => typeof key === 'string');
    } catch {
      return [];
    }
  };

  const takeAll = async () => {
    let items: Item[] = [];
    const kept = [own];
    const taken: string[] = [];
    for (const key of await readList()) {
      if (key === own) continue;
      const isFree = !used.has(key) && (await locked(key, true, async () => true));
      (isFree ? taken : kept).push(key);
      if (isFree) items = merge(items, parse(await storage.get(key)));
    }
    // Own first: a crash in between leaves some twice, and the same key makes them one.
    if (items.length) {
      await storage.set(own, JSON.stringify(merge(items, parse(await storage.get(own)))));
    }
    await storage.set(list, JSON.stringify(kept));
    for (const key of taken) await storage.set(key, '');
    return items;
  };

  const eraseAll = async () => {
    for (const key of [...(await readList()), own, list, LAST_USER]) await storage.set(key, '');
  };

  // One after the other: nothing may be written behind an erasure.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(run: () => Promise<T>): Promise<T> => {
    const mine = turn.then(run);
    turn = mine;
    return mine;
  };

  return {
    adopt: () => inTurn(() => locked(list, false, takeAll).then((items) => items ?? [])),
    save: (items) => inTurn(() => storage.set(own, items.length ? JSON.stringify(items) : '')),
    erase: () => inTurn(eraseAll),
    leave() {
      used.delete(own);
      release();
    },
  };
}
