// What is known of an order: every event of the hub makes a new state of it. Pure: no sockets, no
// timers. What has not changed keeps its identity, so that a screen draws only what is new.

import { isObject } from './link.js';
import { add, emptyTimeline, join, type Message, type Placed, remove, type Timeline } from './timeline.js';
import type { ChatMessage, Failure, HubEvents, JoinReply, Member, Position, ReadMark } from './wire.js';

/** Where the driver is, as far as it is known. */
export interface DriverLocation extends Position {
  /** Older than a minute: not to be shown as live. */
  stale: boolean;
}

/**
 * `joining`: not joined yet, or again. `refused`: the hub says no (`error`). `left`: it was joined
 * until the right ended (`removed`) or the order was deleted (`closed`), as `error.code` says.
 */
export interface RoomState {
  status: 'joining' | 'joined' | 'refused' | 'left';
  error?: Failure;
}

export interface RoomModel {
  state: RoomState;
  status: string | null;
  driverId: string | null;
  driverName: string | null;
  location: DriverLocation | null;
  members: readonly Member[];
  /** How far each user has read, by their id. */
  readMarks: Readonly<Record<string, number>>;
  /** Who is writing now, by their id. */
  typing: readonly string[];
  timeline: Timeline;
  /** Unread messages that are older than those that are held. */
  unreadBefore: number;
  /** The user's own messages that are acknowledged and have not come yet. */
  acked: readonly { seq: number; message: Message }[];
}

export const emptyRoom: RoomModel = {
  state: { status: 'joining' },
  status: null,
  driverId: null,
  driverName: null,
  location: null,
  members: [],
  readMarks: {},
  typing: [],
  timeline: emptyTimeline,
  unreadBefore: 0,
  acked: [],
};

const isText = (value: unknown): value is string => typeof value === 'string';
const isSeq = (value: unknown): value is number => Number.isSafeInteger(value);

export const isMessage = (value: unknown): value is ChatMessage =>
  isObject(value) && isSeq(value['seq']) && [value['id'], value['senderId'], value['content']].every(isText);

const isPosition = (value: unknown): value is Position =>
  isObject(value) && Number.isFinite(value['lat']) && Number.isFinite(value['lng']);

const list = <T>(value: unknown, fits: (item: unknown) => item is T): T[] =>
  Array.isArray(value) ? value.filter(fits) : [];

const isMember = (value: unknown): value is Member => isObject(value) && isText(value['userId']);
const isMark = (value: unknown): value is ReadMark => isMember(value) && isSeq((value as Partial<ReadMark>).seq);

/** Messages of the wire as they are shown. An own one keeps the key that it had while it waited. */
export const placed = (messages: unknown, me: string | undefined): Placed[] =>
  list(messages, isMessage).map((message) => ({
    ...message,
    key: (message.senderId === me && message.clientMsgId) || message.id,
    status: 'sent',
  }));

/** Unread messages of others among those that are held. */
const unreadOf = (messages: readonly Message[], mark: number, me: string | undefined) =>
  messages.filter(({ seq, senderId }) => senderId !== me && (seq ?? 0) > mark).length;

/** How many messages of others the user has not read. */
export const unread = ({ timeline, readMarks, unreadBefore }: RoomModel, me: string | undefined): number => {
  const mark = readMarks[me ?? ''] ?? 0;
  return (mark < (timeline.messages[0]?.seq ?? 0) ? unreadBefore : 0) + unreadOf(timeline.messages, mark, me);
};

export const moveMark = (model: RoomModel, userId: string, seq: number): RoomModel =>
  seq > (model.readMarks[userId] ?? 0)
    ? { ...model, readMarks: { ...model.readMarks, [userId]: seq } }
    : model;

export const setTyping = (model: RoomModel, userId: string, isTyping: boolean): RoomModel =>
  model.typing.includes(userId) === isTyping
    ? model
    : { ...model, typing: [...model.typing.filter((other) => other !== userId), ...(isTyping ? [userId] : [])] };

/** Takes a new timeline, and what follows from it. */
export function withTimeline(model: RoomModel, timeline: Timeline): RoomModel {
  const acked = model.acked.filter(({ seq }) => seq > (timeline.last ?? 0));
  return { ...model, timeline, acked: acked.length < model.acked.length ? acked : model.acked };
}

/** Takes messages that have come live. */
export function withMessages(model: RoomModel, messages: Placed[]): RoomModel {
  let next = withTimeline(model, add(model.timeline, messages));
  for (const { senderId, seq, type } of messages) {
    if (type !== 'SYSTEM') next = setTyping(moveMark(next, senderId, seq), senderId, false);
  }
  return next;
}

/** Takes the snapshot of a join. */
export function withSnapshot(model: RoomModel, reply: JoinReply, me: string | undefined): RoomModel {
  const { status, driverId, lastSeq, recovered, lastLocation } = reply;
  const found = placed(reply.messages, me);
  let timeline = join(model.timeline, found, lastSeq, recovered === true);
  for (const deletion of list(reply.deletions, (item): item is never => isObject(item))) {
    timeline = remove(timeline, (deletion as { seq: number }).seq, deletion);
  }
  const readMarks: Record<string, number> = {};
  for (const { userId, seq } of list(reply.readMarks, isMark)) readMarks[userId] = seq;
  const next = withTimeline(model, timeline);
  const held = unreadOf(timeline.messages, readMarks[me ?? ''] ?? 0, me);
  return {
    ...next,
    state: { status: 'joined' },
    status: status ?? null,
    driverId: driverId ?? null,
    driverName: driverId === model.driverId ? model.driverName : null,
    location: isPosition(lastLocation) ? lastLocation : null,
    members: list(reply.members, isMember),
    readMarks,
    typing: [],
    unreadBefore: Math.max(0, (reply.unread || 0) - held),
  };
}

/** Takes an event of the hub. What it does not know or cannot read changes nothing. */
export function hear(model: RoomModel, event: string, data: Record<string, unknown>, me: string | undefined): RoomModel {
  const { userId, seq, status, driverId } = data;
  switch (event) {
    case 'chat:message':
      return isMessage(data) ? withMessages(model, placed([data], me)) : model;
    case 'location:updated':
      return isPosition(data) ? { ...model, location: { ...(data as Position), stale: false } } : model;
    case 'order:status':
      return isText(status) ? { ...model, status } : model;
    case 'order:assigned': {
      const { driverName } = data as unknown as HubEvents['order:assigned'];
      return isText(driverId) ? { ...model, driverId, driverName: driverName ?? null } : model;
    }
    case 'order:unassigned':
      return driverId === model.driverId ? { ...model, driverId: null, driverName: null } : model;
    case 'chat:read':
      return isText(userId) && isSeq(seq) ? moveMark(model, userId, seq) : model;
    case 'chat:typing':
      return isText(userId) ? setTyping(model, userId, data['typing'] === true) : model;
    case 'chat:deleted':
      return isSeq(seq)
        ? { ...model, timeline: remove(model.timeline, seq, data as unknown as HubEvents['chat:deleted']) }
        : model;
    case 'presence:joined':
    case 'presence:left': {
      if (!isMember(data)) return model;
      const { userId: id, name, role } = data;
      const members = model.members.filter((member) => member.userId !== id);
      const isHere = event === 'presence:joined';
      return { ...model, members: isHere ? [...members, { userId: id, name, role }] : members };
    }
    case 'order:left': {
      const code = String(data['reason']);
      // The answer to a leave of an earlier life of this room.
      if (code === 'requested') return model;
      // A deleted order begins anew: what was written in it is gone.
      const base = code === 'closed' ? emptyRoom : model;
      return { ...base, state: { status: 'left', error: { code, message: 'no longer in this order' } } };
    }
  }
  return model;
}
