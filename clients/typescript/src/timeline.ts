// The chat of an order as it is shown: the messages that are known without a gap, up to `last`, and
// those that wait until the gap before them is filled. Pure: no sockets, no timers.

import type { ChatMessage, Deletion, Failure } from './wire.js';

/** So many messages of an order are held at most; the oldest go first. */
export const MAX_HELD = 500;
/** What the hub shows in place of a deleted message, where nothing else is configured. */
const DELETED_TEXT = '…';

/** A message as it is shown. */
export interface Message extends Omit<ChatMessage, 'seq'> {
  /** Stays the same from `pending` to `sent`: for lists. */
  key: string;
  /** Its number in the order; absent until everything before it is known too. */
  seq?: number;
  status: 'pending' | 'sent' | 'failed';
  /** Why it has failed. */
  error?: Failure;
}

/** A message that has its place in the order. */
export type Placed = Message & { seq: number };

export interface Timeline {
  /** In order of `seq`, without a gap. A new array with every change. */
  messages: readonly Placed[];
  /** Up to which message everything is known; undefined before the first join. */
  last: number | undefined;
  /** The highest number that was heard of. */
  known: number;
  /** Live messages behind a gap. */
  ahead: ReadonlyMap<number, Placed>;
}

export const emptyTimeline: Timeline = { messages: [], last: undefined, known: 0, ahead: new Map() };

/** Whether something between is missing, which `chat:history` after `last` would give. */
export const hasGap = ({ last, known }: Timeline): boolean => last !== undefined && last < known;

/** Whether older messages may be asked for. */
export const hasOlder = ({ messages, last = 0 }: Timeline): boolean =>
  messages.length < MAX_HELD && (messages[0]?.seq ?? last + 1) > 1;

const newest = (messages: readonly Placed[]) =>
  messages.length > MAX_HELD ? messages.slice(-MAX_HELD) : messages;

/** Begins anew with the newest page. */
const begin = (messages: readonly Placed[], lastSeq: number): Timeline => ({
  messages: newest(messages),
  last: lastSeq,
  known: lastSeq,
  ahead: new Map(),
});

/** Takes messages that have come, live or in a page; those that are known already change nothing. */
export function add(timeline: Timeline, found: readonly Placed[]): Timeline {
  let { last, known } = timeline;
  const ahead = new Map(timeline.ahead);
  for (const message of found) {
    known = Math.max(known, message.seq);
    if (message.seq > (last ?? 0) && ahead.size < MAX_HELD) ahead.set(message.seq, message);
  }
  const next: Placed[] = [];
  if (last !== undefined) {
    for (const seq of [...ahead.keys()]) if (seq <= last) ahead.delete(seq);
    for (let message; (message = ahead.get(last + 1)); last++) {
      ahead.delete(last + 1);
      next.push(message);
    }
  }
  const messages = next.length ? newest([...timeline.messages, ...next]) : timeline.messages;
  return { messages, last, known, ahead };
}

/** Takes the snapshot of a join. After a long absence it begins anew with what the snapshot holds. */
export function join(
  timeline: Timeline,
  found: readonly Placed[],
  lastSeq: number,
  recovered: boolean,
): Timeline {
  const { last, ahead } = timeline;
  const isNew = last === undefined || (!recovered && lastSeq - last > MAX_HELD);
  const joined = isNew ? { ...begin(found, lastSeq), ahead } : timeline;
  const next = add(joined, isNew ? [] : found);
  return { ...next, known: Math.max(next.known, lastSeq) };
}

/** Takes a page of `chat:history` after `last`. */
export function addPage(timeline: Timeline, page: readonly Placed[], hasMore: boolean): Timeline {
  const first = page[0]?.seq;
  // The page is what there is: what it leaves out does not exist.
  const last = Math.max(timeline.last ?? 0, (first ?? 1) - 1);
  const next = add({ ...timeline, last }, page);
  return hasMore || !hasGap(next) ? next : { ...next, known: next.last ?? 0, ahead: new Map() };
}

/** Takes a page of older messages, as many of the newest as there is room for. */
export function prepend(timeline: Timeline, page: readonly Placed[]): Timeline {
  const { messages, last = 0 } = timeline;
  const isNext = page[page.length - 1]?.seq === (messages[0]?.seq ?? last + 1) - 1;
  const room = MAX_HELD - messages.length;
  return isNext && room > 0 ? { ...timeline, messages: [...page.slice(-room), ...messages] } : timeline;
}

/** Replaces a message that was deleted. */
export function remove(timeline: Timeline, seq: number, { at, by }: Deletion): Timeline {
  const replace = (message: Placed): Placed =>
    message.seq === seq
      ? { ...message, type: 'TEXT', content: DELETED_TEXT, deleted: { at, by } }
      : message;
  const waiting = timeline.ahead.get(seq);
  return {
    ...timeline,
    messages: timeline.messages.some((message) => message.seq === seq)
      ? timeline.messages.map(replace)
      : timeline.messages,
    ahead: waiting ? new Map(timeline.ahead).set(seq, replace(waiting)) : timeline.ahead,
  };
}
