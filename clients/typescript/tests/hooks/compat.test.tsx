// @vitest-environment jsdom
// The hook of an app that has moved from Socket.IO: its two screens, as they were written.

import { act, cleanup, render, screen } from '@testing-library/react';
import { StrictMode, useEffect, useState } from 'react';
import { afterEach, expect, test } from 'vitest';
import { SocketService, useSocketService } from '../../src/compat.js';
import { pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();
afterEach(cleanup);

const after = (ms: number) => act(async () => void (await pass(ms)));

test('a tracking screen and a chat screen that share a service', async () => {
  const { hub, server } = setup();
  const service = new SocketService(hub);

  const Tracking = () => {
    const { joinOrderRoom, leaveOrderRoom, isConnected } = useSocketService(service);
    const [position, setPosition] = useState('');
    useEffect(() => {
      if (!isConnected) return undefined;
      joinOrderRoom('o1');
      const unsubscribe = service.on('location:updated', ({ lat, lng }: { lat: number; lng: number }) =>
        setPosition(`${lat},${lng}`),
      );
      return () => {
        unsubscribe();
        leaveOrderRoom('o1');
      };
    }, [isConnected]);
    return <p>{position}</p>;
  };

  const Chat = () => {
    const { sendMessage, joinOrderRoom, leaveOrderRoom } = useSocketService(service);
    const [messages, setMessages] = useState<string[]>([]);
    useEffect(() => {
      joinOrderRoom('o1');
      const unsubscribe = service.on('chat:message', ({ content }: { content: string }) =>
        setMessages((before) => [...before, content]),
      );
      return () => {
        unsubscribe();
        leaveOrderRoom('o1');
      };
    }, []);
    return <button onClick={() => sendMessage('o1', [{ text: 'hello' }])}>{messages.join()}</button>;
  };

  const { rerender, unmount } = render(<Tracking />, { wrapper: StrictMode });
  await after(50);
  await after(50); // React 18 draws at the end of an act, and joins then.
  server.broadcast('o1', 'location:updated', { orderId: 'o1', lat: 1, lng: 2, driverId: 'd', timestamp: '' });
  await after(20);
  expect(screen.getByRole('paragraph').textContent).toBe('1,2');

  rerender(<Chat />);
  await after(50);
  server.cut();
  screen.getByRole('button').click();
  server.say('o1', 'ben', 'missed');
  await after(1_000);
  expect(screen.getByRole('button').textContent?.split(',').sort()).toEqual(['hello', 'missed']);
  expect(server.up).toHaveLength(1);

  unmount();
  await pass(100);
  expect(server.up).toHaveLength(0);
});
