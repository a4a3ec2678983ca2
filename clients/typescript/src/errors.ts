// Errors that an app may meet or throw.

import type { Failure } from './wire.js';

/** Why a call has failed: the hub's refusal, or one of the kit's own. */
export class OrderHubError extends Error {
  readonly code: string;
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor({ code, message, field, retryAfterMs }: Failure) {
    super(message);
    this.name = 'OrderHubError';
    this.code = code;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Thrown by `getToken` to say that there will be no token any more, for example because the account
 * is closed. Every other error counts as a network that is not there, and is tried again.
 */
export class StopError extends Error {
  override name = 'StopError';
}

/** The connection was lost before the answer came. */
export const LOST = 'lost';

export const failure = (code: string, message: string): Failure => ({ code, message });
