// A room: the actor of one order. It joins, fills gaps, sends what the user does, and tells its
// subscribers; what events mean stands in `room-model`.

import { failure, LOST } from './errors.js';
import { pauseAfter } from './decisions.js';
import { type Link, isObject } from './link.js';
import { listeners, type Log } from './listeners.js';
import type { Outbox, Sent } from './outbox.js';
import { after, duration } from './platform.js';
import type { Item, SendType } from './queue.js';
import {
  type DriverLocation,
  emptyRoom,
  hear,
  moveMark,
  placed,
  type RoomModel,
  type RoomState,
  setTyping,
  unread,
  withMessages,
  withSnapshot,
  withTimeline,
} from './room-model.js';
import {
  addPage,
  emptyTimeline,
  hasGap,
  hasOlder,
  type Message,
  prepend,
} from './timeline.js';
import type { JoinReply, Member, Reply, Role } from './wire.js';

const STALE_MS = 60_000;
/** How long a user counts as typing without another word of it. */
const TYPING_MS = 6_000;
/** How often the hub is told that the user is still typing. */
const TYPING_AGAIN_MS = 3_000;
const FIRST_PAGE = 50;
const MAX_PAGE = 200;

/** An order as a screen shows it. Each part keeps its identity until it changes. */
export interface RoomSnapshot {
  readonly orderId: string;
  readonly state: RoomState;
  readonly status: string | null;
  readonly driverId: string | null;
  readonly driverName: string | null;
  readonly location: DriverLocation | null;
  readonly members: readonly Member[];
  readonly readMarks: Readonly<Record<string, number>>;
  readonly typing: readonly string[];
  readonly messages: readonly Message[];
  /** Whether `loadOlder` has more. */
  readonly hasMore: boolean;
  readonly unread: number;
}

/** What a room needs of its hub. */
export interface RoomHost {
  link(): Link | undefined;
  outbox: Outbox;
  me(): { userId: string; role?: Role } | undefined;
  /** Whether the app is in front. */
  isActive(): boolean;
  log: Log;
}

export type Room = ReturnType<typeof openRoom>;

/** The parts of a room that never change while it is empty: for hooks before they have a room. */
const view = (orderId: string, model: RoomModel, messages: readonly Message[], me?: string): RoomSnapshot => ({
  orderId,
  state: model.state,
  status: model.status,
  driverId: model.driverId,
  driverName: model.driverName,
  location: model.location,
  members: model.members,
  readMarks: model.readMarks,
  typing: model.typing,
  messages,
  hasMore: model.timeline.last !== undefined && hasOlder(model.timeline),
  unread: unread(model, me),
});

export const emptySnapshot = view('', emptyRoom, []);

export function openRoom(orderId: string, host: RoomHost) {
  const { outbox, log } = host;
  const subscribers = listeners<[]>(log);
  const typingEnds = new Map<string, () => void>();
  let model = emptyRoom;
  let snapshot: RoomSnapshot | undefined;
  let shown: { parts: unknown[]; messages: readonly Message[] } | undefined;
  let isOpen = true;
  let isJoining = false;
  let isFilling = false;
  let tries = 0;
  let stopRetry = () => {};
  let stopStale = () => {};
  let older: Promise<boolean> | undefined;
  // Up to which message the user has read here, and what of it the hub knows.
  let toRead = 0;
  let isMarking = false;
  let typedAt = 0;

  const me = () => host.me()?.userId;

  const changed = () => {
    snapshot = undefined;
    subscribers.emit();
  };

  const set = (next: RoomModel) => {
    if (next === model) return;
    model = next;
    changed();
  };

  /** An own message that has no place in the order yet. */
  const waiting = ({ key, content, type, at, failed }: Item): Message => {
    const { userId = '', role = 'customer' } = host.me() ?? {};
    return {
      key,
      id: key,
      orderId,
      senderId: userId,
      senderName: model.members.find((member) => member.userId === userId)?.name ?? userId,
      senderRole: role,
      content,
      type,
      createdAt: new Date(at).toISOString(),
      clientMsgId: key,
      status: failed ? 'failed' : 'pending',
      ...(failed && { error: failed }),
    };
  };

  const messages = () => {
    const items = outbox.of(orderId);
    const parts = [model.timeline.messages, model.acked, me(), ...items, ...items.map(({ failed }) => failed)];
    if (!shown || shown.parts.length !== parts.length || shown.parts.some((part, n) => part !== parts[n])) {
      shown = { parts, messages: [...model.timeline.messages, ...model.acked.map(({ message }) => message), ...items.map(waiting)] };
    }
    return shown.messages;
  };

  /** The hub's answer, and whether it still matters here. */
  const call = async (event: string, data: object): Promise<Reply | undefined> => {
    const reply = await host.link()?.call(event, { orderId, ...data });
    return isOpen && reply?.error?.code !== LOST ? reply : undefined;
  };

  const refuse = (reply: Reply, run: () => void) => {
    const error = reply.error ?? failure('internal', 'a bad answer');
    const pause = pauseAfter(error, ++tries);
    if (pause === undefined) set({ ...model, state: { status: 'refused', error } });
    else stopRetry = after(pause, run);
  };

  const watchLocation = (ageMs: number) => {
    stopStale();
    if (!model.location || model.location.stale) return;
    stopStale = after(Math.max(0, STALE_MS - ageMs), () => {
      if (model.location) set({ ...model, location: { ...model.location, stale: true } });
    });
  };

  /** Own messages that have come need not be sent any more. */
  const confirm = (found: readonly Message[]) => {
    for (const { id, seq, createdAt, senderId, clientMsgId } of found) {
      if (senderId === me() && seq) outbox.confirm(clientMsgId, { id, seq, createdAt });
    }
  };

  /** Reads what is missing, page by page; live messages wait behind it. */
  const fill = async () => {
    if (isFilling) return;
    isFilling = true;
    while (isOpen && hasGap(model.timeline)) {
      const reply = await call('chat:history', { afterSeq: model.timeline.last, limit: MAX_PAGE });
      if (!reply) break;
      if (!reply.ok) {
        refuse(reply, () => void fill());
        break;
      }
      const page = placed(reply['messages'], me());
      set(withTimeline(model, addPage(model.timeline, page, reply['hasMore'] === true && page.length > 0)));
      confirm(page);
    }
    isFilling = false;
  };

  const join = () => {
    stopRetry();
    const { last } = model.timeline;
    if (model.state.status !== 'joined') set({ ...model, state: { status: 'joining' } });
    const since = last === undefined ? { limit: FIRST_PAGE } : { sinceSeq: last, limit: MAX_PAGE };
    const link = host.link();
    isJoining = !!link;
    link?.ask('order:join', { orderId, ...since }, (reply) => {
      isJoining = false;
      if (isOpen && reply.error?.code !== LOST) joined(reply, last);
    });
  };

  const joined = (reply: Reply, since: number | undefined) => {
    const told = reply as unknown as JoinReply;
    if (!reply.ok || !Number.isSafeInteger(told.lastSeq)) return refuse(reply, join);
    // The hub has less than it had: its database is another one.
    if (told.lastSeq < (since ?? 0)) {
      model = { ...model, timeline: emptyTimeline };
      return join();
    }
    tries = 0;
    set(withSnapshot(model, told, me()));
    confirm(placed(told.messages, me()));
    watchLocation(duration(told.lastLocation?.ageMs) ?? 0);
    void fill();
    void sendMark();
  };

  /** Tells the hub what the user has read, the newest only, once the app is in front. */
  const sendMark = async () => {
    const seq = toRead;
    const user = me();
    if (user === undefined || seq <= (model.readMarks[user] ?? 0)) return;
    if (isMarking || !host.isActive() || model.state.status !== 'joined') return;
    isMarking = true;
    const reply = await call('chat:read', { seq });
    isMarking = false;
    if (!reply) return;
    if (reply.ok) set(moveMark(model, user, seq));
    // Refused: not asked again until there is something new to read, or a new connection.
    else if (toRead === seq) toRead = 0;
    void sendMark();
  };

  const typingOf = (userId: string) => {
    typingEnds.get(userId)?.();
    typingEnds.delete(userId);
    if (!model.typing.includes(userId)) return;
    typingEnds.set(userId, after(TYPING_MS, () => set(setTyping(model, userId, false))));
  };

  const loadPage = async () => {
    const beforeSeq = model.timeline.messages[0]?.seq ?? (model.timeline.last ?? 0) + 1;
    const reply = await call('chat:history', { beforeSeq, limit: FIRST_PAGE });
    const before = model.timeline;
    if (reply?.ok) set({ ...model, timeline: prepend(before, placed(reply['messages'], me())) });
    return model.timeline !== before;
  };

  const isOut = () => /^(refused|left)$/.test(model.state.status);

  return {
    orderId,
    subscribe: subscribers.add,
    snapshot: () => (snapshot ??= view(orderId, model, messages(), me())),
    join,
    changed,
    sendMark,
    /** Events may be written again: what was held up goes on. */
    ready() {
      if (model.state.status === 'joining' && !isJoining) join();
      void fill();
      void sendMark();
    },
    /** What was refused, or was refused for this reason, may be allowed now. */
    refreshed(code = model.state.error?.code) {
      if (isOut() && model.state.error?.code === code) join();
    },
    hear(event: string, data: unknown) {
      if (!isObject(data)) return;
      const before = model;
      set(hear(model, event, data, me()));
      // What happens to the order may have changed the user's rights to it.
      if (/^order:/.test(event) && event !== 'order:left' && isOut()) join();
      if (event === 'location:updated' && before !== model) watchLocation(0);
      if (event === 'chat:typing') typingOf(String(data['userId']));
      if (event === 'chat:message' && before !== model) {
        confirm(placed([data], me()));
        void fill();
      }
    },
    /** Another user: nothing of the former one stays. */
    reset() {
      model = emptyRoom;
      toRead = 0;
      changed();
    },
    sent(item: Item, { id, seq, createdAt }: Sent) {
      if (seq <= (model.timeline.last ?? 0)) return;
      // Without its number until everything before it is here too: that is its place.
      const message: Message = { ...waiting(item), id, createdAt, status: 'sent' };
      const acked = [...model.acked, { seq, message }].sort((one, other) => one.seq - other.seq);
      model = withMessages({ ...model, acked }, []);
    },
    loadOlder(): Promise<boolean> {
      if (!hasOlder(model.timeline)) return Promise.resolve(false);
      older ??= loadPage().finally(() => (older = undefined));
      return older;
    },
    markRead() {
      toRead = Math.max(toRead, model.timeline.last ?? 0);
      void sendMark();
    },
    typing(isTyping: boolean) {
      const now = Date.now();
      const isNew = isTyping ? Math.abs(now - typedAt) >= TYPING_AGAIN_MS : typedAt > 0;
      if (!isNew) return;
      typedAt = isTyping ? now : 0;
      host.link()?.send('chat:typing', { orderId, typing: isTyping });
    },
    send(content: string, options?: { type?: SendType }) {
      typedAt = 0;
      return outbox.add(orderId, content, options?.type);
    },
    delete: (seq: number) => call('chat:delete', { seq }),
    close() {
      isOpen = false;
      stopRetry();
      stopStale();
      for (const end of typingEnds.values()) end();
      void host.link()?.call('order:leave', { orderId, all: true });
    },
  };
}
