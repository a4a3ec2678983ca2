// Typed calls of the HTTP API: compiled against the types that openapi-typescript makes of
// /openapi.json, then made. The last word on stdout is how many.

import { deepStrictEqual as same } from 'node:assert';

import createClient from 'openapi-fetch';

import type { components, paths } from './hub.js';

const headers = { Authorization: `Bearer ${process.env.KEY}` };
const hub = createClient<paths>({ baseUrl: process.env.HUB, headers });

type Data = components['schemas']['EventForm']['data'];
const object: Data = { eta: '12:30', stops: [1, { name: 'A' }] };
const list: Data = ['a', { b: 1 }];
// @ts-expect-error: a text is no data.
const text: Data = 'a';

/** What a call has brought, where that is no problem. */
function good<T>({ data, error }: { data?: T; error?: unknown }): T {
  same(error, undefined);
  if (data === undefined) throw new Error(`no data for ${text}`);
  return data;
}

const orders = [{ orderId: 'ts-1', status: 'NEW' }, { orderId: 'ts-2', status: 'bad' }];
const results = good(await hub.POST('/api/v1/orders:batch', { body: orders }));
same(results.map(({ line, ok }) => [line, ok]), [[1, true], [2, false]]);
same(results[1]?.error?.field, 'status');

const order = { path: { order: 'ts-1' } };
const status = good(await hub.POST('/api/v1/orders/{order}/status', { params: order, body: { status: 'READY', data: object } }));
same(status.status, 'READY');
const told = { event: 'kitchen:ready', data: list };
same(good(await hub.POST('/api/v1/orders/{order}/events', { params: order, body: told })).delivered, 0);
const user = { path: { user: 'customer-1' } };
same(good(await hub.POST('/api/v1/users/{user}/events', { params: user, body: { ...told, data: object } })).delivered, 0);
same(good(await hub.POST('/api/v1/users:events', { body: { ...told, userIds: ['customer-1', 7] } })).delivered, 0);
const posted = await hub.POST('/api/v1/orders/{order}/locations', { params: order, body: [{ lat: 45.2735, lng: 13.7142 }] });
same(good(posted).accepted, 0);
const listed = good(await hub.GET('/api/v1/orders', { params: { query: { status: 'READY' } } }));
same(listed.orders.map(({ orderId }) => orderId), ['ts-1']);
const refused = await hub.GET('/api/v1/orders/{order}', { params: { path: { order: 'none' } } });
same(refused.error?.code, 'not_found');

console.log('typed calls:', 8);
