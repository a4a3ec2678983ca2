// A link: one WebSocket to the hub, from its opening to its end. It speaks the plain framing and
// knows nothing of rooms.

import { failure, LOST } from './errors.js';
import type { Log } from './listeners.js';
import { after, duration, type Socket, type SocketClass } from './platform.js';
import type { Connected, HubEvents, Reply } from './wire.js';

/** How long a socket may take until the hub has said `connected`. */
const OPEN_WITHIN_MS = 10_000;
/** How long an answer may take on a link that is alive. Events over their rate wait at the hub. */
const ANSWER_WITHIN_MS = 30_000;

/** Why a link is over. */
export interface End {
  /** A close code of docs/protocol.md; 1006 where nothing was said. */
  code: number;
  reason: string;
  /** Whether the hub wants the client back, where it has said so. */
  retry?: boolean | undefined;
  reconnectAfterMs?: number | undefined;
}

export interface Link {
  /**
   * Sends, and calls back with the answer, before anything that has come after it is heard: Node's
   * `ws` tells several messages within one task. `lost` where the link ends before it comes.
   */
  ask(event: string, data: object, settle: (reply: Reply) => void): void;
  /** The same as a promise, which is never rejected. */
  call(event: string, data: object): Promise<Reply>;
  /** Sends without asking for an answer. */
  send(event: string, data: object): void;
  /** The largest message that the hub takes. */
  maxMessageBytes(): number;
  /** Ends it at once: nothing more is heard, and no end is told. */
  close(): void;
}

export interface LinkEvents {
  up(connected: Connected): void;
  event(name: string, data: unknown): void;
  end(end: End): void;
}

const refusal = (code: string, message: string): Reply => ({ ok: false, error: failure(code, message) });

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What `session:end` says, as far as it can be believed. */
function toEnd(data: unknown): End {
  const { code, reason, retry, reconnectAfterMs } = (data ?? {}) as HubEvents['session:end'];
  return {
    code: duration(code) ?? 1006,
    reason: String(reason ?? ''),
    retry: typeof retry === 'boolean' ? retry : undefined,
    reconnectAfterMs: duration(reconnectAfterMs),
  };
}

export function openLink(
  WebSocket: SocketClass,
  url: string,
  token: string,
  on: LinkEvents,
  log: Log,
): Link {
  const waiting = new Map<number, (reply: Reply) => void>();
  let socket: Socket | undefined;
  let isUp = false;
  let isOver = false;
  let nextId = 1;
  let maxMessageBytes = 65_536;
  let trouble = '';

  const finish = (end?: End) => {
    if (isOver) return;
    isOver = true;
    late();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      // Node's `ws` throws an error for which nothing listens.
      socket.onerror = () => {};
      socket.close(1000);
    }
    for (const settle of [...waiting.values()]) settle(refusal(LOST, 'the connection was lost'));
    if (end) on.end(end);
  };
  const fail = (code: number, reason: string) => finish({ code, reason });
  const late = after(OPEN_WITHIN_MS, () => fail(1006, 'timeout'));

  const hear = (text: unknown) => {
    let message: unknown;
    try {
      message = JSON.parse(text as string);
    } catch {
      // Told below.
    }
    const { event, id, data } = (isObject(message) ? message : {}) as Record<string, unknown>;
    if (typeof event !== 'string') return log('warn', 'a message that is no event', text);
    if (event === 'ack') {
      waiting.get(id as number)?.(isObject(data) ? (data as Reply) : refusal('internal', 'a bad answer'));
    } else if (event === 'session:end') {
      on.event(event, data);
      // Its close would only come after one more round trip, or never.
      finish(toEnd(data));
    } else if (isUp) {
      on.event(event, data);
    } else if (event === 'connected' && isObject(data) && typeof data['userId'] === 'string') {
      isUp = true;
      late();
      maxMessageBytes = duration(data['maxMessageBytes']) ?? maxMessageBytes;
      on.up(data as unknown as Connected);
      on.event(event, data);
    }
  };

  const send = (event: string, data: object, id?: number) => {
    try {
      if (!isOver) socket?.send(JSON.stringify({ event, data, id }));
    } catch (error) {
      log('warn', 'not written', error);
    }
  };

  // What is not a token in the sense of HTTP cannot be a subprotocol: it would throw.
  if (!/^[\w.-]+$/.test(token)) after(0, () => fail(4401, 'malformed_token'));
  else {
    try {
      socket = new WebSocket(url, ['orderhub.v1', `orderhub.jwt.${token}`]);
      socket.onmessage = (message: { data: unknown }) => hear(message.data);
      socket.onerror = (error: { message?: unknown }) => (trouble = String(error?.message ?? ''));
      socket.onclose = ({ code, reason }: { code?: number; reason?: string }) =>
        // Clients other than browsers see the answer of a proxy, or of a hub behind one.
        /\b401\b/.test(trouble)
          ? fail(4401, 'unauthenticated')
          : fail(code ?? 1006, reason || trouble || 'unreachable');
    } catch (error) {
      after(0, () => fail(1006, String(error)));
    }
  }

  const ask = (event: string, data: object, answered: (reply: Reply) => void) => {
    const id = nextId++;
    const settle = (reply: Reply) => {
      slow();
      waiting.delete(id);
      answered(reply);
    };
    const slow = after(ANSWER_WITHIN_MS, () => settle(refusal('timeout', 'no answer')));
    waiting.set(id, settle);
    if (isOver) settle(refusal(LOST, 'the connection was lost'));
    send(event, data, id);
  };

  return {
    ask,
    call: (event, data) => new Promise((resolve) => ask(event, data, resolve)),
    send,
    maxMessageBytes: () => maxMessageBytes,
    close: () => finish(),
  };
}
