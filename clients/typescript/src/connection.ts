// The connection: keeps one link to the hub for as long as the app wants it, whatever happens to
// networks, tokens and the phone. It opens links and asks for tokens; what an end means stands in
// `decisions`.

import { backOff, isTerminal } from './decisions.js';
import type { LifecycleChange } from './lifecycle.js';
import type { End, Link, LinkEvents } from './link.js';
import { LOST } from './errors.js';
import { after, duration } from './platform.js';
import type { TokenReason } from './tokens.js';
import type { Connected } from './wire.js';

/** How long an answer may take when the app comes back or the network has changed. */
const PROBE_MS = 1_500;
/** So long online, and the next failure counts as the first. */
const CALM_MS = 10_000;
/** So many tokens refused in a row: the first may be an old one, the others were fresh. */
const MAX_REFUSED = 3;
/** The pause before a token is refreshed again, where nothing else is said. */
const REFRESH_AGAIN_MS = 5_000;
const PING_INTERVAL_MS = 25_000;

export type Status = 'idle' | 'connecting' | 'online' | 'waiting' | 'paused' | 'ended';

/** All that a screen may say about the connection. Times are milliseconds since 1970. */
export interface ConnectionState {
  /**
   * `idle`: not asked for. `waiting`: for the next attempt, at `retryAt`. `paused`: the app is in
   * the background. `ended`: the hub or `getToken` has said stop; only `connect()` tries again.
   */
  status: Status;
  /** Since when it is so. */
  since: number;
  /** Since when there is no connection; absent while there is one, or none is wanted. */
  offlineSince?: number;
  /** When the next attempt begins. */
  retryAt?: number;
  /** The close code, where the hub has given one. */
  code?: number;
  /** Why it waits or has ended, in a word, or in the words of an admin. */
  reason?: string;
}

export interface ConnectionEvents {
  changed(): void;
  /** A new session begins, and this is who the user is. */
  begins(connected: Connected): void;
  /** All rooms have to be joined again. */
  up(): void;
  /** Events may be written again. */
  ready(): void;
  event(name: string, data: unknown): void;
  /** A new token counts: what was refused may be allowed now. */
  refreshed(): void;
}

export interface Connection {
  state(): ConnectionState;
  /** The link, while it is believed to be alive. */
  link(): Link | undefined;
  connect(): void;
  close(): void;
  lifecycle(change: LifecycleChange): void;
  /** Stays connected in the background until the result is called. */
  hold(): () => void;
}

interface Attempt {
  at: number;
  link?: Link;
}

export function connection(
  open: (token: string, on: LinkEvents) => Link,
  getToken: (reason: TokenReason) => Promise<string | null>,
  on: ConnectionEvents,
): Connection {
  let state: ConnectionState = { status: 'idle', since: Date.now() };
  // The one that is in use; beside it there may be an attempt that replaces it.
  let live: Link | undefined;
  let attempt: Attempt | undefined;
  let failures = 0;
  let refused = 0;
  let isFront = true;
  let holds = 0;
  // The hub has said when to come back: nothing makes that earlier.
  let isTold = false;
  let stopRetry = () => {};
  let stopPings = () => {};
  let stopCalm = () => {};

  const set = (status: Status, more?: Partial<ConnectionState>) => {
    const since = Date.now();
    const offline = status === 'online' || status === 'idle' ? undefined : (state.offlineSince ?? since);
    state = { status, since, ...(offline && { offlineSince: offline }), ...more };
    on.changed();
  };

  const dropAttempt = () => {
    stopRetry();
    attempt?.link?.close();
    attempt = undefined;
    isTold = false;
  };

  const dropLive = () => {
    stopPings();
    stopCalm();
    live?.close();
    live = undefined;
  };

  const rest = (status: Status, more?: Partial<ConnectionState>) => {
    dropAttempt();
    dropLive();
    set(status, more);
  };

  const wait = (reason: string, code?: number, told?: number) => {
    const ms = told ?? backOff(failures++, Math.random());
    dropAttempt();
    isTold = told !== undefined;
    stopRetry = after(ms, begin);
    set('waiting', { retryAt: Date.now() + ms, reason, ...(code && { code }) });
  };

  /** What `getToken` has thrown: the app's word, or the network's. */
  const noToken = (error: unknown, again: () => void) =>
    (error as Error | undefined)?.name === 'StopError'
      ? rest('ended', { reason: (error as Error).message || 'stopped' })
      : again();

  const onEnd = (end: End) => {
    const { code, reason } = end;
    if (isTerminal(end)) rest('ended', { code, reason });
    else if (code === 4401 && ++refused >= MAX_REFUSED) rest('ended', { code, reason });
    else wait(reason, code, end.reconnectAfterMs);
  };

  /** Asks for an answer; one that is late opens another link beside this one. */
  const ask = (withinMs: number) => {
    const link = live;
    if (!link) return;
    const late = after(withinMs, () => {
      if (live === link && state.status === 'online') begin();
    });
    void link.call('ping', {}).then(({ error }) => {
      late();
      // What came before the ping says nothing: it may have waited in the phone since before a sleep.
      if (live !== link || state.status === 'online' || /^(lost|timeout)$/.test(error?.code ?? '')) return;
      dropAttempt();
      set('online');
      on.ready();
    });
  };

  const pings = (ms: number) => {
    stopPings = after(ms, () => {
      pings(ms);
      ask(ms / 2);
    });
  };

  const refresh = (link: Link, reason: TokenReason) => {
    const again = (ms = REFRESH_AGAIN_MS) => after(ms, () => live === link && refresh(link, reason));
    getToken(reason).then(
      async (token) => {
        if (live !== link) return;
        if (!token) return rest('ended', { reason: 'no_token' });
        const { ok, error } = await link.call('auth:refresh', { token });
        const code = error?.code ?? '';
        if (live !== link || code === LOST) return;
        if (ok) {
          refused = 0;
          on.refreshed();
        } else if (code === 'forbidden') {
          // Another user's: it is a session of its own.
          dropLive();
          begin();
        } else if (/^(unauthenticated|token_expired)$/.test(code)) {
          if (++refused < MAX_REFUSED) refresh(link, 'refused');
          else rest('ended', { code: 4401, reason: code });
        } else again(duration(error?.retryAfterMs));
      },
      (error) => live === link && noToken(error, again),
    );
  };

  const adopt = (link: Link, { pingIntervalMs }: Connected) => {
    dropAttempt();
    dropLive();
    live = link;
    stopCalm = after(CALM_MS, () => (failures = refused = 0));
    pings(duration(pingIntervalMs) || PING_INTERVAL_MS);
    set('online');
  };

  const start = (mine: Attempt, token: string) => {
    const link = open(token, {
      up(connected) {
        delete mine.link;
        on.begins(connected);
        adopt(link, connected);
        on.up();
      },
      event(name, data) {
        on.event(name, data);
        if (name === 'auth:expiring') refresh(link, 'expiring');
      },
      end(end) {
        if (attempt === mine) return onEnd(end);
        if (live !== link) return;
        // One that was given up already has an attempt beside it, which decides.
        const isUsed = state.status === 'online';
        dropLive();
        if (isUsed) onEnd(end);
      },
    });
    mine.link = link;
  };

  /** Opens a link, beside the live one if there is one. */
  function begin() {
    dropAttempt();
    const mine: Attempt = { at: Date.now() };
    attempt = mine;
    set('connecting');
    getToken(refused ? 'refused' : 'connect').then(
      (token) => {
        if (attempt !== mine) return;
        if (token) start(mine, token);
        else rest('ended', { reason: 'no_token' });
      },
      (error) => attempt === mine && noToken(error, () => wait('token_unavailable')),
    );
  }

  const wake = () => {
    const { status } = state;
    if (status === 'online') ask(PROBE_MS);
    else if (status === 'paused' || (status === 'waiting' && !isTold)) begin();
    // One that was under way when the phone fell asleep may never come to an end.
    else if (attempt && Math.abs(Date.now() - attempt.at) > PROBE_MS) begin();
  };

  const isRunning = () => state.status !== 'idle' && state.status !== 'ended';
  const rested = () => {
    if (!isFront && !holds && isRunning()) rest('paused');
  };

  return {
    state: () => state,
    link: () => (state.status === 'online' ? live : undefined),
    connect() {
      if (isRunning()) return wake();
      failures = refused = 0;
      begin();
    },
    close: () => rest('idle'),
    lifecycle(change) {
      if (change === 'active' || change === 'background') isFront = change === 'active';
      if (change === 'background') rested();
      if (isRunning() && (change === 'active' || (change === 'network' && state.status !== 'paused'))) wake();
    },
    hold() {
      let isHeld = true;
      holds++;
      if (state.status === 'paused') begin();
      return () => {
        if (isHeld) holds--;
        isHeld = false;
        rested();
      };
    },
  };
}
