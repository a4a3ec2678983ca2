// Healthy clients in the room of somebody who misbehaves: they must notice nothing.

import assert from 'node:assert/strict';

import { APP, connect } from './devices.mjs';
import { newOrder } from './hub.mjs';
import { connectPlain } from './plain.mjs';

export class Neighbours {
  #said = 0;

  constructor(order, driver, ann) {
    Object.assign(this, { order, driver, ann });
  }

  /** Fails where one of them heard anything since it joined, or is not there any more. */
  async noticedNothing() {
    const content = `still here ${++this.#said}`;
    // What a neighbour had heard before stands before this in the order of the room.
    const { ok } = await this.driver.chat(this.order, content);
    assert.equal(ok, true);
    for (const neighbour of [this.driver, this.ann]) {
      await neighbour.take('chat:message', (message) => message.content === content);
      assert.deepEqual(neighbour.inbox.all(), []);
      assert.equal(neighbour.connected, true);
    }
    assert.deepEqual(this.driver.life.events(), []);
  }
}

/** A driver with a stock client and Ann with a plain one, in the room of a new order. */
export async function neighbours(t, hub) {
  const order = newOrder();
  const ann = await connectPlain(t, hub, 'ann', { orders: [order] });
  await ann.call('order:join', { orderId: order });
  const driver = await connect(t, hub, APP, 'driver-1', { role: 'driver', orders: [order] });
  await driver.join(order);
  await ann.take('presence:joined');
  return new Neighbours(order, driver, ann);
}
