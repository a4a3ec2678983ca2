// Payloads with binary attachments: no event takes them, and the connection stays.

import assert from 'node:assert/strict';
import { after } from 'node:test';

import { CLIENTS, connect, forEach } from './support/devices.mjs';
import { newOrder, startHub } from './support/hub.mjs';

const hub = await startHub({ after });

forEach(CLIENTS, 'a payload with a binary attachment is refused', async (t, client) => {
  const order = newOrder();
  const ann = await connect(t, hub, client, 'ann', { orders: [order] });
  const bob = await connect(t, hub, client, 'bob', { orders: [order] });
  for (const device of [ann, bob]) await device.join(order);
  const picture = Buffer.from([0xff, 0xd8, 0xff, 0xe0]);
  const refused = [
    { orderId: order, content: picture, type: 'IMAGE' },
    { orderId: order, content: 'see', picture },
    picture,
  ];
  for (const data of refused) {
    const { ok, error } = await ann.call('chat:message', data);
    assert.deepEqual([ok, error.code], [false, 'invalid_payload']);
  }
  ann.emit('chat:message', { orderId: order, content: picture });
  assert.equal((await ann.take('exception')).code, 'invalid_payload');
  const ten = Array.from({ length: 10 }, () => picture);
  assert.equal((await ann.call('chat:message', { orderId: order, ten })).error.code, 'invalid_payload');

  // The connection stays, and what follows a refused attachment is read as ever.
  assert.equal((await ann.chat(order, 'in words, then')).ok, true);
  assert.equal((await bob.take('chat:message')).content, 'in words, then');
  assert.deepEqual(bob.inbox.of('chat:message'), []);
  assert.deepEqual(ann.life.events(), []);
});
