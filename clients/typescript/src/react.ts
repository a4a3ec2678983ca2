// Hooks for React and React Native. A hook opens its order when it is mounted, never while it
// renders, and releases it when it is gone; the room is left a tick later, so that StrictMode and a
// change of screens join once.

import {
  type Context,
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from 'react';
import { type DriverOptions, type DriverState, driver, type Fix, type GeoPosition } from './driver.js';
import {
  type DriverLocation,
  emptySnapshot,
  type HubState,
  type Member,
  type Message,
  type OrderHub,
  type RoomSnapshot,
  type RoomState,
  type SendType,
  type Sent,
} from './index.js';
import { after } from './platform.js';

interface Contexts {
  hub: Context<OrderHub | undefined>;
  order: Context<string | undefined>;
}

/** One pair for each copy of React, also where an app has this file as ESM and as CommonJS. */
function contexts(): Contexts {
  const key = Symbol.for('@orderhub/client/react');
  const shared = globalThis as unknown as Record<symbol, Map<unknown, Contexts> | undefined>;
  const all = (shared[key] ??= new Map());
  let mine = all.get(createContext);
  if (!mine) {
    mine = { hub: createContext<OrderHub | undefined>(undefined), order: createContext<string | undefined>(undefined) };
    all.set(createContext, mine);
  }
  return mine;
}

const { hub: HubContext, order: OrderContext } = contexts();

/** How many providers a hub has. */
const mounted = new WeakMap<OrderHub, number>();

/** Gives its children a hub: connected while it is mounted. */
export function OrderHubProvider({ hub, children }: { hub: OrderHub; children?: ReactNode }): ReactElement {
  useEffect(() => {
    const add = (count: number) => mounted.set(hub, (mounted.get(hub) ?? 0) + count);
    add(1);
    hub.connect();
    return () => {
      add(-1);
      after(0, () => mounted.get(hub) || hub.close());
    };
  }, [hub]);
  return createElement(HubContext.Provider, { value: hub }, children);
}

/** Opens an order for its children, whose hooks need not name it. */
export function OrderProvider({ orderId, children }: { orderId: string; children?: ReactNode }): ReactElement {
  const hub = useHub();
  useEffect(() => hub.room(orderId).release, [hub, orderId]);
  return createElement(OrderContext.Provider, { value: orderId }, children);
}

export function useHub(): OrderHub {
  const hub = useContext(HubContext);
  if (!hub) throw new Error('no <OrderHubProvider> above');
  return hub;
}

function useOrderId(given: string | undefined): string {
  const found = useContext(OrderContext);
  const orderId = given ?? found;
  if (orderId === undefined) throw new Error('no orderId, and no <OrderProvider> above');
  return orderId;
}

const isSame = (one: object, other: object) =>
  Object.entries(one).every(([name, value]) => Object.is(value, other[name as never]));

/** Part of an order's snapshot: the same object until something in it changes. */
function useRoom<T extends object>(orderId: string, pick: (snapshot: RoomSnapshot) => T): T {
  const hub = useHub();
  const [subscribe, get] = useMemo(() => {
    let last: T | undefined;
    return [
      (listener: () => void) => {
        const room = hub.room(orderId);
        const off = room.subscribe(listener);
        return () => {
          off();
          room.release();
        };
      },
      () => {
        const next = pick(hub.find(orderId)?.snapshot ?? emptySnapshot);
        return last && isSame(next, last) ? last : (last = next);
      },
    ];
    // `pick` is one of those below, and never another.
  }, [hub, orderId]);
  return useSyncExternalStore(subscribe, get, get);
}

/** The connection: online or not, since when, why it has ended, what waits to be sent. */
export function useConnectionState(): HubState {
  const hub = useHub();
  const get = () => hub.state;
  return useSyncExternalStore(useCallback((listener) => hub.subscribe(listener), [hub]), get, get);
}

/** Calls back with every event of this name, one of your back end for example. */
export function useHubEvent(event: string, listener: (data: never) => void): void {
  const hub = useHub();
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(() => hub.on(event, (data) => newest.current(data as never)), [hub, event]);
}

export interface Order {
  orderId: string;
  /** Whether it is joined; `refused` and `left` say why in `error`. */
  state: RoomState;
  status: string | null;
  driverId: string | null;
  driverName: string | null;
}

const pickOrder = ({ state, status, driverId, driverName }: RoomSnapshot) => ({ state, status, driverId, driverName });

export function useOrder(orderId?: string): Order {
  const id = useOrderId(orderId);
  const order = useRoom(id, pickOrder);
  return useMemo(() => ({ orderId: id, ...order }), [id, order]);
}

const pickLocation = ({ location }: RoomSnapshot) => ({ location });

/** Where the driver is; `stale` once that is a minute old. */
export function useDriverLocation(orderId?: string): DriverLocation | null {
  return useRoom(useOrderId(orderId), pickLocation).location;
}

const pickMembers = ({ members }: RoomSnapshot) => ({ members });

export function useMembers(orderId?: string): readonly Member[] {
  return useRoom(useOrderId(orderId), pickMembers).members;
}

const pickMarks = ({ readMarks }: RoomSnapshot) => ({ readMarks });

/** How far each user has read. */
export function useReadMarks(orderId?: string): Readonly<Record<string, number>> {
  return useRoom(useOrderId(orderId), pickMarks).readMarks;
}

const pickMessages = ({ messages, hasMore }: RoomSnapshot) => ({ messages, hasMore });

export interface Chat {
  /** In order, those that wait at the end; `key` is for lists. */
  messages: readonly Message[];
  hasMore: boolean;
  send(content: string, options?: { type?: SendType }): Promise<Sent>;
  retry(id: string): void;
  discard(id: string): void;
  loadOlder(): Promise<boolean>;
  /** Rejected where the hub refuses it. */
  remove(seq: number): Promise<void>;
}

export function useMessages(orderId?: string): Chat {
  const hub = useHub();
  const id = useOrderId(orderId);
  const shown = useRoom(id, pickMessages);
  const actions = useMemo(
    () => ({
      send: (content: string, options?: { type?: SendType }) => hub.send(id, content, options),
      retry: (key: string) => hub.retry(key),
      discard: (key: string) => hub.discard(key),
      loadOlder: async () => (await hub.find(id)?.loadOlder()) ?? false,
      remove: async (seq: number) => hub.find(id)?.delete(seq),
    }),
    [hub, id],
  );
  return useMemo(() => ({ ...shown, ...actions }), [shown, actions]);
}

const pickTyping = ({ typing }: RoomSnapshot) => ({ typing });

export interface Typing {
  /** Who is writing, by their id. */
  typing: readonly string[];
  /** Call it at every key. */
  setTyping(isTyping: boolean): void;
}

export function useTyping(orderId?: string): Typing {
  const hub = useHub();
  const id = useOrderId(orderId);
  const { typing } = useRoom(id, pickTyping);
  const setTyping = useCallback((isTyping: boolean) => hub.find(id)?.typing(isTyping), [hub, id]);
  return useMemo(() => ({ typing, setTyping }), [typing, setTyping]);
}

const pickUnread = ({ unread }: RoomSnapshot) => ({ unread });

export interface Unread {
  unread: number;
  /** The user has seen what is shown. */
  markRead(): void;
}

export function useUnread(orderId?: string): Unread {
  const hub = useHub();
  const id = useOrderId(orderId);
  const { unread } = useRoom(id, pickUnread);
  const markRead = useCallback(() => hub.find(id)?.markRead(), [hub, id]);
  return useMemo(() => ({ unread, markRead }), [unread, markRead]);
}

export interface Publisher extends DriverOptions {
  /**
   * Begins to watch the position, and returns how that ends:
   * `(report) => { const id = navigator.geolocation.watchPosition(report); return () => …clearWatch(id) }`
   */
  watch(report: (fix: Fix | GeoPosition) => void): (() => void) | Promise<() => void>;
  /** The orders; without them all that the driver has. */
  orderIds?: string[];
  /** False pauses it. */
  enabled?: boolean;
}

/** Reports the driver's position while it is mounted. */
export function useLocationPublisher({ watch, orderIds, enabled = true, buffer }: Publisher): DriverState {
  const hub = useHub();
  const publisher = driver(hub, { buffer });
  const newest = useRef({ watch, orderIds });
  useEffect(() => {
    newest.current = { watch, orderIds };
  });
  useEffect(() => {
    if (!enabled) return undefined;
    let isOver = false;
    const watching = Promise.resolve(
      newest.current.watch((fix) => {
        if (!isOver) publisher.report(fix, { orderIds: newest.current.orderIds });
      }),
    );
    return () => {
      isOver = true;
      publisher.stop();
      void watching.then((end) => end());
    };
  }, [publisher, enabled]);
  const get = () => publisher.state;
  return useSyncExternalStore(publisher.subscribe, get, get);
}
