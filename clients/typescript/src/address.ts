// The hub's addresses, from what an app gives.

export interface Addresses {
  /** Where WebSockets connect. */
  socket: string;
  /** What the paths of the HTTP API follow. */
  http: string;
}

/**
 * Takes `http(s)://` or `ws(s)://`, with or without a path; a `/ws` at its end, a query and a
 * fragment are left out. (React Native's `URL` cannot do this everywhere.)
 */
export function addresses(url: string): Addresses {
  const parts = /^(http|ws)(s?):\/\/([^/?#\s]+)([^?#\s]*)/i.exec(url);
  if (!parts) throw new TypeError(`url: an http(s) or ws(s) address of the hub, not ${url}`);
  const [, , secure = '', host = '', path = ''] = parts;
  const rest = `${secure.toLowerCase()}://${host}${path.replace(/\/+$/, '').replace(/\/ws$/, '')}`;
  return { socket: `ws${rest}/ws`, http: `http${rest}` };
}
