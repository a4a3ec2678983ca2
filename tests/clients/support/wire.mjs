// The network between a device and the hub: a TCP relay that can be cut.

import { createConnection, createServer } from 'node:net';

export class Wire {
  #server;
  #links = new Set();
  #down = false;
  #deaf = false;
  #stalled = false;

  constructor(hub) {
    this.#server = createServer((near) => this.#link(near, hub));
  }

  /** Where devices connect instead. */
  url;

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
  }

  #link(near, hub) {
    near.on('error', () => {});
    if (this.#down) return near.destroy();
    const far = createConnection({ host: '127.0.0.1', port: hub.port });
    far.on('error', () => {});
    const link = { near, far, lost: false, stalled: this.#stalled };
    this.#links.add(link);
    if (!this.#stalled) near.pipe(far);
    if (this.#deaf) far.resume();
    else if (!this.#stalled) far.pipe(near);
    // Whichever end goes first takes the other with it, unless the network lost it.
    near.on('close', () => {
      if (!link.lost) far.destroy();
      if (far.destroyed) this.#links.delete(link);
    });
    far.on('close', () => {
      if (!link.stalled) near.destroy();
      if (near.destroyed) this.#links.delete(link);
    });
  }

  /** Nobody new gets through until `up`. */
  hold() {
    this.#down = true;
  }

  /** Ends every connection; nobody gets through until `up`. */
  down() {
    this.hold();
    for (const { near, far } of this.#links) {
      near.destroy();
      far.destroy();
    }
  }

  up() {
    this.#down = this.#deaf = this.#stalled = false;
  }

  /** Ends every connection; the next one comes through. */
  cut() {
    this.down();
    this.up();
  }

  /** What the hub sends is lost until `up`; what the device sends arrives. */
  deafen() {
    this.#deaf = true;
    for (const { near, far } of this.#links) {
      far.unpipe(near);
      far.resume();
    }
  }

  /** Nothing gets through, and nobody is told; new connections are as bad until `up` or `flow`. */
  stall() {
    this.#stalled = true;
    for (const link of this.#links) {
      const { near, far } = link;
      link.stalled = true;
      near.unpipe(far);
      near.pause();
      far.unpipe(near);
      far.pause();
    }
  }

  /** What was stalled goes on. */
  flow() {
    this.#stalled = false;
    for (const link of this.#links) {
      const { near, far } = link;
      link.stalled = false;
      if (far.destroyed) near.destroy();
      near.pipe(far);
      far.pipe(near);
    }
  }

  /** The device has another network: it is gone for it, and the hub knows nothing of it. */
  lose() {
    for (const link of this.#links) {
      link.lost = true;
      link.near.unpipe(link.far);
      link.near.destroy();
      link.far.unpipe(link.near);
      link.far.pause();
    }
  }

  close() {
    this.down();
    this.#server.close();
  }
}

/** A wire to the hub, gone with the test. */
export async function wireTo(t, hub) {
  const wire = new Wire(hub);
  t.after(() => wire.close());
  await wire.listen();
  return wire;
}
