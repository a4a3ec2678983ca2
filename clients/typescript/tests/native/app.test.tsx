// The two screens of an app on React Native's own renderer, with its AppState and a NetInfo that the
// test moves.

import { OrderHub } from '@orderhub/client';
import { fromGifted, toGifted } from '@orderhub/client/gifted-chat';
import {
  OrderHubProvider,
  OrderProvider,
  useConnectionState,
  useDriverLocation,
  useMessages,
  useOrder,
  useReadMarks,
  useUnread,
} from '@orderhub/client/react';
import { type NetworkState, nativeLifecycle } from '@orderhub/client/react-native';
import { act, fireEvent, render, screen } from '@testing-library/react-native';
import { type ReactNode, StrictMode, useEffect } from 'react';
import { AppState, FlatList, Pressable, Text, View } from 'react-native';
import { FakeHub } from '../support/fake-hub';

const pass = (ms: number) => act(() => jest.advanceTimersByTimeAsync(ms) as unknown as Promise<void>);

let tellApp: (state: string) => void;
let tellNetwork: (state: NetworkState) => void;

beforeEach(() => {
  jest.useFakeTimers();
  (AppState as { currentState: string }).currentState = 'active';
  jest.spyOn(AppState, 'addEventListener').mockImplementation((_, listener) => {
    tellApp = (state) => {
      (AppState as { currentState: string }).currentState = state;
      (listener as (state: string) => void)(state);
    };
    return { remove: () => (tellApp = () => {}) } as never;
  });
});
afterEach(() => jest.useRealTimers());

const NetInfo = {
  addEventListener(listener: (state: NetworkState) => void) {
    tellNetwork = listener;
    listener({ type: 'wifi', isConnected: true });
    return () => (tellNetwork = () => {});
  },
};

const storage = () => {
  const items = new Map<string, string>();
  return {
    getItem: async (key: string) => items.get(key) ?? null,
    setItem: async (key: string, value: string) => void items.set(key, value),
    removeItem: async (key: string) => void items.delete(key),
  };
};

async function start(children: ReactNode) {
  const server = new FakeHub();
  const hub = new OrderHub({
    url: 'https://hub.example.com',
    getToken: async () => 'ana.1.x',
    storage: storage(),
    lifecycle: nativeLifecycle({ AppState, NetInfo }),
    WebSocket: server.WebSocket,
  });
  const view = render(
    <StrictMode>
      <OrderHubProvider hub={hub}>
        <OrderProvider orderId="o1">{children}</OrderProvider>
      </OrderHubProvider>
    </StrictMode>,
  );
  await pass(100);
  return { server, hub, view };
}

const Tracking = () => {
  const { status } = useOrder();
  const location = useDriverLocation();
  const { status: connection } = useConnectionState();
  return (
    <View>
      <Text testID="connection">{connection}</Text>
      <Text testID="status">{status}</Text>
      {location && <Text testID="marker">{`${location.lat},${location.lng}${location.stale ? ' stale' : ''}`}</Text>}
    </View>
  );
};

const Chat = () => {
  const { messages, send } = useMessages();
  const { markRead } = useUnread();
  const readMarks = useReadMarks();
  useEffect(markRead, [messages]);
  return (
    <View>
      <FlatList
        data={toGifted(messages, { readMarks })}
        keyExtractor={({ _id }) => String(_id)}
        renderItem={({ item }) => (
          <Text testID="message">{`${item.text}${item.pending ? ' …' : item.received ? ' ✓✓' : item.sent ? ' ✓' : ' ✗'}`}</Text>
        )}
      />
      <Pressable
        testID="send"
        onPress={() => {
          for (const { content, type } of fromGifted([{ text: 'third floor' }])) void send(content, { type });
        }}
      />
    </View>
  );
};

const text = (id: string) => screen.queryAllByTestId(id).map(({ props }) => props.children);

test('the tracking screen shows the driver move', async () => {
  const { server } = await start(<Tracking />);
  expect(text('connection')).toEqual(['online']);
  const tell = (event: string, data: object) => server.broadcast('o1', event, { orderId: 'o1', ...data });
  tell('order:status', { status: 'ON_THE_WAY', previousStatus: null, at: '' });
  tell('location:updated', { lat: 45.1, lng: 13.7, driverId: 'dan', timestamp: '' });
  await pass(10);
  expect(text('status')).toEqual(['ON_THE_WAY']);
  expect(text('marker')).toEqual(['45.1,13.7']);
  await pass(60_000);
  expect(text('marker')).toEqual(['45.1,13.7 stale']);
});

test('the chat screen sends, receives and says what was read', async () => {
  const { server } = await start(<Chat />);
  fireEvent.press(screen.getByTestId('send'));
  expect(text('message')).toEqual(['third floor …']);
  await pass(50);
  expect(text('message')).toEqual(['third floor ✓']);
  server.say('o1', 'dan', 'coming');
  await pass(50);
  expect(text('message')).toEqual(['coming ✓✓', 'third floor ✓✓']);
  expect(server.heard('chat:read')).toHaveLength(1);
});

test('in the background it rests after a while, marks nothing as read, and catches up', async () => {
  const { server } = await start(<Chat />);
  await act(async () => tellApp('background'));
  await pass(5_000);
  server.say('o1', 'dan', 'while you looked away');
  await pass(50);
  expect(text('message')).toEqual(['while you looked away ✓']);
  expect(server.heard('chat:read')).toHaveLength(0);
  await pass(10_000);
  expect(server.up).toHaveLength(0);
  server.say('o1', 'dan', 'while you were away');
  await act(async () => tellApp('active'));
  await pass(100);
  expect(text('message')).toEqual(['while you were away ✓✓', 'while you looked away ✓✓']);
  expect(server.up).toHaveLength(1);
  expect(server.order('o1').marks.get('ana')).toBe(2);
});

test('another network with a dead socket is live again within 2 s', async () => {
  const { server } = await start(<Chat />);
  server.stall();
  server.say('o1', 'dan', 'do you hear me?');
  await act(async () => tellNetwork({ type: 'cellular', isConnected: true }));
  await pass(1_600);
  expect(text('message')).toEqual(['do you hear me? ✓✓']);
});

test('`inactive` and a network that NetInfo calls none change nothing', async () => {
  const { server, hub } = await start(<Chat />);
  await act(async () => tellApp('inactive'));
  await act(async () => tellNetwork({ type: 'none', isConnected: false }));
  await pass(60_000);
  expect(hub.state.status).toBe('online');
  expect(server.sockets).toHaveLength(1);
});

test('nothing is left when the app is unmounted', async () => {
  const { server, view } = await start(
    <>
      <Chat />
      <Tracking />
    </>,
  );
  view.unmount();
  await pass(100);
  expect(server.up).toHaveLength(0);
  tellApp('active');
  await pass(1_000);
  expect(server.sockets).toHaveLength(1);
});
