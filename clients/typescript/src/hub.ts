// The hub as an app sees it: the connection, the rooms that screens have open, and the outbox.

import { addresses } from './address.js';
import { connection, type Connection, type ConnectionState } from './connection.js';
import { OrderHubError, failure, LOST } from './errors.js';
import { type Lifecycle, pageLifecycle } from './lifecycle.js';
import { openLink } from './link.js';
import { type Listeners, listeners, type Log } from './listeners.js';
import { outbox, type Outbox, type Sent } from './outbox.js';
import { after, platform, type SocketClass, type Storage } from './platform.js';
import type { SendType } from './queue.js';
import { type Room, openRoom, type RoomSnapshot } from './room.js';
import type { RoomState } from './room-model.js';
import type { Message } from './timeline.js';
import { type GetToken, tokens, type TokenReason } from './tokens.js';
import type { BackEndEvents } from './index.js';
import type { Connected, HubEvents, Reply } from './wire.js';

export interface Options {
  /** The hub: `http(s)://` or `ws(s)://`, with or without a path. */
  url: string;
  /** Gives a fresh token; null means signed out. */
  getToken: GetToken;
  /** Keeps messages that wait over a restart of the app. A page has `localStorage` by itself. */
  storage?: Storage;
  /** Tells whether the app is in front. A page's is known; for React Native see `/react-native`. */
  lifecycle?: Lifecycle;
  logger?: Partial<Record<'debug' | 'warn' | 'error', (message: string, detail?: unknown) => void>>;
  /** Where the platform has none, such as Node 20: that of `ws`. */
  WebSocket?: unknown;
}

/** All that a screen may say: of the connection, and of what waits to be sent. */
export interface HubState extends ConnectionState {
  /** How many messages wait to be sent. */
  pending: number;
  /** They would be lost with the app: there is no storage, or it fails. */
  unsaved?: true;
}

/** What `on` knows by name. */
export type Events = HubEvents & BackEndEvents;

/** A screen's hold on an order: the last `release` leaves the room. */
export interface RoomHandle {
  readonly orderId: string;
  /** Whether it is joined; a refusal is a state too. */
  readonly state: RoomState;
  /** Everything that is known; the same object until something changes. */
  readonly snapshot: RoomSnapshot;
  readonly messages: readonly Message[];
  readonly readMarks: Readonly<Record<string, number>>;
  subscribe(listener: () => void): () => void;
  /** Shown at once; fulfilled when the hub has stored it, rejected with an `OrderHubError`. */
  send(content: string, options?: { type?: SendType }): Promise<Sent>;
  /** Tries a failed message again; `id` is that of the message. */
  retry(id: string): void;
  /** Takes away a message that has failed or waits. */
  discard(id: string): void;
  /** Whether there were older messages. */
  loadOlder(): Promise<boolean>;
  /** The user has read what is shown; told once the app is in front. */
  markRead(): void;
  /** The user writes: call it at every key, the hub is told now and then. */
  typing(isTyping: boolean): void;
  /** Deletes a message, where the hub allows it; else rejected with an `OrderHubError`. */
  delete(seq: number): Promise<void>;
  release(): void;
}

/** `localStorage` of a page, where it may be used. */
function pageStorage(): Storage | undefined {
  try {
    return platform.document && platform.localStorage;
  } catch {
    return undefined;
  }
}

interface OpenRoom {
  room: Room;
  holds: number;
}

export class OrderHub {
  /** Where the HTTP API is: what its paths follow. */
  readonly httpUrl: string;
  /** Gives the app's token, one call at a time; rejected where there is none now. */
  readonly getToken: (reason: TokenReason) => Promise<string | null>;
  /** Reports to the app's `logger`. */
  readonly log: Log;
  private readonly lifecycle: Lifecycle;
  private readonly rooms = new Map<string, OpenRoom>();
  private readonly states: Listeners<[]>;
  private readonly listeners = new Map<string, Listeners<[unknown]>>();
  private readonly connection: Connection;
  private readonly outbox: Outbox;
  private session: Connected | undefined;
  private current: HubState | undefined;
  private unsubscribe: (() => void) | undefined;

  constructor(options: Options) {
    const { url, getToken, logger = {}, lifecycle = pageLifecycle, storage = pageStorage() } = options;
    const { socket, http } = addresses(url);
    const WebSocket = (options.WebSocket ?? platform.WebSocket) as SocketClass | undefined;
    if (typeof getToken !== 'function') throw new TypeError('getToken: a function that gives a token');
    if (!WebSocket) throw new TypeError('WebSocket: this platform has none, give one');
    const log: Log = (level, message, detail) => logger[level]?.(`orderhub: ${message}`, detail);
    this.httpUrl = http;
    this.log = log;
    this.lifecycle = lifecycle;
    this.states = listeners(log);
    this.getToken = tokens(getToken);
    this.connection = connection((token, on) => openLink(WebSocket, socket, token, on, log), this.getToken, {
      changed: () => this.changed(),
      begins: (connected) => this.begins(connected),
      up: () => this.up(),
      ready: () => this.ready(),
      event: (name, data) => this.hear(name, data),
      refreshed: () => this.each((room) => room.refreshed()),
    });
    this.outbox = outbox(
      { storage, link: () => this.connection.link(), log },
      {
        changed: (orderId) => {
          this.each((room) => (orderId ?? room.orderId) === room.orderId && room.changed());
          this.changed();
        },
        sent: (item, sent) => this.rooms.get(item.orderId)?.room.sent(item, sent),
      },
    );
  }

  /** Everything about the connection; the same object until something changes. */
  get state(): HubState {
    const pending = this.outbox.waiting();
    const unsaved = this.outbox.isUnsaved() && { unsaved: true as const };
    return (this.current ??= { ...this.connection.state(), pending, ...unsaved });
  }

  /** Who the hub says the user is; undefined before the first connection. */
  get user(): Pick<Connected, 'userId' | 'role'> | undefined {
    return this.session;
  }

  /** Tells every change of `state`. */
  subscribe(listener: () => void): () => void {
    return this.states.add(listener);
  }

  /** Connects, and stays connected; while it waits for the next attempt, it tries at once. */
  connect(): void {
    this.unsubscribe ??= this.lifecycle.subscribe((change) => {
      this.connection.lifecycle(change);
      if (change === 'active') this.each((room) => void room.sendMark());
    });
    this.connection.connect();
  }

  /** Disconnects. Rooms and messages that wait are kept for the next `connect`. */
  close(): void {
    this.unsubscribe?.();
    this.unsubscribe = undefined;
    this.connection.close();
    this.outbox.close();
  }

  /** Disconnects, and erases what the user has written, also where it is stored. */
  async signOut(): Promise<void> {
    this.session = undefined;
    this.close();
    const erased = this.outbox.erase();
    this.each((room) => room.reset());
    await erased;
  }

  /** Listens to an event of the hub, or of your back end; the result ends that. */
  on<E extends keyof Events>(event: E, listener: (data: Events[E]) => void): () => void;
  on(event: string, listener: (data: unknown) => void): () => void;
  on(event: string, listener: (data: never) => void): () => void {
    let all = this.listeners.get(event);
    if (!all) this.listeners.set(event, (all = listeners(this.log)));
    return all.add(listener as (data: unknown) => void);
  }

  /** Opens an order. It stays open until everything that has opened it has released it. */
  room(orderId: string): RoomHandle {
    let open = this.rooms.get(orderId);
    if (!open) {
      open = { room: this.openRoom(orderId), holds: 0 };
      this.rooms.set(orderId, open);
      open.room.join();
    }
    const mine = open;
    mine.holds++;
    let isHeld = true;
    return this.handle(mine.room, () => {
      if (!isHeld) return;
      isHeld = false;
      mine.holds--;
      // A tick later: the next screen may want the same order.
      after(0, () => {
        if (mine.holds || this.rooms.get(orderId) !== mine) return;
        this.rooms.delete(orderId);
        mine.room.close();
        this.each((room) => room.refreshed('too_many_rooms'));
      });
    });
  }

  /** An order that is open, without holding it. */
  find(orderId: string): Omit<RoomHandle, 'release'> | undefined {
    const open = this.rooms.get(orderId);
    return open && this.handle(open.room, () => {});
  }

  /** Sends to an order, open or not; see `RoomHandle.send`. */
  send(orderId: string, content: string, options?: { type?: SendType }): Promise<Sent> {
    return this.outbox.add(orderId, content, options?.type);
  }

  retry(id: string): void {
    this.outbox.retry(id);
  }

  discard(id: string): void {
    this.outbox.discard(id);
  }

  /** Sends any event, and gives the hub's answer; `error.code` is `lost` without a connection. */
  async request(event: string, data: object): Promise<Reply> {
    const link = this.connection.link();
    return link ? link.call(event, data) : { ok: false, error: failure(LOST, 'not connected') };
  }

  /** Stays connected in the background, until the result is called. */
  hold(): () => void {
    return this.connection.hold();
  }

  private openRoom(orderId: string): Room {
    return openRoom(orderId, {
      link: () => this.connection.link(),
      outbox: this.outbox,
      me: () => {
        const userId = this.outbox.user();
        return this.session ?? (userId === undefined ? undefined : { userId });
      },
      isActive: () => this.lifecycle.isActive(),
      log: this.log,
    });
  }

  private handle(room: Room, release: () => void): RoomHandle {
    const { orderId, subscribe, snapshot, send, loadOlder, markRead, typing } = room;
    return {
      orderId,
      get state() {
        return snapshot().state;
      },
      get snapshot() {
        return snapshot();
      },
      get messages() {
        return snapshot().messages;
      },
      get readMarks() {
        return snapshot().readMarks;
      },
      subscribe,
      send,
      retry: (id) => this.retry(id),
      discard: (id) => this.discard(id),
      loadOlder,
      markRead,
      typing,
      async delete(seq) {
        const reply = await room.delete(seq);
        if (!reply?.ok) throw new OrderHubError(reply?.error ?? failure(LOST, 'not connected'));
      },
      release,
    };
  }

  private each(run: (room: Room) => unknown): void {
    for (const { room } of [...this.rooms.values()]) run(room);
  }

  private changed(): void {
    const before = this.current;
    this.current = undefined;
    const { state } = this;
    const keys = Object.keys({ ...before, ...state }) as (keyof HubState)[];
    if (before && keys.every((key) => before[key] === state[key])) this.current = before;
    else this.states.emit();
  }

  private begins(connected: Connected): void {
    const isOther = this.session && this.session.userId !== connected.userId;
    this.session = connected;
    void this.outbox.use(connected.userId);
    if (isOther) this.each((room) => room.reset());
  }

  private up(): void {
    this.each((room) => room.join());
    this.outbox.pump();
  }

  private ready(): void {
    this.each((room) => room.ready());
    this.outbox.pump();
  }

  private hear(name: string, data: unknown): void {
    const { orderId } = (data ?? {}) as { orderId?: string };
    this.rooms.get(orderId as string)?.room.hear(name, data);
    this.listeners.get(name)?.emit(data);
  }
}
