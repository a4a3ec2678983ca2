// What the kit hears of its app: whether it is in front, and that the network has changed.

import { platform } from './platform.js';

/**
 * `active`: in front. `inactive`: not in front, and the connection stays. `background`: the
 * connection may end. `network`: another network, or one again.
 */
export type LifecycleChange = 'active' | 'inactive' | 'background' | 'network';

export interface Lifecycle {
  /** Whether the app is in front now. */
  isActive(): boolean;
  /** Tells every change; the result ends that. */
  subscribe(listener: (change: LifecycleChange) => void): () => void;
}

/** A page's: one that is hidden stays connected. Without a page nothing is told. */
export const pageLifecycle: Lifecycle = {
  isActive: () => platform.document?.visibilityState !== 'hidden',
  subscribe(listener) {
    const { document } = platform;
    const shown = () => listener(pageLifecycle.isActive() ? 'active' : 'inactive');
    const online = () => listener('network');
    document?.addEventListener('visibilitychange', shown);
    if (document) platform.addEventListener?.('online', online);
    return () => {
      document?.removeEventListener('visibilitychange', shown);
      if (document) platform.removeEventListener?.('online', online);
    };
  },
};
