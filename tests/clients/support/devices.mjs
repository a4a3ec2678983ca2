// Devices with a stock Socket.IO client: the newest and the oldest of the series, on each transport.

import { describe, test } from 'node:test';

import { io as newest } from 'socket.io-client';
import { io as oldest } from 'socket.io-client-4.0';

import { until, within } from './deadline.mjs';
import { Inbox } from './inbox.mjs';
import { token } from './tokens.mjs';

const WEBSOCKET = { transports: ['websocket'] };
const POLLING = { transports: ['polling'] };

/** The newest on WebSocket alone, as the app has it. */
export const APP = { name: 'newest, websocket', io: newest, options: WEBSOCKET, resumes: true };

/** The newest as it comes: polling first, then WebSocket. */
export const UPGRADING = { name: 'newest, upgrading', io: newest, options: {}, resumes: true };

/** The newest where no WebSocket comes through. */
export const POLLING_ONLY = { name: 'newest, polling', io: newest, options: POLLING, resumes: true };

/** 4.0 has no recovery and no `emitWithAck`. */
export const OLDEST = { name: '4.0, websocket', io: oldest, options: WEBSOCKET, resumes: false };

export const OLDEST_POLLING = { name: '4.0, polling', io: oldest, options: POLLING, resumes: false };

export const CLIENTS = [APP, UPGRADING, POLLING_ONLY, OLDEST, OLDEST_POLLING];

/** Those whose connections can be recovered. */
export const RESUMING = CLIENTS.filter((client) => client.resumes);

/** The same test with each of these clients, all at the same time: most of it is waiting. */
export function forEach(clients, title, body) {
  describe(title, { concurrency: true }, () => {
    for (const client of clients) test(`${title} (${client.name})`, (t) => body(t, client));
  });
}

/** Comes back at once, so that a test does not wait for the back-off. */
const IMPATIENT = { reconnectionDelay: 50, reconnectionDelayMax: 100, forceNew: true };

export class Device {
  /** What the hub has told. */
  inbox = new Inbox();
  /** `connect`, `disconnect` and `connect_error`, apart from it. */
  life = new Inbox();

  constructor(socket) {
    this.socket = socket;
    socket.onAny((event, ...args) => this.inbox.push(event, ...args));
    for (const event of ['connect', 'disconnect', 'connect_error']) {
      socket.on(event, (...args) => this.life.push(event, ...args));
    }
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** Sends, and waits for the ack. */
  call(event, ...args) {
    const ack = new Promise((resolve) => this.socket.emit(event, ...args, resolve));
    return within(ack, `an ack of ${event}`);
  }

  take(event, fits) {
    return this.inbox.take(event, fits);
  }

  join(orderId, more) {
    return this.call('order:join', { orderId, ...more });
  }

  chat(orderId, content, more) {
    return this.call('chat:message', { orderId, content, ...more });
  }

  get connected() {
    return this.socket.connected;
  }

  /** Whether it still tries, or is, to be connected. */
  get active() {
    return this.socket.active || this.socket.io._reconnecting;
  }

  /** The name of the transport in use. */
  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** Waits for an upgrade: a stock client that is cut in the middle of it notices only by the pings. */
  async settled() {
    const { transports = [] } = this.socket.io.opts;
    if (transports.length === 1) return;
    await until(() => this.transport === 'websocket', 'upgraded');
  }

  close() {
    this.socket.disconnect();
  }
}

/** A device at this address, not waited for; gone with the test. */
export function device(t, url, client, options) {
  const made = new Device(client.io(url, { ...client.options, ...IMPATIENT, ...options }));
  t.after(() => made.close());
  return made;
}

/** A user's device on `/events` of a hub (or of a wire to it), connected. */
export async function connect(t, hub, client, user, claims, options) {
  const auth = { token: token(user, claims) };
  const made = device(t, `${hub.url}/events`, client, { auth, ...options });
  await made.life.take('connect');
  return made;
}
