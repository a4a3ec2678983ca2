// Engine.IO and Socket.IO packets by hand, for what no stock client sends.

import assert from 'node:assert/strict';
import { request } from 'node:http';

import WebSocket from 'ws';

import { once, within } from './deadline.mjs';
import { token } from './tokens.mjs';

const query = (more) => new URLSearchParams({ EIO: '4', ...more }).toString();

/** What `take` is asked for when it takes anything. */
const ANYTHING = () => true;

/** Packets that have come, pings left out (they are answered). */
class Packets {
  #waiting = [];
  #wake = () => {};

  push(packet) {
    this.#waiting.push(packet);
    this.#wake();
  }

  /** The first packet that fits; those before it are dropped. */
  async take(fits = ANYTHING) {
    for (;;) {
      while (this.#waiting.length > 0) {
        const packet = this.#waiting.shift();
        if (fits(packet)) return packet;
      }
      const woken = new Promise((resolve) => (this.#wake = resolve));
      await within(woken, () => `expected a packet for ${fits}`);
    }
  }

  all() {
    return [...this.#waiting];
  }
}

/** A WebSocket at `/socket.io/`, upgraded and otherwise silent. */
export class RawSocket {
  packets = new Packets();

  constructor(socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    socket.on('error', () => {}); // `close` follows.
    socket.on('message', (data, isBinary) => {
      const packet = isBinary ? data : data.toString();
      if (packet === '2') socket.send('3');
      else this.packets.push(packet);
    });
  }

  send(...packets) {
    for (const packet of packets) this.socket.send(packet);
  }

  /** The next packet that begins like this, as text. */
  take(start = '') {
    return this.packets.take((packet) => packet.startsWith(start));
  }

  /** Enters a namespace: what the hub says to it. */
  async enter(auth, namespace = '/events') {
    this.send(`40${namespace},${JSON.stringify(auth)}`);
    return JSON.parse((await this.take(`40${namespace},`)).slice(`40${namespace},`.length));
  }

  /** Sends an event, and waits for its ack. */
  async call(event, data, id = 1) {
    this.send(`42/events,${id}${JSON.stringify([event, data])}`);
    const start = `43/events,${id}[`;
    return JSON.parse((await this.take(start)).slice(start.length - 1))[0];
  }

  /** The code of the close frame; 1006 where TCP ends without one. */
  async closeCode() {
    return (await within(this.closed, 'the hub closes')).code;
  }

  /** The code that the hub says last in a namespace, where TCP ends behind it without a close frame. */
  async endCode(namespace = '/events') {
    assert.equal(await this.closeCode(), 1006);
    const start = `42${namespace},["session:end",`;
    const last = this.packets.all().at(-1);
    assert.ok(last?.startsWith(start), `the last packet is ${last}`);
    return JSON.parse(last.slice(start.indexOf('[')))[1].code;
  }

  close() {
    this.socket.terminate();
  }
}

/** Opens a WebSocket and takes the handshake. */
export async function openRaw(t, hub, more) {
  const url = `${hub.url.replace('http', 'ws')}/socket.io/?${query({ transport: 'websocket', ...more })}`;
  const socket = new WebSocket(url);
  const raw = new RawSocket(socket);
  t.after(() => raw.close());
  await once(socket, 'open');
  return raw;
}

/** The same, and a user's session on `/events`. */
export async function enterRaw(t, hub, user, claims) {
  const raw = await openRaw(t, hub);
  raw.handshake = JSON.parse((await raw.take('0')).slice(1));
  raw.session = await raw.enter({ token: token(user, claims) });
  return raw;
}

/** One HTTP request; the body in pieces, each on its way before the next. */
export async function http(hub, method, path, { pieces = [], headers = {}, agent = false } = {}) {
  const length = pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0);
  const sent = request(hub.url + path, {
    method,
    agent,
    headers: { ...(method === 'POST' && { 'content-length': length }), ...headers },
  });
  const answered = new Promise((resolve, reject) => {
    sent.on('response', resolve);
    sent.on('error', reject);
  });
  // A refusal may come before all is sent.
  answered.catch(() => {});
  sent.setNoDelay(true);
  for (const piece of pieces) await new Promise((resolve) => sent.write(piece, resolve));
  sent.end();
  const response = await within(answered, `an answer to ${method} ${path}`);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  return { status: response.statusCode, headers: response.headers, body };
}

/** `/socket.io/` with this query. */
export const enginePath = (more) => `/socket.io/?${query(more)}`;

/** Long-polling by hand. */
export class RawPolling {
  packets = [];

  constructor(hub, sid) {
    this.hub = hub;
    this.path = enginePath({ transport: 'polling', sid });
    this.sid = sid;
  }

  get() {
    return http(this.hub, 'GET', this.path);
  }

  post(...pieces) {
    return http(this.hub, 'POST', this.path, { pieces });
  }

  /** Polls until a packet begins like this; those before it are dropped. */
  async take(start) {
    for (;;) {
      while (this.packets.length > 0) {
        const packet = this.packets.shift();
        if (packet.startsWith(start)) return packet;
        if (packet === '2') await this.post('3');
      }
      const { status, body } = await this.get();
      if (status !== 200) throw new Error(`expected ${start}, have ${status} ${body}`);
      this.packets.push(...body.split('\x1e'));
    }
  }
}

/** Opens a connection by polling. */
export async function openPolling(hub) {
  const { status, body } = await http(hub, 'GET', enginePath({ transport: 'polling' }));
  if (status !== 200 || body[0] !== '0') throw new Error(`no handshake: ${status} ${body}`);
  const handshake = JSON.parse(body.slice(1));
  const polling = new RawPolling(hub, handshake.sid);
  polling.handshake = handshake;
  return polling;
}

/** The same, and a user's session on `/events`. */
export async function enterPolling(hub, user, claims) {
  const polling = await openPolling(hub);
  await polling.post(`40/events,${JSON.stringify({ token: token(user, claims) })}`);
  await polling.take('40/events,{');
  return polling;
}
