// Ends that are final: removed by an admin, replaced, broken. The stock client then stays away.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import { APP, CLIENTS, connect, device, forEach } from './support/devices.mjs';
import { until } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';

const hub = await startHub({ after });

/** Ended by a DISCONNECT: the client will not come back by itself, and its connection goes. */
async function staysAway(device) {
  assert.equal(await device.life.take('disconnect'), 'io server disconnect');
  const { io } = device.socket;
  if (io._readyState !== 'closed') await new Promise((resolve) => io.once('close', resolve));
  assert.equal(io._reconnecting ?? false, false);
  assert.equal(device.connected, false);
  assert.deepEqual(device.life.events(), []);
}

forEach(CLIENTS, 'removed by an admin: told so, and stays away', async (t, client) => {
  const user = `ann-${newOrder()}`;
  const ann = await connect(t, hub, client, user, {});
  const plain = await connectPlain(t, hub, user, {});
  const bystander = await connect(t, hub, client, 'bob', {});
  const { status, body } = await hub.admin('DELETE', `/admin/v1/users/${user}/sessions?reason=abuse`);
  assert.deepEqual([status, body], [200, { closed: 2 }]);
  const told = await ann.take('session:end');
  assert.deepEqual([told.code, told.retry], [4403, false]);
  assert.deepEqual(await plain.take('session:end'), told);
  await staysAway(ann);
  assert.equal((await plain.closed).code, 4403);
  // Who tries all the same is not let in.
  ann.socket.connect();
  const error = await ann.life.take('connect_error');
  assert.ok(error instanceof Error);
  assert.equal((await bystander.call('ping', {})).ok, true);
  assert.deepEqual(bystander.life.events(), []);
});

forEach(CLIENTS, 'removed from a room: out of that room alone', async (t, client) => {
  const orders = [newOrder(), newOrder()];
  const ann = await connect(t, hub, client, 'ann', { orders });
  const driver = await connect(t, hub, client, 'driver-1', { role: 'driver', orders });
  for (const order of orders) {
    await ann.join(order);
    await driver.join(order);
    await ann.take('presence:joined');
  }
  const { body } = await hub.admin('DELETE', `/admin/v1/rooms/${orders[0]}/members/ann`);
  assert.deepEqual(body, { removed: true });
  assert.deepEqual(await ann.take('order:left'), { orderId: orders[0], reason: 'removed' });
  assert.equal((await driver.take('presence:left')).userId, 'ann');
  for (const order of orders) await driver.chat(order, 'who is there');
  assert.equal((await ann.take('chat:message')).orderId, orders[1]);
  assert.deepEqual(ann.inbox.events(), []);
  assert.equal((await ann.join(orders[0])).error.code, 'forbidden');
});

forEach(CLIENTS, 'the oldest of too many connections is replaced, and stays away', async (t, client) => {
  const narrow = await startHub(t, { MAX_CONNECTIONS_PER_USER: 1 });
  const first = await connect(t, narrow, client, 'ann', {});
  const second = await connect(t, narrow, client, 'ann', {});
  const { code, retry } = await first.take('session:end');
  assert.deepEqual([code, retry], [4409, false]);
  await staysAway(first);
  assert.equal((await second.call('ping', {})).ok, true);
  assert.deepEqual(second.life.events(), []);
});

test('ten events without a name: broken, and stays away', async (t) => {
  const ann = await connect(t, hub, APP, 'ann', {});
  for (let bad = 1; bad <= 10; bad++) {
    ann.emit(bad);
    if (bad < 10) assert.equal((await ann.take('exception')).code, 'bad_envelope');
  }
  const { code, retry } = await ann.take('session:end');
  assert.deepEqual([code, retry], [4000, false]);
  await staysAway(ann);
});

forEach(CLIENTS, 'who leaves is gone at once', async (t, client) => {
  const narrow = await startHub(t);
  const ann = await connect(t, narrow, client, 'ann', {});
  assert.equal(await narrow.connections(), 1);
  ann.close();
  assert.equal(await ann.life.take('disconnect'), 'io client disconnect');
  await until(async () => (await narrow.connections()) === 0, 'no connection');
});

test('a ban of the hub is heard at login', async (t) => {
  await hub.admin('DELETE', '/admin/v1/users/eve/sessions?banSecs=60');
  const eve = device(t, `${hub.url}/events`, APP, { auth: { token: token('eve') } });
  const error = await eve.life.take('connect_error');
  assert.ok(error.message.length > 0);
  assert.equal(eve.socket.io._reconnecting ?? false, false);
});
