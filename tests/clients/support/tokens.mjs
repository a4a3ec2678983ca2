// Tokens as a back end makes them: JWTs with HS256.

import { createHmac } from 'node:crypto';

/** The secret of every hub under test. */
export const SECRET = 'secret-for-tests-only-0123456789abcdef';

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token with exactly these claims. */
export function sign(claims, secret = SECRET) {
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

/** A user's token for these orders; for an hour, where nothing else is said. */
export function token(user, { role = 'customer', orders = [], secs = 3600, secret, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000);
  return sign({ id: user, name: `Name of ${user}`, role, orders, exp: now + secs, ...claims }, secret);
}

/** An admin's. */
export const admin = (secret) => token('admin-1', { role: 'admin', secret });

/** Bytes that look like a token and are none. */
export const FORGED = sign({ id: 'mallory', exp: 4_000_000_000 }, 'another-secret-0123456789abcdef012345');
