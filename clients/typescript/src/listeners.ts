// Listeners of an app: what one of them throws stops neither the others nor the kit.

export type Log = (level: 'debug' | 'warn' | 'error', message: string, detail?: unknown) => void;

export interface Listeners<A extends unknown[]> {
  /** The result takes the listener away. */
  add(listener: (...args: A) => void): () => void;
  emit(...args: A): void;
}

export function listeners<A extends unknown[]>(log: Log): Listeners<A> {
  const all = new Set<{ listener: (...args: A) => void }>();
  return {
    add(listener) {
      // Of its own for every call: the same function may listen twice.
      const entry = { listener };
      all.add(entry);
      return () => void all.delete(entry);
    },
    emit(...args) {
      for (const { listener } of [...all]) {
        try {
          listener(...args);
        } catch (error) {
          log('error', 'a listener failed', error);
        }
      }
    },
  };
}
