// What an app writes against the real packages: it must compile without the types of a browser.

import AsyncStorage from '@react-native-async-storage/async-storage';
import NetInfo from '@react-native-community/netinfo';
import { OrderHub } from '@orderhub/client';
import { driver } from '@orderhub/client/driver';
import { fromGifted, toGifted } from '@orderhub/client/gifted-chat';
import { emulatorUrl, nativeLifecycle } from '@orderhub/client/react-native';
import { AppState, Platform } from 'react-native';
import type { IMessage } from 'react-native-gifted-chat';

export const hub = new OrderHub({
  url: emulatorUrl('http://localhost:8080', Platform),
  getToken: async ({ reason }) => (reason === 'refused' ? null : 'token'),
  storage: AsyncStorage,
  lifecycle: nativeLifecycle({ AppState, NetInfo }),
  logger: console,
});

export const off = hub.on('chat:message', ({ seq, content }) => console.log(seq + 1, content.length));
export const offEta = hub.on('order:eta', (data) => console.log(data));
export const messages: IMessage[] = toGifted(hub.room('o1').messages);
export const onSend = (sent: IMessage[]) => {
  for (const { content, type } of fromGifted(sent)) void hub.send('o1', content, { type });
};
driver(hub).report({ lat: 1, lng: 2 });

// @ts-expect-error a list is no text
void hub.send('o1', [{ text: 'x' }]);
// @ts-expect-error an event of the hub has its own data
hub.on('chat:message', ({ lat }: { lat: number }) => lat);
