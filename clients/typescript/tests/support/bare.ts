// What Hermes has not, or not everywhere, is not there in these tests either; on a page React needs it.

const names = ['structuredClone', 'crypto', 'Intl', 'queueMicrotask', 'BroadcastChannel', 'performance'] as const;
if (!('document' in globalThis)) {
  for (const name of names) Reflect.deleteProperty(globalThis, name);
  Reflect.deleteProperty(AbortSignal, 'timeout');
  Reflect.deleteProperty(AbortSignal, 'any');
}
