// What a client was told, in order, until a test takes it out.

import { within } from './deadline.mjs';

export class Inbox {
  #waiting = [];
  #takers = new Set();

  /** Keeps what has come, or hands it to the one who waits for it. */
  push(event, ...args) {
    const told = { event, data: args[0], args };
    for (const taker of this.#takers) {
      if (taker.wants(told)) {
        this.#takers.delete(taker);
        taker.take(told);
        return;
      }
    }
    this.#waiting.push(told);
  }

  /** The data of the first event of this name (that fits), taken out; others stay where they are. */
  async take(event, fits = () => true) {
    const wants = (told) => told.event === event && fits(told.data);
    const index = this.#waiting.findIndex(wants);
    if (index >= 0) return this.#waiting.splice(index, 1)[0].data;
    const taker = { wants };
    const coming = new Promise((resolve) => (taker.take = (told) => resolve(told.data)));
    this.#takers.add(taker);
    try {
      return await within(coming, () => `expected ${event}, have [${this.events().slice(-10)}],`);
    } finally {
      this.#takers.delete(taker);
    }
  }

  /** Everything that was told and not taken: `{ event, data, args }` each. */
  all() {
    return [...this.#waiting];
  }

  /** The names of the same. */
  events() {
    return this.#waiting.map(({ event }) => event);
  }

  /** The data of all events of this name that were not taken. */
  of(event) {
    return this.#waiting.filter((told) => told.event === event).map(({ data }) => data);
  }

  clear() {
    this.#waiting = [];
  }
}
