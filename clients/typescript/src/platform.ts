// What the kit uses of its platform. React Native, browsers and Node share no types for it, so they
// stand here.

/** The part of a WebSocket that is used. */
export interface Socket {
  onopen: unknown;
  onmessage: unknown;
  onerror: unknown;
  onclose: unknown;
  send(text: string): void;
  close(code?: number): void;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;

/** Where texts are kept, such as `localStorage` or AsyncStorage. */
export interface Storage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

/** The Web Locks of a browser. */
interface Locks {
  request<T>(
    name: string,
    options: { ifAvailable?: boolean },
    run: (lock: unknown) => T | Promise<T>,
  ): Promise<T>;
}

interface Target {
  addEventListener(event: string, listener: () => void): void;
  removeEventListener(event: string, listener: () => void): void;
}

interface Platform extends Partial<Target> {
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  WebSocket?: SocketClass;
  document?: Target & { visibilityState: string };
  localStorage?: Storage;
  navigator?: { locks?: Locks };
  AbortController?: new () => { abort(): void; signal: unknown };
  fetch(url: string, request: object): Promise<{ status: number; headers: { get(name: string): string | null } }>;
}

export const platform = globalThis as unknown as Platform;

/** The longest time that a timer of JavaScript can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Runs something later; the result calls it off. */
export function after(ms: number, run: () => void): () => void {
  const timer = platform.setTimeout(run, Math.min(ms, MAX_TIMER_MS));
  return () => platform.clearTimeout(timer);
}

/** A number of milliseconds that came from outside, if it is one. */
export const duration = (value: unknown): number | undefined =>
  typeof value === 'number' && value >= 0 ? value : undefined;

let keys = 0;

/** A key that no other message of this user has, on whichever device. */
export const newKey = (): string =>
  [Date.now(), Math.random(), keys++].map((part) => part.toString(36).slice(-11)).join('-');
