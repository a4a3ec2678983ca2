// The outbox: sends what `queue` holds, one message per order at a time, and keeps it where `tabs`
// says until the hub has it.

import { pauseAfter } from './decisions.js';
import { LOST, OrderHubError, failure } from './errors.js';
import type { Link } from './link.js';
import type { Log } from './listeners.js';
import { after, newKey, type Storage } from './platform.js';
import { expire, type Item, merge, newItem, push, sendable, type SendType } from './queue.js';
import { lastUser, openTab, safeStorage, type Tab } from './tabs.js';
import type { Failure } from './wire.js';

/** What the hub has made of a message. */
export interface Sent {
  id: string;
  seq: number;
  createdAt: string;
}

export interface Outbox {
  add(orderId: string, content: string, type?: SendType): Promise<Sent>;
  /** Tries a failed message again, behind the others. */
  retry(key: string): void;
  /** Removes a message that has failed or waits. */
  discard(key: string): void;
  /** The hub has this message of the user's: an ack, or the message itself, says so. */
  confirm(key: string | null, sent: Sent): void;
  of(orderId: string): Item[];
  /** Whose messages these are, as far as it is known. */
  user(): string | undefined;
  waiting(): number;
  /** Whether what waits would be lost with the process. */
  isUnsaved(): boolean;
  /** The hub has said who the user is. */
  use(userId: string): Promise<void>;
  pump(): void;
  erase(): Promise<void>;
  close(): void;
}

interface Promised {
  resolve(sent: Sent): void;
  reject(error: OrderHubError): void;
}

/** An upper bound of a text's bytes in UTF-8, without an encoder. */
const bytes = (text: string): number => text.length + 2 * (text.match(/[^\0-\x7f]/g)?.length ?? 0);

export function outbox(
  options: { storage: Storage | undefined; link(): Link | undefined; log: Log },
  on: { changed(orderId?: string): void; sent(item: Item, sent: Sent): void },
): Outbox {
  let items: Item[] = [];
  let user: string | undefined;
  // Whether the hub has named the user, in this life of the app.
  let isKnown = false;
  // Whether nothing has been erased yet.
  let isFirst = true;
  let tab: Tab | undefined;
  // Orders with a message under way, or in a pause. A new set begins with every user.
  let busy = new Set<string>();
  // What an earlier life of the app, or another tab, has left: it stays with its user.
  const restored = new WeakSet<Item>();
  const promised = new Map<string, Promised>();
  let isUnsaved = !options.storage;
  let isSaving = false;
  let isDirty = false;
  const storage = safeStorage(options.storage, (error) => {
    const was = isUnsaved;
    isUnsaved = !options.storage || error !== undefined;
    if (error !== undefined) options.log('warn', 'the storage fails', error);
    if (was !== isUnsaved) on.changed();
  });
  const last = lastUser(storage);

  const save = async () => {
    isDirty = true;
    if (isSaving) return;
    isSaving = true;
    while (isDirty) {
      isDirty = false;
      await tab?.save(items);
    }
    isSaving = false;
  };

  const change = (next: Item[], orderId?: string) => {
    items = next;
    void save();
    on.changed(orderId);
  };

  const reject = (key: string, error: Failure) => {
    promised.get(key)?.reject(new OrderHubError(error));
    promised.delete(key);
  };

  const drop = (gone: Item[], error: Failure) => {
    for (const { key } of gone) reject(key, error);
    return items.filter((item) => !gone.includes(item));
  };

  const fail = (item: Item, error: Failure) => {
    item.failed = error;
    reject(item.key, error);
    change([...items], item.orderId);
  };

  const settle = (item: Item, error: Failure, mine: Set<string>) => {
    const free = () => {
      mine.delete(item.orderId);
      self.pump();
    };
    if (error.code === LOST || !items.includes(item)) return free();
    const pause = pauseAfter(error, ++item.tries);
    if (pause !== undefined) return void after(pause, free);
    fail(item, error);
    free();
  };

  const write = async (link: Link, item: Item) => {
    const { key, orderId, content, type } = item;
    const mine = busy;
    mine.add(orderId);
    const tooLong = bytes(JSON.stringify(content)) + 512 > link.maxMessageBytes();
    const reply = tooLong
      ? { ok: false, error: failure('invalid_payload', 'too long') }
      : await link.call('chat:message', { orderId, content, type, clientMsgId: key });
    if (mine !== busy) return;
    const { id, seq, createdAt } = reply as Partial<Sent>;
    if (reply.ok && typeof seq === 'number') {
      mine.delete(orderId);
      self.confirm(key, { id: id as string, seq, createdAt: createdAt as string });
      self.pump();
    } else settle(item, reply.error ?? failure('internal', 'a bad answer'), mine);
  };

  const adopt = async () => {
    const mine = tab;
    const found = await mine?.adopt();
    if (!found?.length || tab !== mine) return;
    const next = merge(found, items);
    for (const item of next) if (found.includes(item)) restored.add(item);
    change(next);
    self.pump();
  };

  const open = (userId: string) => {
    user = userId;
    tab = openTab(storage, userId);
    busy = new Set();
    void last.set(userId);
    void save();
    return adopt();
  };

  /** Leaves to a user what is theirs: it stays where it is stored. */
  const leave = () => {
    const theirs = isKnown ? items : items.filter((item) => restored.has(item));
    // What this process wrote before the hub said who the user is belongs to the one it named.
    if (!isKnown) void tab?.save(theirs);
    self.close();
    if (theirs.length) change(drop(theirs, failure('user_changed', 'another user has signed in')));
  };

  const self: Outbox = {
    add(orderId, content, type = 'TEXT') {
      if (typeof content !== 'string') {
        return Promise.reject(new OrderHubError(failure('invalid_payload', 'content must be a text')));
      }
      const item = newItem(newKey(), orderId, content, type, Date.now());
      const sent = new Promise<Sent>((resolve, reject) => promised.set(item.key, { resolve, reject }));
      // The message itself shows that it has failed: an app need not look at the promise.
      sent.catch(() => {});
      const next = push(items, item);
      if (item.failed) reject(item.key, item.failed);
      change(next, orderId);
      self.pump();
      return sent;
    },
    retry(key) {
      const item = items.find((other) => other.key === key && other.failed);
      if (!item) return;
      const rest = items.filter((other) => other !== item);
      // A key that was used with other content stays used.
      const again = item.failed?.code === 'conflict' ? newKey() : key;
      change(push(rest, newItem(again, item.orderId, item.content, item.type, Date.now())), item.orderId);
      self.pump();
    },
    discard(key) {
      const item = items.find((other) => other.key === key);
      if (item) change(drop([item], failure('discarded', 'discarded')), item.orderId);
    },
    confirm(key, sent) {
      const item = items.find((other) => other.key === key);
      if (!item) return;
      promised.get(item.key)?.resolve(sent);
      promised.delete(item.key);
      on.sent(item, sent);
      change(items.filter((other) => other !== item), item.orderId);
    },
    of: (orderId) => items.filter((item) => item.orderId === orderId),
    user: () => user,
    waiting: () => items.filter(({ failed }) => !failed).length,
    // Until the hub has said once who the user is, there is nothing to store it under.
    isUnsaved: () => (isUnsaved || !tab) && items.length > 0,
    async use(userId) {
      if (user && user !== userId) leave();
      isKnown = true;
      return tab ? adopt() : open(userId);
    },
    pump() {
      const old = expire(items, Date.now());
      for (const item of old) fail(item, item.failed as Failure);
      const link = options.link();
      if (link) for (const item of sendable(items, busy)) void write(link, item);
    },
    async erase() {
      let [mine, owner] = [tab, user];
      tab = user = undefined;
      isKnown = isFirst = false;
      busy = new Set();
      change(drop(items, failure('signed_out', 'signed out')));
      owner ??= (await last.get()) ?? undefined;
      if (owner) mine ??= openTab(storage, owner);
      await mine?.erase();
      mine?.leave();
    },
    close() {
      tab?.leave();
      tab = undefined;
    },
  };
  // Later: nothing is told before the hub exists.
  void Promise.resolve()
    .then(last.get)
    .then((userId) => {
      if (userId && !user && isFirst) void open(userId);
    });
  return self;
}
