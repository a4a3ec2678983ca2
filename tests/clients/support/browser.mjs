// Pages of a browser: served from an origin of the test's own, opened in Debian's Chromium.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const BUNDLE = readFileSync(
  fileURLToPath(new URL('../node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url)),
);

const PAGE = '<!doctype html><title>a page</title><script src="/socket.io.min.js"></script>';

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** `CHROMIUM`, or where the shell finds it. */
const findChromium = () =>
  process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium']).toString().trim();

/** A browser with a fresh profile, gone with the tests. */
export async function startBrowser({ after }) {
  const browser = await chromium.launch({ executablePath: findChromium(), args: ARGS });
  after(() => browser.close());
  return browser;
}

/** Serves a page with the client's bundle; the origin. */
export async function servePage({ after }) {
  const server = createServer((request, response) => {
    const isPage = request.url === '/';
    response.setHeader('content-type', isPage ? 'text/html' : 'text/javascript');
    response.end(isPage ? PAGE : BUNDLE);
  });
  after(() => server.closeAllConnections());
  after(() => server.close());
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}`;
}
