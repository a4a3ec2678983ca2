// A driver's positions: the newest while there is a connection, and, with a buffer, those of an
// outage afterwards, over HTTP and for the trail.

import { LOST, type OrderHub } from './index.js';
import { listeners } from './listeners.js';
import { after, duration, platform } from './platform.js';
import type { Failure } from './wire.js';

/** So many fixes are kept at most, and posted at once; the oldest go first. */
const MAX_FIXES = 1_000;
/** Without a report for so long, the app may rest in the background. */
const REPORTS_MS = 120_000;
const POST_WITHIN_MS = 30_000;
const POST_AGAIN_MS = 30_000;

/** A reading of the phone; what is not known is left out. */
export interface Fix {
  lat: number;
  lng: number;
  /** Metres. */
  accuracy?: number | null;
  /** Degrees. */
  heading?: number | null;
  /** Metres per second. */
  speed?: number | null;
  /** Metres. */
  altitude?: number | null;
  /** 0 to 1. */
  battery?: number | null;
  /** When it was taken; now, where it is missing. */
  recordedAt?: string | number | null;
}

/** A reading as browsers, Expo and React Native's geolocation give it. */
export interface GeoPosition {
  coords: {
    latitude: number;
    longitude: number;
    accuracy?: number | null;
    heading?: number | null;
    speed?: number | null;
    altitude?: number | null;
  };
  timestamp?: number;
}

export interface ReportOptions {
  /** The orders; without them all that the driver has. */
  orderIds?: string[];
}

/** What the hub has made of a position. */
export interface LocationReport {
  fix: Fix;
  /** How many orders have taken it. */
  accepted: number;
  rejected: { orderId: string; code: string }[];
}

export interface DriverState {
  /** The newest that an order has taken. */
  lastAccepted?: LocationReport;
  /** Why the newest was refused, if it was. */
  error?: Failure;
  /** How many wait in the buffer. */
  buffered: number;
}

export interface DriverOptions {
  /**
   * Keeps the fixes of an outage, in memory, and posts them when it is over. Not for apps whose
   * library of background geolocation posts by itself.
   */
  buffer?: boolean;
}

export interface Driver {
  readonly state: DriverState;
  readonly lastAccepted: LocationReport | undefined;
  subscribe(listener: () => void): () => void;
  /** Keeps the app connected in the background, until two minutes after the last one. */
  report(fix: Fix | GeoPosition, options?: ReportOptions): void;
  /** No more reports: the app may rest in the background. */
  stop(): void;
}

type Kept = Fix & ReportOptions;

const toFix = (given: Fix | GeoPosition): Fix => {
  if (!('coords' in given)) return given;
  const { latitude, longitude, accuracy, heading, speed, altitude } = given.coords;
  return { lat: latitude, lng: longitude, accuracy, heading, speed, altitude, recordedAt: given.timestamp };
};

const drivers = new WeakMap<OrderHub, Driver>();

/** The driver of a hub; the options of the first call count. */
export function driver(hub: OrderHub, options: DriverOptions = {}): Driver {
  let made = drivers.get(hub);
  if (!made) drivers.set(hub, (made = makeDriver(hub, options)));
  return made;
}

function makeDriver(hub: OrderHub, { buffer }: DriverOptions): Driver {
  const subscribers = listeners<[]>(hub.log);
  let state: DriverState = { buffered: 0 };
  let newest: Kept | undefined;
  let isSending = false;
  let isPosting = false;
  let kept: Kept[] = [];
  let owner = hub.user?.userId;
  let release: (() => void) | undefined;
  let stopWatch = () => {};

  const set = (more: DriverState) => {
    state = more;
    subscribers.emit();
  };

  const keep = (fixes: Kept[]) => {
    if (!buffer) return;
    kept = fixes.slice(-MAX_FIXES);
    set({ ...state, buffered: kept.length });
  };

  const send = async () => {
    if (isSending || !newest) return;
    const fix = newest;
    newest = undefined;
    isSending = true;
    const reply = await hub.request('driver:location', fix);
    isSending = false;
    const { accepted, rejected } = reply as unknown as LocationReport;
    if (reply.error?.code === LOST) keep([...kept, fix]);
    else if (!reply.ok) set({ ...state, error: reply.error });
    else {
      const lastAccepted = accepted > 0 ? { fix, accepted, rejected: rejected ?? [] } : state.lastAccepted;
      set({ lastAccepted, buffered: state.buffered });
    }
    void send();
  };

  /** Posts a batch; the result says how long to wait with it, undefined that it is done with. */
  const post = async (batch: Kept[], isRefused = false): Promise<number | undefined> => {
    const token = await hub.getToken(isRefused ? 'refused' : 'connect');
    const abort = platform.AbortController && new platform.AbortController();
    const late = after(POST_WITHIN_MS, () => abort?.abort());
    const { status, headers } = await platform
      .fetch(`${hub.httpUrl}/api/v1/drivers/me/locations`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ locations: batch }),
        signal: abort?.signal,
      })
      .finally(late);
    if (status === 401 && !isRefused) return post(batch, true);
    // Another refusal would be the same again.
    return status === 401 || status === 429 || status >= 500
      ? (duration(Number(headers.get('retry-after') ?? NaN)) ?? POST_AGAIN_MS / 1_000) * 1_000
      : undefined;
  };

  const flush = async () => {
    if (isPosting || !kept.length || hub.state.status !== 'online') return;
    isPosting = true;
    const batch = kept;
    const pause = await post(batch).catch(() => POST_AGAIN_MS);
    if (pause === undefined) keep(kept.filter((fix) => !batch.includes(fix)));
    else
      after(pause, () => {
        isPosting = false;
        void flush();
      });
    if (pause === undefined) isPosting = false;
  };

  hub.subscribe(() => {
    const user = hub.user?.userId;
    // Another user's positions are not this one's.
    if (user !== owner && owner !== undefined) keep([]);
    owner = user ?? owner;
    if (/^(idle|ended)$/.test(hub.state.status)) stop();
    void flush();
  });

  const stop = () => {
    stopWatch();
    const free = release;
    release = undefined;
    free?.();
  };

  return {
    get state() {
      return state;
    },
    get lastAccepted() {
      return state.lastAccepted;
    },
    subscribe: subscribers.add,
    stop,
    report(given, { orderIds } = {}) {
      const fix = toFix(given);
      const stamped = { ...fix, recordedAt: fix.recordedAt ?? new Date().toISOString(), ...(orderIds && { orderIds }) };
      release ??= hub.hold();
      stopWatch();
      stopWatch = after(REPORTS_MS, stop);
      if (hub.state.status !== 'online') return keep([...kept, stamped]);
      newest = stamped;
      void send();
    },
  };
}
