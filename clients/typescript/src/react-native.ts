// What React Native has of its own: the state of the app, its network, its storages, its emulator.
// Everything is handed over by the app, so that this needs no native package.

import type { Lifecycle, LifecycleChange, Storage } from './index.js';
import { after } from './platform.js';

/** `AppState` of react-native. */
export interface AppStateLike {
  currentState?: string | null;
  addEventListener(type: 'change', listener: (state: string) => void): { remove(): void };
}

/** `NetInfo` of @react-native-community/netinfo. */
export interface NetInfoLike {
  addEventListener(listener: (state: NetworkState) => void): () => void;
}

export interface NetworkState {
  type: string;
  isConnected: boolean | null;
  isInternetReachable?: boolean | null;
  details?: unknown;
}

export interface NativeLifecycle {
  AppState: AppStateLike;
  /** Without it a change of network is noticed by the ping that is not answered. */
  NetInfo?: NetInfoLike;
  /** How long the app is in the background before the connection ends; 10 s. */
  pauseAfterMs?: number;
}

/** What makes two states of the network the same: not the strength of its signal. */
const networkOf = ({ type, isConnected, isInternetReachable, details }: NetworkState): string =>
  [type, isConnected, isInternetReachable, (details as { ipAddress?: unknown } | null)?.ipAddress].join();

/**
 * The lifecycle of an app. A look at another app does not end the connection, and `inactive` (a
 * call, the list of apps) never does. A change of network makes the kit try; it never keeps it from
 * trying, because phones are wrong about their network.
 */
export function nativeLifecycle({ AppState, NetInfo, pauseAfterMs = 10_000 }: NativeLifecycle): Lifecycle {
  return {
    isActive: () => !/^(inactive|background)$/.test(AppState.currentState ?? ''),
    subscribe(listener: (change: LifecycleChange) => void) {
      let network: string | undefined;
      let stopPause = () => {};
      const app = AppState.addEventListener('change', (state) => {
        stopPause();
        if (state === 'active') listener('active');
        else listener('inactive');
        if (state === 'background') stopPause = after(pauseAfterMs, () => listener('background'));
      });
      const off = NetInfo?.addEventListener((state) => {
        const before = network;
        network = networkOf(state);
        // The first one is what is already there.
        if (before !== undefined && before !== network) listener('network');
      });
      return () => {
        stopPause();
        app.remove();
        off?.();
      };
    },
  };
}

/** An instance of react-native-mmkv; `remove` is what version 4 calls `delete`. */
export interface MmkvLike {
  getString(key: string): string | undefined;
  set(key: string, value: string): void;
  delete?(key: string): unknown;
  remove?(key: string): unknown;
}

/** MMKV as a storage. AsyncStorage is one as it is. */
export const mmkvStorage = (mmkv: MmkvLike): Storage => ({
  getItem: (key) => mmkv.getString(key),
  setItem: (key, value) => mmkv.set(key, value),
  removeItem: (key) => (mmkv.remove ? mmkv.remove(key) : mmkv.delete?.(key)),
});

/**
 * The address of a hub on your own machine, as the emulator of Android sees it: there `localhost` is
 * the emulator itself. Other addresses, and those on other platforms, stay as they are.
 */
export const emulatorUrl = (url: string, Platform: { OS: string }): string =>
  Platform.OS === 'android' ? url.replace(/^(\w+:\/\/)(localhost|127\.0\.0\.1|\[::1\])(?=[:/]|$)/, '$110.0.2.2') : url;
