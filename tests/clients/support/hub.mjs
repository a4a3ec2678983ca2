// A hub in a process of its own: started, killed, stopped in order, started again where it was.

import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { within } from './deadline.mjs';
import { SECRET, admin } from './tokens.mjs';

export const BINARY =
  process.env.ORDERHUB_BIN ??
  fileURLToPath(new URL('../../../target/debug/orderhub', import.meta.url));

/** Where hubs listen that must come back on the same port: below those that the system gives away. */
const somePort = () => 20_000 + Math.floor(Math.random() * 12_000);

export class Hub {
  #env;
  #process;
  #dir = mkdtempSync(join(tmpdir(), 'orderhub-client-tests-'));

  constructor(env) {
    this.#env = env;
  }

  /** `http://127.0.0.1:PORT` */
  url;

  /** What tokens are signed with; the hub's own secret where `JWT_SECRET` was given as undefined. */
  get secret() {
    const isOwn = 'JWT_SECRET' in this.#env && this.#env.JWT_SECRET === undefined;
    return isOwn ? readFileSync(join(this.#dir, 'data/jwt-secret'), 'utf8').trim() : SECRET;
  }

  async launch(port) {
    const log = openSync(join(this.#dir, 'log'), 'a');
    const child = spawn(BINARY, [], {
      env: {
        DATA_DIR: join(this.#dir, 'data'),
        JWT_SECRET: SECRET,
        BIND_ADDR: `127.0.0.1:${port}`,
        ...this.#env,
      },
      stdio: ['ignore', 'pipe', log],
    });
    closeSync(log);
    child.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    const lines = createInterface({ input: child.stdout });
    const failed = child.ended.then(() => null);
    const banner = new Promise((resolve) => lines.once('line', resolve));
    const line = await within(Promise.race([banner, failed]), 'the hub listens');
    if (line === null) return false;
    this.url = line.match(/^orderhub listens on (http:\S+)$/)[1];
    this.#process = child;
    return true;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** Where plain clients connect. */
  get plainUrl() {
    return `${this.url.replace('http', 'ws')}/ws`;
  }

  signal(name) {
    this.#process.kill(name);
  }

  /** Its exit code and signal. */
  ended() {
    return within(this.#process.ended, 'the hub ends');
  }

  /** `kill -9`. */
  async kill() {
    this.signal('SIGKILL');
    await this.ended();
  }

  /** SIGTERM, and the end of it. */
  async stop() {
    this.signal('SIGTERM');
    return this.ended();
  }

  /** A new process on the same data and the same port, once the old one has ended. */
  async startAgain() {
    await this.ended();
    if (!(await this.launch(this.port))) throw new Error(`not started again:\n${this.log()}`);
  }

  /** Asks over HTTP, as an admin: `{ status, body }`. */
  async admin(method, path) {
    const headers = { authorization: `Bearer ${admin(this.secret)}`, connection: 'close' };
    const response = await within(fetch(this.url + path, { method, headers }), `an answer to ${path}`);
    return { status: response.status, body: await response.json().catch(() => null) };
  }

  /** How many connections are open. */
  async connections() {
    return (await this.admin('GET', '/admin/v1/stats')).body.connections.open;
  }

  log() {
    return readFileSync(join(this.#dir, 'log'), 'utf8');
  }

  async remove() {
    if (this.#process) await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** A hub with these settings, gone with the test `t`. `comesBack`: it keeps its port. */
export async function startHub(t, env = {}, { comesBack = false } = {}) {
  const hub = new Hub(env);
  t.after(() => hub.remove());
  for (let attempt = 0; attempt < 20; attempt++) {
    if (await hub.launch(comesBack ? somePort() : 0)) return hub;
    if (!comesBack) break;
  }
  throw new Error(`the hub did not start:\n${hub.log()}`);
}

let orders = 0;

/** The id of an order that no other test has. */
export const newOrder = () => `order-${process.pid}-${++orders}`;

