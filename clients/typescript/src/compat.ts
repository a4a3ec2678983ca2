// The service that apps with Socket.IO have written for themselves, on top of a hub: the methods that
// their screens call, and `on`, so that an app moves over file by file.

import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { driver } from './driver.js';
import type { OrderHub, RoomHandle, SendType } from './index.js';
import { type Listeners, listeners } from './listeners.js';
import { after } from './platform.js';

/** What a chat component hands over: a text, or a list of messages with one. */
export type Content = string | readonly { text: string }[];

interface Joined {
  room: RoomHandle;
  off(): void;
}

export class SocketService {
  private readonly joined = new Map<string, Joined[]>();
  private readonly messages: Listeners<[unknown]>;
  private users = 0;

  constructor(readonly hub: OrderHub) {
    this.messages = listeners(hub.log);
  }

  connect = (): void => this.hub.connect();

  disconnect = (): void => this.hub.close();

  isConnected = (): boolean => this.hub.state.status === 'online';

  /** May be called before there is a connection; joined again after every one. */
  joinOrderRoom = (orderId: string): void => {
    const room = this.hub.room(orderId);
    const all = this.joined.get(orderId) ?? [];
    this.joined.set(orderId, [...all, { room, off: all.length ? () => {} : this.follow(room) }]);
  };

  leaveOrderRoom = (orderId: string): void => {
    const all = this.joined.get(orderId) ?? [];
    const last = all[all.length - 1];
    if (!last) return;
    last.off();
    last.room.release();
    if (all.length > 1) this.joined.set(orderId, all.slice(0, -1));
    else this.joined.delete(orderId);
  };

  emitDriverLocation = (orderId: string, lat: number, lng: number): void =>
    driver(this.hub).report({ lat, lng }, { orderIds: [orderId] });

  /** Takes a text, or the list that chat components hand over. */
  sendMessage = (orderId: string, content: Content, type: SendType = 'TEXT'): void => {
    const texts = typeof content === 'string' ? [content] : content.map(({ text }) => text);
    for (const text of texts) void this.hub.send(orderId, text, { type });
  };

  /**
   * Listens to an event; the result ends that. Of a joined order every `chat:message` comes once and
   * in order, also those that were missed while there was no connection.
   */
  on = (event: string, listener: (data: never) => void): (() => void) => {
    const listen = listener as (data: unknown) => void;
    return event === 'chat:message' ? this.messages.add(listen) : this.hub.on(event, listen);
  };

  subscribe = (listener: () => void): (() => void) => this.hub.subscribe(listener);

  /** Connects while something uses it; the last one to end that disconnects. */
  use = (): (() => void) => {
    this.users++;
    this.connect();
    return () => {
      this.users--;
      // A tick later: the next screen may use it.
      after(0, () => this.users || this.disconnect());
    };
  };

  /** Tells the messages that come after the join, as it is: what was there the screen has loaded. */
  private follow(room: RoomHandle): () => void {
    let told: number | undefined;
    const tell = () => {
      const { messages, state } = room.snapshot;
      if (state.status !== 'joined') return;
      const from = told ?? Infinity;
      told ??= 0;
      for (const message of messages) {
        const { seq = 0 } = message;
        if (seq <= told) continue;
        told = seq;
        if (seq > from) this.messages.emit(message);
      }
    };
    tell();
    return room.subscribe(tell);
  }
}

export interface SocketHook {
  isConnected: boolean;
  joinOrderRoom(orderId: string): void;
  leaveOrderRoom(orderId: string): void;
  sendMessage(orderId: string, content: Content, type?: SendType): void;
  emitDriverLocation(orderId: string, lat: number, lng: number): void;
}

/**
 * What an app's `useSocket` returns. It connects while a screen is mounted and the user is signed in,
 * and a screen that goes does not take the connection from the others.
 */
export function useSocketService(service: SocketService, isAuthenticated = true): SocketHook {
  useEffect(() => (isAuthenticated ? service.use() : undefined), [service, isAuthenticated]);
  const isConnected = useSyncExternalStore(service.subscribe, service.isConnected, () => false);
  return useMemo(() => {
    const { joinOrderRoom, leaveOrderRoom, sendMessage, emitDriverLocation } = service;
    return { isConnected, joinOrderRoom, leaveOrderRoom, sendMessage, emitDriverLocation };
  }, [service, isConnected]);
}
