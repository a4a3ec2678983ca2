// The move from polling to WebSocket, in the middle of everything.

import assert from 'node:assert/strict';
import { after } from 'node:test';

import { once } from './support/deadline.mjs';
import { OLDEST, UPGRADING, connect, device, forEach } from './support/devices.mjs';
import { newOrder, startHub } from './support/hub.mjs';
import { connectPlain } from './support/plain.mjs';
import { token } from './support/tokens.mjs';

const hub = await startHub({ after }, { CHAT_PER_SECOND: 0, EVENTS_PER_SECOND: 0 });

const BOTH = [UPGRADING, { ...OLDEST, name: '4.0, upgrading', options: {} }];

forEach(BOTH, 'begins with polling and upgrades', async (t, client) => {
  const ann = device(t, `${hub.url}/events`, client, { auth: { token: token('ann') } });
  assert.equal(ann.transport, 'polling');
  const [transport] = await once(ann.socket.io.engine, 'upgrade');
  assert.equal(transport.name, 'websocket');
  assert.equal((await ann.call('ping', {})).ok, true);
  assert.equal(ann.transport, 'websocket');
});

forEach(BOTH, 'nothing is lost, doubled or out of order while it upgrades', async (t, client) => {
  const order = newOrder();
  const driver = await connectPlain(t, hub, 'driver-1', { role: 'driver', orders: [order] });
  await driver.call('order:join', { orderId: order });
  const auth = { token: token('ann', { orders: [order] }) };
  const ann = device(t, `${hub.url}/events`, client, { auth });
  const upgraded = once(ann.socket.io.engine, 'upgrade');
  await ann.join(order);
  const acks = [];
  for (let n = 1; n <= 40; n++) {
    acks.push(ann.chat(order, `ann ${n}`));
    await driver.call('chat:message', { orderId: order, content: `driver ${n}` });
  }
  await upgraded;
  for (const { ok } of await Promise.all(acks)) assert.equal(ok, true);
  await driver.call('chat:message', { orderId: order, content: 'last' });
  for (const listener of [ann, driver]) {
    await listener.take('chat:message', ({ content }) => content === 'last');
    const heard = listener.inbox.of('chat:message');
    assert.deepEqual(heard.map(({ seq }) => seq), Array.from({ length: 80 }, (_, index) => index + 1));
    const own = heard.map(({ content }) => content).filter((content) => content.startsWith('ann'));
    assert.deepEqual(own, Array.from({ length: 40 }, (_, index) => `ann ${index + 1}`));
  }
  assert.deepEqual(ann.life.events(), ['connect']);
});

forEach(BOTH, 'many upgrade at once', async (t, client) => {
  const order = newOrder();
  const all = Array.from({ length: 20 }, async (_, index) => {
    const each = await connect(t, hub, client, `user-${index}`, { orders: [order] });
    assert.equal((await each.join(order)).ok, true);
    if (each.transport !== 'websocket') await once(each.socket.io.engine, 'upgrade');
    return each;
  });
  const devices = await Promise.all(all);
  await devices[0].chat(order, 'everybody');
  for (const each of devices) assert.equal((await each.take('chat:message')).content, 'everybody');
});
