// Waiting: for an event, never for a time. What does not come within the deadline is named.

/** How long anything may take; generous, for slow machines. `PATIENCE_MS` is for who is in a hurry. */
export const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 20_000);

/** The promise's result, or an error that says what was awaited. */
export function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${typeof what === 'function' ? what() : what} within ${ms} ms`));
    }, ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next event of this name. */
export function once(emitter, name, what = `expected ${name}`) {
  return within(new Promise((resolve) => emitter.once(name, (...args) => resolve(args))), what);
}

/** Asks again and again until the answer is true; for what tells nobody when it changes. */
export async function until(ask, what) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`${what} within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
