// A client of the plain framing: one JSON text message per event.

import WebSocket from 'ws';

import { once, within } from './deadline.mjs';
import { Inbox } from './inbox.mjs';
import { token } from './tokens.mjs';

export class Plain {
  inbox = new Inbox();
  #socket;
  #nextId = 1;
  #replies = new Map();

  constructor(socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    socket.on('error', () => {}); // `close` follows.
    socket.on('message', (text) => this.#hear(JSON.parse(text)));
  }

  #hear({ event, data, id }) {
    if (event !== 'ack') return this.inbox.push(event, data);
    this.#replies.get(id)(data);
    this.#replies.delete(id);
  }

  emit(event, data) {
    this.#socket.send(JSON.stringify({ event, data }));
  }

  /** Sends, and waits for the reply. */
  call(event, data) {
    const id = this.#nextId++;
    const reply = new Promise((resolve) => this.#replies.set(id, resolve));
    this.#socket.send(JSON.stringify({ event, data, id }));
    return within(reply, `a reply to ${event}`);
  }

  take(event, fits) {
    return this.inbox.take(event, fits);
  }

  get connected() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  close() {
    this.#socket.terminate();
  }
}

/** Connects a user to the plain framing, gone with the test. */
export async function connectPlain(t, hub, user, claims) {
  const protocols = ['orderhub.v1', `orderhub.jwt.${token(user, claims)}`];
  const socket = new WebSocket(hub.plainUrl, protocols);
  const plain = new Plain(socket);
  t.after(() => plain.close());
  await once(socket, 'open');
  await plain.take('connected');
  return plain;
}
