// Who takes part in the order, and how each of them connects. The tokens are those of the hub's
// /demo; in an app they are your back end's.

import { OrderHub, StopError } from '@orderhub/client';

export type Part = 'driver' | 'customer' | 'support';

export interface Person {
  part: Part;
  userId: string;
  name: string;
  title: string;
}

export const query = new URLSearchParams(location.search);

export const orderId = query.get('order') ?? 'demo-1';

const person = (part: Part, name: string, title: string): Person => ({ part, userId: `${orderId}-${part}`, name, title });

export const people = [
  person('driver', 'Dan', 'Driver'),
  person('customer', 'Cleo', 'Customer'),
  person('support', 'Sam', 'Support'),
];

const personOf = (userId: string) => people.find((one) => one.userId === userId);

export const nameOf = (userId: string) => personOf(userId)?.name ?? userId;

export const partOf = (userId: string) => personOf(userId)?.part;

const hubUrl: string = import.meta.env.VITE_HUB ?? (import.meta.env.MODE === 'demo' ? location.origin : 'http://127.0.0.1:8080');

async function ask(path: string, about: Record<string, string>): Promise<Record<string, string>> {
  const response = await fetch(`${hubUrl}/demo/${path}?${new URLSearchParams(about)}`, { method: 'POST' });
  const answer = await response.json();
  if (response.ok) return answer;
  const refused = response.status >= 400 && response.status < 500 && response.status !== 429;
  throw new (refused ? StopError : Error)(answer.detail);
}

/** A connection of this person. */
export const hubOf = ({ part }: Person) =>
  new OrderHub({ url: hubUrl, getToken: async () => (await ask('token', { order: orderId, as: part })).token ?? null });

/** What the shop's back end does when an order gets on. */
export const setStatus = (status: string) => ask('status', { order: orderId, status });
