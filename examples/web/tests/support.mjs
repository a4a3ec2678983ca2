// A screen in Chromium, the network between it and a hub, and what must hold after each fault.
// ORDERHUB_BIN names the hub, PAGE the folder with the built page; the helpers are those of the
// repository's client tests.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';

import { startBrowser } from '../../../tests/clients/support/browser.mjs';
import { newOrder, startHub } from '../../../tests/clients/support/hub.mjs';
import { token } from '../../../tests/clients/support/tokens.mjs';
import { wireTo } from '../../../tests/clients/support/wire.mjs';

export { until } from '../../../tests/clients/support/deadline.mjs';
export { token } from '../../../tests/clients/support/tokens.mjs';

/** After any fault everything must be well again within this time: the hub needs 45 s to miss a phone. */
const WELL_MS = 50_000;
const KINDS = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** The browser of a file of tests, and the server of the page. */
export async function startPages({ after }) {
  const server = createServer(({ url }, response) => {
    const { pathname } = new URL(url, 'http://page');
    response.setHeader('content-type', KINDS[extname(pathname)] ?? 'text/plain');
    try {
      response.end(readFileSync(join(process.env.PAGE, pathname)));
    } catch {
      response.writeHead(404).end();
    }
  });
  after(() => server.closeAllConnections());
  after(() => server.close());
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { browser: await startBrowser({ after }), origin: `http://127.0.0.1:${server.address().port}` };
}

/** Asks until the answer is true, as long as a fault may have consequences. */
async function soon(ask, what) {
  const end = Date.now() + WELL_MS;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`${what()} within ${WELL_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A customer whose screen is open, over a wire of its own; and the shop, which calls the hub itself. */
export class Scene {
  wanted = [];
  /** Why the page asked for its tokens. */
  reasons = [];

  static async open(t, { browser, origin }, { env, comesBack, tokenFor, mount = true } = {}) {
    const scene = new Scene();
    scene.orderId = newOrder();
    scene.hub = await startHub(t, { ROOM_IDLE_SECS: '0', PRESENCE_GRACE_SECS: '0', ...env }, { comesBack });
    scene.wire = await wireTo(t, scene.hub);
    await scene.call('PUT', `/orders/${scene.orderId}`, {});
    const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
    t.after(() => context.close());
    scene.page = await context.newPage();
    scene.page.setDefaultTimeout(WELL_MS);
    await scene.page.exposeFunction('fetchToken', (reason) => {
      scene.reasons.push(reason);
      return tokenFor ? tokenFor(reason) : scene.token();
    });
    const query = new URLSearchParams({ hub: scene.wire.url, order: scene.orderId });
    await scene.page.goto(`${origin}/tests/page.html?${query}`);
    if (mount) {
      await scene.mount();
      await scene.online();
      await scene.shopSays('welcome');
      await scene.shows('welcome');
    }
    return scene;
  }

  token(more) {
    return token(`${this.orderId}-customer`, { orders: [this.orderId], iat: Math.floor(Date.now() / 1000), ...more });
  }

  mount() {
    return this.page.evaluate(() => window.screenUnderTest.mount());
  }

  unmount() {
    return this.page.evaluate(() => window.screenUnderTest.unmount());
  }

  /** The tab is `hidden` or `visible`, as far as the page can tell. */
  turns(visibility) {
    return this.page.evaluate((value) => {
      Object.defineProperty(document, 'visibilityState', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, visibility);
  }

  /** The page does nothing meanwhile, as one that the system has frozen. */
  async frozen(meanwhile) {
    const devtools = await this.page.context().newCDPSession(this.page);
    await devtools.send('Debugger.enable');
    const paused = new Promise((resolve) => devtools.once('Debugger.paused', resolve));
    await devtools.send('Debugger.pause');
    const nudge = this.page.evaluate(() => document.title);
    await paused;
    await meanwhile();
    await devtools.send('Debugger.resume');
    await nudge;
    await devtools.detach();
  }

  state() {
    return this.page.evaluate(() => window.screenUnderTest.hub.state);
  }

  async online() {
    await this.page.locator('.connection[data-status=online]').waitFor();
  }

  async offline() {
    await this.page.locator('.connection:not([data-status=online])').waitFor();
  }

  shows(text) {
    return this.page.locator('.log li p', { hasText: text }).first().waitFor();
  }

  /** Writes on the screen, whatever the connection does. */
  async says(text) {
    this.wanted.push(text);
    const field = this.page.getByLabel('Message of Cleo');
    await field.fill(text);
    await field.press('Enter');
  }

  /** A call of the back end, past the wire. */
  async call(method, path, body) {
    const response = await fetch(`${this.hub.url}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token('shop', { role: 'service' })}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    const answer = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  async shopSays(content) {
    this.wanted.push(content);
    await this.call('POST', `/orders/${this.orderId}/messages`, { content });
  }

  async shown() {
    return this.page.locator('.log li p').allTextContents();
  }

  async stats() {
    const { connections, rooms } = (await this.hub.admin('GET', '/admin/v1/stats')).body;
    return { connections: connections.open, rooms };
  }

  async holds(expected) {
    let found;
    await soon(
      async () => {
        found = await this.stats();
        return found.connections === expected.connections && found.rooms === expected.rooms;
      },
      () => `${JSON.stringify(expected)} at the hub, there are ${JSON.stringify(found)}`,
    );
  }

  /** The screen shows every message once and in the hub's order, and the hub has one connection. */
  async isWell() {
    let shown = [];
    await soon(
      async () => {
        shown = await this.shown();
        return this.wanted.every((text) => shown.includes(text)) && (await this.state()).pending === 0;
      },
      () => `${this.wanted} on the screen, it shows ${shown}`,
    );
    const { messages } = await this.call('GET', `/orders/${this.orderId}/messages`);
    const stored = messages.map(({ content }) => content);
    assert.deepEqual(await this.shown(), stored, 'shown as stored');
    assert.deepEqual([...stored].sort(), [...this.wanted].sort(), 'each once');
    await this.holds({ connections: 1, rooms: 1 });
  }

  /** The screen is closed and nothing stays at the hub. */
  async leavesNothing() {
    await this.unmount();
    await this.holds({ connections: 0, rooms: 0 });
  }
}
