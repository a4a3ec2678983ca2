// The service of an app that has moved from Socket.IO, as its screens call it.

import { describe, expect, test } from 'vitest';
import type { ChatMessage } from '../../src/index.js';
import { SocketService } from '../../src/compat.js';
import { pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

const started = () => {
  const made = setup();
  return { ...made, service: new SocketService(made.hub) };
};

const heard = (service: SocketService, event = 'chat:message') => {
  const contents: string[] = [];
  const off = service.on(event, ({ content }: ChatMessage) => contents.push(content));
  return { contents, off };
};

describe('messages', () => {
  test('come once and in order, also those of an outage, and none from before the join', async () => {
    const { service, server } = started();
    server.say('o1', 'ben', 'before');
    const { contents, off } = heard(service);
    service.joinOrderRoom('o1');
    service.connect();
    await pass(50);
    server.say('o1', 'ben', 'one');
    await pass(10);
    server.cut();
    for (let n = 2; n < 300; n++) server.say('o1', 'ben', `${n}`);
    await pass(1_000);
    server.say('o1', 'ben', 'last');
    await pass(10);
    expect(contents).toEqual(['one', ...Array.from({ length: 298 }, (_, n) => `${n + 2}`), 'last']);
    off();
    server.say('o1', 'ben', 'not heard');
    await pass(10);
    expect(contents.slice(-1)).toEqual(['last']);
  });

  test('of the user come once too, whichever is first, ack or event', async () => {
    const { service, server } = started();
    const { contents } = heard(service);
    service.joinOrderRoom('o1');
    service.connect();
    await pass(50);
    service.sendMessage('o1', 'mine');
    server.say('o1', 'ben', 'theirs');
    await pass(50);
    expect(contents.sort()).toEqual(['mine', 'theirs']);
  });

  test('a list of a chat component is taken', async () => {
    const { service, server } = started();
    service.connect();
    service.sendMessage('o1', [{ text: 'a' }, { text: 'b' }]);
    await pass(100);
    expect(server.order('o1').messages.map(({ content }) => content)).toEqual(['a', 'b']);
  });
});

describe('rooms and positions', () => {
  test('two screens join and leave; the last leave leaves', async () => {
    const { service, server } = started();
    service.connect();
    service.joinOrderRoom('o1');
    service.joinOrderRoom('o1');
    await pass(50);
    service.leaveOrderRoom('o1');
    await pass(50);
    expect(server.last.joined.has('o1')).toBe(true);
    service.leaveOrderRoom('o1');
    service.leaveOrderRoom('o1');
    await pass(50);
    expect(server.last.joined.has('o1')).toBe(false);
  });

  test('positions are heard and sent', async () => {
    const { service, server } = started();
    const positions: number[] = [];
    service.on('location:updated', ({ lat }: { lat: number }) => positions.push(lat));
    service.connect();
    service.joinOrderRoom('o1');
    await pass(50);
    server.broadcast('o1', 'location:updated', { orderId: 'o1', lat: 7, lng: 8, driverId: 'd', timestamp: '' });
    service.emitDriverLocation('o1', 1, 2);
    await pass(50);
    expect(positions).toEqual([7]);
    expect(server.heard('driver:location')[0]!.data).toMatchObject({ lat: 1, lng: 2, orderIds: ['o1'] });
  });

  test('the last user of the service disconnects, a tick later', async () => {
    const { service, server } = started();
    const first = service.use();
    await pass(50);
    first();
    const second = service.use();
    await pass(50);
    expect(server.sockets).toHaveLength(1);
    expect(service.isConnected()).toBe(true);
    second();
    await pass(50);
    expect(service.isConnected()).toBe(false);
  });
});
