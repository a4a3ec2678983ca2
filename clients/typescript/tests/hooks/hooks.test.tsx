// @vitest-environment jsdom
// The hooks, under StrictMode: what screens show, and that they leave nothing behind.

import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import { type ReactNode, StrictMode, useEffect, useState } from 'react';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { RoomSnapshot } from '../../src/index.js';
import {
  type Chat,
  OrderHubProvider,
  OrderProvider,
  useConnectionState,
  useDriverLocation,
  useHubEvent,
  useLocationPublisher,
  useMembers,
  useMessages,
  useOrder,
  useReadMarks,
  useTyping,
  useUnread,
} from '../../src/react.js';
import { FakeHub } from '../support/fake-hub.js';
import { pass, type Setup, setup, useFakeTime } from '../support/setup.js';

useFakeTime();
afterEach(cleanup);

const after = (ms: number) => act(async () => void (await pass(ms)));

/** Renders under StrictMode and a hub, and waits until it is connected. */
async function show(children: ReactNode, made: Setup = setup()) {
  const tree = (content: ReactNode) => (
    <StrictMode>
      <OrderHubProvider hub={made.hub}>{content}</OrderHubProvider>
    </StrictMode>
  );
  const rendered = render(tree(children));
  await after(50);
  return { ...made, ...rendered, update: (content: ReactNode) => rendered.rerender(tree(content)) };
}

const Text = ({ of }: { of: unknown }) => <p>{JSON.stringify(of)}</p>;
const text = () => screen.getByRole('paragraph').textContent;

describe('the provider', () => {
  test('connects once, and closes when it is gone', async () => {
    const { server, hub, unmount } = await show(null);
    expect(hub.state.status).toBe('online');
    expect(server.sockets).toHaveLength(1);
    unmount();
    await pass(50);
    expect(hub.state.status).toBe('idle');
    expect(server.up).toHaveLength(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('of the same hub, moved elsewhere, keeps the connection', async () => {
    const { hub, server } = setup();
    const first = render(<OrderHubProvider hub={hub} />);
    await after(50);
    first.unmount();
    render(<OrderHubProvider hub={hub} />);
    await after(50);
    expect(server.sockets).toHaveLength(1);
    expect(hub.state.status).toBe('online');
  });

  test('a hook without one says so', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const Alone = () => <Text of={useConnectionState().status} />;
    expect(() => render(<Alone />)).toThrow('OrderHubProvider');
  });
});

describe('an order', () => {
  const Screen = ({ orderId }: { orderId?: string }) => {
    const { status, state, driverId, driverName } = useOrder(orderId);
    return <Text of={[state.status, status, driverId, driverName]} />;
  };

  test('is joined once by many hooks under StrictMode, and left with the last of them', async () => {
    const All = () => {
      useMessages();
      useDriverLocation();
      useMembers();
      useTyping();
      useUnread();
      return <Screen />;
    };
    const { server, update } = await show(
      <OrderProvider orderId="o1">
        <All />
        <All />
      </OrderProvider>,
    );
    expect(server.heard('order:join')).toHaveLength(1);
    expect(server.last.joined.get('o1')).toBe(1);
    update(null);
    await after(50);
    expect(server.heard('order:leave')).toHaveLength(1);
    expect(server.last.joined.size).toBe(0);
  });

  test('nothing is joined by a render that is never mounted', async () => {
    const Suspends = (): ReactNode => {
      useOrder('o1');
      throw new Promise(() => {});
    };
    const { Suspense } = await import('react');
    const { server } = await show(
      <Suspense fallback={null}>
        <Suspends />
      </Suspense>,
    );
    await after(100);
    expect(server.heard('order:join')).toHaveLength(0);
  });

  test('a change of screens within a tick joins nothing anew', async () => {
    const { server, update } = await show(<Screen key="one" orderId="o1" />);
    update(<Screen key="two" orderId="o1" />);
    await after(50);
    expect(server.heard('order:join')).toHaveLength(1);
    expect(server.heard('order:leave')).toHaveLength(0);
  });

  test('another `orderId` changes rooms', async () => {
    const { server, update } = await show(<Screen orderId="o1" />);
    update(<Screen orderId="o2" />);
    await after(50);
    expect([...server.last.joined.keys()]).toEqual(['o2']);
  });

  test('shows what happens to it', async () => {
    const { server } = await show(<Screen orderId="o1" />);
    expect(text()).toBe('["joined",null,null,null]');
    await act(async () => {
      server.broadcast('o1', 'order:status', { orderId: 'o1', status: 'READY', previousStatus: null, at: '' });
      server.broadcast('o1', 'order:assigned', { orderId: 'o1', driverId: 'dan', driverName: 'Dan', at: '' });
      await pass(10);
    });
    expect(text()).toBe('["joined","READY","dan","Dan"]');
  });

  test('a thousand mounts and unmounts leave one connection, no room, no listener, no timer', async () => {
    const Many = () => {
      useMessages('o1');
      useDriverLocation('o2');
      useHubEvent('order:eta', () => {});
      return <Screen orderId="o1" />;
    };
    const { server, update, hub, unmount } = await show(null);
    let listening = 0;
    const on = hub.on.bind(hub) as (event: string, listener: () => void) => () => void;
    vi.spyOn(hub, 'on').mockImplementation((event: string, listener: unknown) => {
      listening++;
      const off = on(event, listener as () => void);
      return () => {
        listening--;
        off();
      };
    });
    for (let n = 0; n < 2_000; n++) {
      update(n % 2 ? null : <Many key={n} />);
      if (n % 50 === 0) await after(n % 100);
    }
    update(null);
    await after(50);
    expect(server.up).toHaveLength(1);
    expect(server.last.joined.size).toBe(0);
    expect(hub.find('o1')).toBeUndefined();
    expect(listening).toBe(0);
    unmount();
    await pass(50);
    expect(vi.getTimerCount()).toBe(0);
  }, 120_000);
});

describe('chat', () => {
  const seen: Chat[] = [];
  const Screen = () => {
    const chat = useMessages('o1');
    useEffect(() => void seen.push(chat));
    return (
      <ul>
        {chat.messages.map(({ key, content, status }) => (
          <li key={key}>{`${content} ${status}`}</li>
        ))}
        <button onClick={() => void chat.send('hello')}>send</button>
      </ul>
    );
  };
  const items = () => screen.queryAllByRole('listitem').map(({ textContent }) => textContent);

  test('a message is the same element from pending to sent', async () => {
    const { server } = await show(<Screen />);
    fireEvent.click(screen.getByRole('button'));
    expect(items()).toEqual(['hello pending']);
    const element = screen.getByRole('listitem');
    await after(50);
    expect(items()).toEqual(['hello sent']);
    expect(screen.getByRole('listitem')).toBe(element);
    expect(server.order('o1').messages).toHaveLength(1);
  });

  test('functions are stable over messages and reconnects', async () => {
    seen.length = 0;
    const { server } = await show(<Screen />);
    await act(async () => {
      server.say('o1', 'ben', 'one');
      server.cut();
      await pass(1_000);
    });
    expect(items()).toEqual(['one sent']);
    for (const name of ['send', 'retry', 'discard', 'loadOlder', 'remove'] as const) {
      expect(new Set(seen.map((chat) => chat[name])).size, name).toBe(1);
    }
  });

  test('a failed message can be tried again and taken away, older ones can be read', async () => {
    const server = new FakeHub();
    for (let n = 1; n <= 60; n++) server.say('o1', 'ben', `m${n}`);
    server.answer = (_, { event }) => (event === 'chat:message' ? { code: 'order_closed', message: '' } : undefined);
    seen.length = 0;
    await show(<Screen />, setup({}, server));
    const chat = () => seen[seen.length - 1]!;
    expect(chat().hasMore).toBe(true);
    await act(async () => {
      void chat().loadOlder();
      void chat().send('x');
      await pass(50);
    });
    expect(items()).toHaveLength(61);
    expect(chat().hasMore).toBe(false);
    const failed = chat().messages[60]!;
    expect(failed.error?.code).toBe('order_closed');
    server.answer = () => undefined;
    await act(async () => {
      chat().retry(failed.key);
      await pass(50);
    });
    expect(items()[60]).toBe('x sent');
    act(() => chat().discard('nothing'));
  });

  test('draws nothing anew for a position', async () => {
    seen.length = 0;
    const { server } = await show(<Screen />);
    const before = seen.length;
    await act(async () => {
      server.broadcast('o1', 'location:updated', { orderId: 'o1', lat: 1, lng: 2, driverId: 'd', timestamp: '' });
      await pass(10);
    });
    expect(seen).toHaveLength(before);
  });
});

describe('the rest of an order', () => {
  test('position, members, marks, typing and unread', async () => {
    const actions: { markRead?(): void; setTyping?(on: boolean): void } = {};
    const Screen = () => {
      const location = useDriverLocation();
      const members = useMembers();
      const marks = useReadMarks();
      const { typing, setTyping } = useTyping();
      const { unread, markRead } = useUnread();
      Object.assign(actions, { markRead, setTyping });
      return <Text of={[location && [location.lat, location.stale], members.length, marks['ben'], typing, unread]} />;
    };
    const { server } = await show(
      <OrderProvider orderId="o1">
        <Screen />
      </OrderProvider>,
    );
    await act(async () => {
      const tell = (event: string, data: object) => server.broadcast('o1', event, { orderId: 'o1', ...data });
      server.say('o1', 'ben', 'one');
      tell('location:updated', { lat: 1, lng: 2, driverId: 'd', timestamp: '' });
      tell('presence:joined', { userId: 'ben', name: 'Ben', role: 'driver' });
      tell('chat:typing', { userId: 'ben', typing: true });
      await pass(10);
    });
    expect(text()).toBe('[[1,false],2,1,["ben"],1]');
    await act(async () => {
      actions.markRead?.();
      actions.setTyping?.(true);
      await pass(61_000);
    });
    expect(text()).toBe('[[1,true],2,1,[],0]');
    expect(server.heard('chat:typing')).toHaveLength(1);
  });

  test('the state of the connection, and events of a back end', async () => {
    const Screen = () => {
      const { status, reason } = useConnectionState();
      const [eta, setEta] = useState(0);
      useHubEvent('order:eta', ({ minutes }: { minutes: number }) => setEta(minutes + eta));
      return <Text of={[status, reason ?? '', eta]} />;
    };
    const { server } = await show(<Screen />);
    for (const minutes of [7, 3]) {
      await act(async () => {
        server.last.tell('order:eta', { minutes });
        await pass(10);
      });
    }
    expect(text()).toBe('["online","",10]');
    await act(async () => server.endAll(4403, 'removed by an admin', false));
    await after(10);
    expect(text()).toBe('["ended","removed by an admin",10]');
  });

  test('rendered on a server it shows the empty order', async () => {
    const { renderToString } = await import('react-dom/server');
    const { hub } = setup();
    const Screen = () => <Text of={[useOrder('o1').state.status, useMessages('o1').messages]} />;
    const html = renderToString(
      <OrderHubProvider hub={hub}>
        <Screen />
      </OrderHubProvider>,
    );
    expect(html).toContain('[&quot;joining&quot;,[]]');
    expect({} as RoomSnapshot).toEqual({});
  });
});

describe('a publisher', () => {
  test('watches once, reports what it is given, and ends', async () => {
    let report: (fix: { lat: number; lng: number }) => void = () => {};
    const end = vi.fn();
    const watch = vi.fn((told: typeof report) => {
      report = told;
      return end;
    });
    const Driver = ({ enabled = true }: { enabled?: boolean }) => {
      const { lastAccepted, error } = useLocationPublisher({ watch, enabled, orderIds: ['o1'] });
      return <Text of={[lastAccepted?.accepted, error?.code ?? '']} />;
    };
    const { server, update, lifecycle, hub } = await show(<Driver />);
    expect(watch.mock.calls.length - end.mock.calls.length).toBe(1);
    await act(async () => {
      report({ lat: 1, lng: 2 });
      await pass(20);
    });
    expect(text()).toBe('[1,""]');
    expect(server.heard('driver:location')[0]!.data).toMatchObject({ lat: 1, lng: 2, orderIds: ['o1'] });
    lifecycle.tell('background');
    expect(hub.state.status).toBe('online');
    server.answer = () => ({ code: 'forbidden', message: '' });
    await act(async () => {
      report({ lat: 1, lng: 2 });
      await pass(20);
    });
    expect(text()).toBe('[1,"forbidden"]');
    update(<Driver enabled={false} />);
    await after(20);
    expect(end.mock.calls.length).toBe(watch.mock.calls.length);
    expect(hub.state.status).toBe('paused');
    report({ lat: 3, lng: 4 });
    await after(20);
    expect(server.heard('driver:location')).toHaveLength(2);
  });
});
