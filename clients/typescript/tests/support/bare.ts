// What Hermes has not, or not everywhere, is not there in these tests either.

for (const name of ['structuredClone', 'crypto', 'Intl', 'queueMicrotask', 'BroadcastChannel', 'performance'] as const) {
  Reflect.deleteProperty(globalThis, name);
}
Reflect.deleteProperty(AbortSignal, 'timeout');
Reflect.deleteProperty(AbortSignal, 'any');
