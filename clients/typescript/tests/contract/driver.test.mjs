// Positions against a real hub: live, after an outage, and as libraries of background geolocation post
// them by themselves.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { driver } from '@orderhub/client/driver';

import { app, call, newOrder, online, open, reaches, startHub, token, until, wireTo } from './support.mjs';

const trail = async (hub, order) => (await call(hub, 'GET', `/orders/${order}/locations`)).locations;

/** An order with a driver, and both of them connected. */
async function delivery(t, more) {
  const hub = await startHub(t, { TRAIL_INTERVAL_SECS: '1' });
  const order = newOrder();
  await call(hub, 'PUT', `/orders/${order}`, {
    status: 'ON_THE_WAY',
    driverId: 'dan',
    participants: [{ userId: 'ana', role: 'customer' }],
  });
  const ana = await app(t, hub, 'ana');
  const wire = await wireTo(t, hub);
  const dan = await app(t, hub, 'dan', { role: 'driver', url: wire.url, ...more });
  return { hub, order, ana, dan, wire };
}

describe('positions', { concurrency: true }, () => {
  test('are seen by the customer', async (t) => {
    const { order, ana, dan } = await delivery(t);
    const room = await open(ana, order);
    driver(dan).report({ lat: 45.2735, lng: 13.7142, speed: 8.3, heading: null });
    await until(() => room.snapshot.location !== null, 'a position');
    const { lat, lng, speed, driverId, stale } = room.snapshot.location;
    assert.deepEqual([lat, lng, speed, driverId, stale], [45.2735, 13.7142, 8.3, 'dan', false]);
    await until(() => driver(dan).lastAccepted?.accepted === 1, 'accepted');
  });

  test('of an outage are in the trail, and the newest is shown', async (t) => {
    const { hub, order, ana, dan, wire } = await delivery(t);
    const room = await open(ana, order);
    const drive = driver(dan, { buffer: true });
    wire.down();
    await reaches(dan, 'waiting');
    const at = Date.now() - 60_000;
    for (let n = 0; n < 20; n++) {
      drive.report({ lat: 45 + n / 1000, lng: 13, recordedAt: new Date(at + n * 2_000).toISOString() }, { orderIds: [order] });
    }
    assert.equal(drive.state.buffered, 20);
    wire.up();
    dan.phone.tell('network');
    await online(dan);
    await until(() => drive.state.buffered === 0, 'posted');
    assert.deepEqual((await trail(hub, order)).map(({ lat }) => lat), Array.from({ length: 20 }, (_, n) => 45 + n / 1000));
    await until(() => room.snapshot.location?.lat === 45.019, 'the newest');
  });

  test('that are refused say why', async (t) => {
    const { dan } = await delivery(t);
    driver(dan).report({ lat: 0, lng: 0 });
    await until(() => driver(dan).state.error !== undefined, 'an error');
    assert.deepEqual([driver(dan).state.error.code, driver(dan).state.error.field], ['invalid_payload', 'lat']);
  });

  // README.md, "A driver's app in the background": what these libraries post by themselves.
  test('as react-native-background-geolocation posts them', async (t) => {
    const { hub, order, dan } = await delivery(t);
    const response = await fetch(`${dan.httpUrl}/api/v1/drivers/me/locations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token('dan', { role: 'driver' })}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        location: [
          {
            uuid: 'u1',
            timestamp: new Date(Date.now() - 5_000).toISOString(),
            coords: { latitude: 45.1, longitude: 13.1, accuracy: 5, speed: 3, heading: -1, altitude: 7 },
            battery: { level: 0.5, is_charging: false },
            extras: { orderId: order },
          },
        ],
      }),
    });
    assert.deepEqual([response.status, await response.json()], [200, { accepted: 1, stale: 0, rejected: [] }]);
    assert.deepEqual((await trail(hub, order)).map(({ lat }) => lat), [45.1]);
  });

  test('as a task of expo-location gets them', async (t) => {
    const { hub, order, dan } = await delivery(t);
    const locations = [1, 2].map((n) => ({
      coords: { latitude: 45 + n, longitude: 13, accuracy: 5, altitude: null, altitudeAccuracy: null, heading: -1, speed: 0 },
      timestamp: Date.now() - 10_000 + n * 3_000,
    }));
    const response = await fetch(`${dan.httpUrl}/api/v1/drivers/me/locations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${await dan.getToken('connect')}`, 'content-type': 'application/json' },
      body: JSON.stringify(locations),
    });
    assert.equal(response.status, 200);
    assert.deepEqual((await trail(hub, order)).map(({ lat }) => lat), [46, 47]);
  });
});
