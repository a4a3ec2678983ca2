// What follows from an end or a refusal: decisions without I/O.

import type { End } from './link.js';
import { duration } from './platform.js';
import type { Failure } from './wire.js';

const MAX_BACK_OFF_MS = 30_000;
/** How often a message is tried at which the hub fails. */
const MAX_TRIES = 5;
/** The shortest pause before a message is sent again. */
const MIN_PAUSE_MS = 100;

/** How long to wait before attempt `n`, counted from 0; `random` is 0 to 1. */
export const backOff = (n: number, random: number): number =>
  random * Math.min(MAX_BACK_OFF_MS, 500 * 2 ** n);

/** Whether the client must not come back. Of 4400 to 4499 only 4401 means: with another token. */
export const isTerminal = ({ code, retry }: End): boolean =>
  retry === undefined
    ? code === 4000 || (code >= 4400 && code < 4500 && code !== 4401)
    : !retry;

/**
 * How long a refused message waits before it is sent again, in milliseconds; undefined: it has
 * failed. `tries` counts this one.
 */
export function pauseAfter({ code, retryAfterMs }: Failure, tries: number): number | undefined {
  if (/^(forbidden|order_closed|invalid_payload|conflict|rejected|not_found)$/.test(code)) return;
  if (/^(internal|timeout)$/.test(code)) return tries < MAX_TRIES ? backOff(tries, 1) : undefined;
  const pause = duration(retryAfterMs) ?? (/^(unavailable|rate_limited)$/.test(code) ? 1_000 : undefined);
  return pause === undefined ? pause : Math.max(MIN_PAUSE_MS, pause);
}
