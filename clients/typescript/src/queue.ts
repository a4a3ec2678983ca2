// The messages of a user that the hub has not acknowledged: a plain list with bounds. Time is an
// argument.

import { failure } from './errors.js';
import type { Failure } from './wire.js';

/** So many wait at most, and so many that have failed are kept. */
export const MAX_WAITING = 200;
const MAX_AGE_MS = 24 * 3_600_000;

export type SendType = 'TEXT' | 'IMAGE';

export interface Item {
  /** The `clientMsgId`, made when the message was written. */
  key: string;
  orderId: string;
  content: string;
  type: SendType;
  /** When it was written, or last tried again by the user. */
  at: number;
  tries: number;
  /** Why it is not sent any more. */
  failed?: Failure;
}

/** Lone surrogates are no text: the hub could not read them. */
const wellFormed = (text: string): string =>
  text.replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, (found) => (found[1] ? found : '\ufffd'));

export const newItem = (key: string, orderId: string, content: string, type: SendType, at: number): Item => ({
  key,
  orderId,
  content: wellFormed(content),
  type,
  at,
  tries: 0,
});

/** Adds a message. Beyond the bound it has failed at once. */
export function push(items: Item[], item: Item): Item[] {
  const waiting = items.filter(({ failed }) => !failed).length;
  if (waiting >= MAX_WAITING) {
    item.failed = failure('outbox_full', `${MAX_WAITING} messages wait already`);
    const failed = items.filter((other) => other.failed);
    if (failed.length >= MAX_WAITING) items = items.filter((other) => other !== failed[0]);
  }
  return [...items, item];
}

/** Fails what is too old; a clock that was set back makes nothing old. Returns what has failed. */
export function expire(items: Item[], now: number): Item[] {
  const old = items.filter(({ failed, at }) => !failed && now - at > MAX_AGE_MS);
  for (const item of old) item.failed = failure('expired', 'not sent within 24 hours');
  return old;
}

/** What may be written now: the first of each order that has nothing under way. */
export function sendable(items: Item[], busy: ReadonlySet<string>): Item[] {
  const taken = new Set(busy);
  return items.filter(({ failed, orderId }) => !failed && !taken.has(orderId) && taken.add(orderId));
}

/** What a storage holds, as far as it is messages. */
export function parse(text: string | null | undefined): Item[] {
  try {
    const found: unknown = JSON.parse(text ?? '[]');
    return (found as Item[]).filter(
      (item) =>
        [item?.key, item?.orderId, item?.content].every((part) => typeof part === 'string') &&
        typeof item.at === 'number',
    );
  } catch {
    return [];
  }
}

/** Puts `earlier` in front of `items`, each message once. */
export const merge = (earlier: Item[], items: Item[]): Item[] => [
  ...earlier.filter(({ key }) => !items.some((item) => item.key === key)),
  ...items,
];
