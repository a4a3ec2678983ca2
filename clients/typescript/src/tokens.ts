// Tokens of the app: one call of `getToken` at a time, with a deadline.

import { after } from './platform.js';

/** Why a token is asked for; after `refused` one from a cache is of no use. */
export type TokenReason = 'connect' | 'expiring' | 'refused';

/** Gives a token; null means that the user is signed out, an error that there is no network. */
export type GetToken = (why: { reason: TokenReason }) => Promise<string | null> | string | null;

/** A request that hangs, as some do after a sleep, must not hold the connection up for ever. */
const TOKEN_WITHIN_MS = 30_000;

export function tokens(getToken: GetToken): (reason: TokenReason) => Promise<string | null> {
  let current: Promise<string | null> | undefined;
  return (reason) => {
    if (current) return current;
    const mine = new Promise<string | null>((resolve, reject) => {
      const late = after(TOKEN_WITHIN_MS, () => reject(new Error('getToken takes too long')));
      new Promise<string | null>((start) => start(getToken({ reason })))
        .then((token) => resolve(token ? token.trim().replace(/^Bearer /i, '') : null), reject)
        .then(late);
    });
    current = mine;
    const done = () => {
      if (current === mine) current = undefined;
    };
    mine.then(done, done);
    return mine;
  };
}
