// A thousand times connect and at once join: no join is lost.

import assert from 'node:assert/strict';
import { after } from 'node:test';

import { CLIENTS, Device, forEach } from './support/devices.mjs';
import { within } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { token } from './support/tokens.mjs';

const TIMES = 1_000;
const AT_ONCE = 10;

/** All of it is one user's, who is no flood here. */
const hub = await startHub({ after }, { EVENTS_PER_SECOND: 0, LOGINS_PER_SECOND: 0 });

/** Connects, joins before and when it is connected, and goes when both have been answered. */
async function visit(client, auth, orderId) {
  const options = { ...client.options, auth, forceNew: true, reconnection: false };
  const device = new Device(client.io(`${hub.url}/events`, options));
  const early = device.join(orderId);
  const late = within(
    new Promise((resolve) => device.socket.on('connect', () => resolve(device.join(orderId)))),
    () => `connected, but ${device.life.events()}`,
  );
  const answers = await Promise.all([early, late]);
  device.close();
  return answers.every(({ ok, orderId: joined }) => ok && joined === orderId);
}

forEach(CLIENTS, 'connects and at once joins, a thousand times', async (t, client) => {
  const order = newOrder();
  const auth = { token: token('ann', { orders: [order] }) };
  let begun = 0;
  let joined = 0;
  const worker = async () => {
    while (begun < TIMES) {
      begun += 1;
      if (await visit(client, auth, order)) joined += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  assert.equal(joined, TIMES);
});
