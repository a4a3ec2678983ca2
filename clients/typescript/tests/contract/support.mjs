// What the contract tests share: a real hub, the network between, and apps on the packed kit.
// ORDERHUB_BIN names the hub; the helpers are those of the repository's other client tests.

import ws from 'ws';

import { OrderHub } from '@orderhub/client';

import { PATIENCE_MS } from '../../../../tests/clients/support/deadline.mjs';
import { startHub as launch } from '../../../../tests/clients/support/hub.mjs';
import { token } from '../../../../tests/clients/support/tokens.mjs';

export { newOrder } from '../../../../tests/clients/support/hub.mjs';
export { token } from '../../../../tests/clients/support/tokens.mjs';
export { wireTo } from '../../../../tests/clients/support/wire.mjs';

/** A hub that forgets an empty room at once, so that a test sees whether one is left. */
export const startHub = (t, env, more) =>
  launch(t, { ROOM_IDLE_SECS: '0', PRESENCE_GRACE_SECS: '0', ...env }, more);

/** Asks again and again until the answer is true. */
export async function until(ask, what, ms = PATIENCE_MS) {
  const end = Date.now() + ms;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`${typeof what === 'function' ? what() : what} within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A lifecycle that the test moves. */
export class Phone {
  #active = true;
  #listeners = new Set();
  isActive = () => this.#active;
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  tell(change) {
    if (change !== 'network') this.#active = change === 'active';
    for (const listener of this.#listeners) listener(change);
  }
}

/** An app of a user that connects; gone with the test. */
export function start(t, hub, user, { orders = [], role, url = hub.url, ...options } = {}) {
  const phone = new Phone();
  const kit = new OrderHub({
    url,
    getToken: async () => token(user, { role, orders }),
    lifecycle: phone,
    WebSocket: globalThis.WebSocket ?? ws,
    ...options,
  });
  kit.phone = phone;
  t.after(() => kit.close());
  kit.connect();
  return kit;
}

/** The same, once it is connected. */
export async function app(...args) {
  const kit = start(...args);
  await online(kit);
  return kit;
}

export const online = (kit) => reaches(kit, 'online');

export const reaches = (kit, status) =>
  until(() => kit.state.status === status, () => `the status ${status}, it is ${JSON.stringify(kit.state)}`);

/** Opens an order, and waits until it is joined. */
export async function open(kit, order) {
  const room = kit.room(order);
  await until(() => room.state.status === 'joined', 'joined');
  return room;
}

export const shows = (room, contents) =>
  until(
    () => JSON.stringify(texts(room)) === JSON.stringify(contents),
    () => `expected ${contents}, it shows ${texts(room)}`,
  );

export const texts = (room) => room.messages.map(({ content }) => content);

/** The hub has these connections, and no room. */
export async function nothingIsLeft(hub, connections = 0) {
  let found;
  await until(async () => {
    const { connections: open, rooms } = (await hub.admin('GET', '/admin/v1/stats')).body;
    found = { connections: open.open, rooms };
    return found.connections === connections && rooms === 0;
  }, () => `${connections} connections and no room, there are ${JSON.stringify(found)}`);
}

/** A call of the back end. */
export async function call(hub, method, path, body, bearer = token('shop', { role: 'service' })) {
  const response = await fetch(`${hub.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}
