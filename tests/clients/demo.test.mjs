// The page that the hub serves at /demo, in a browser: three people, a drive and a chat; by keyboard,
// on a phone, by night, and with axe.

import assert from 'node:assert/strict';
import test, { after } from 'node:test';

import axe from 'axe-core';

import { startBrowser } from './support/browser.mjs';
import { PATIENCE_MS, until } from './support/deadline.mjs';
import { newOrder, startHub } from './support/hub.mjs';

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const browser = await startBrowser({ after });
const hub = await startHub({ after }, { JWT_SECRET: undefined });

/** The page with an order of its own, and what it complained of. */
async function open(t, options) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(`${hub.url}/demo?order=demo-${newOrder()}`);
  for (const name of ['Dan', 'Cleo', 'Sam']) {
    await until(() => page.getByRole('button', { name: `Disconnect ${name}`, includeHidden: true }).count(), name);
    await page.locator('.unseen[role=status]', { hasText: `${name} is online` }).waitFor({ state: 'attached' });
  }
  return { page, complaints };
}

const say = async (page, name, text) => {
  const field = page.getByLabel(`Message of ${name}`);
  await field.fill(text);
  await field.press('Enter');
};

/** What axe finds wrong with the page as it is. */
async function violations(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

test('the drive is seen by the customer, and what the customer writes by support', async (t) => {
  const { page, complaints } = await open(t, { viewport: DESK });
  await page.getByRole('button', { name: 'Start the drive' }).click();
  const marker = page.locator('#customer .driver');
  const places = new Set();
  await until(async () => {
    const place = await marker.getAttribute('transform').catch(() => null);
    if (place) places.add(place);
    return places.size > 5;
  }, 'the driver moves');
  assert.equal(await marker.getAttribute('data-stale'), 'false');
  await page.locator('#support .status', { hasText: 'On the way' }).waitFor();

  await page.getByLabel('Message of Cleo').pressSequentially('third');
  await page.locator('#driver .typing', { hasText: 'Cleo is writing' }).waitFor();
  await say(page, 'Cleo', 'third floor, please');
  await page.locator('#support .log .other', { hasText: 'third floor, please' }).waitFor();
  await page.locator('#customer .log .own', { hasText: 'read by Dan and Sam' }).waitFor();
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(complaints, []);
});

test('the drive ends at the door, and can be driven again', async (t) => {
  const { page } = await open(t, { viewport: DESK });
  const status = (text) => page.locator('#customer .status', { hasText: text }).waitFor({ timeout: 3 * PATIENCE_MS });
  for (const round of [1, 2]) {
    await page.getByRole('button', { name: 'Start the drive' }).click();
    await status('On the way');
    if (round === 2) break;
    await status('Almost there');
    await status('At the door');
  }
  await page.locator('#customer .where', { hasText: 'm away' }).waitFor();
});

test('what is written without a connection waits, and is sent once', async (t) => {
  const { page } = await open(t, { viewport: DESK });
  await page.getByRole('button', { name: 'Disconnect Cleo' }).click();
  await say(page, 'Cleo', 'from the tunnel');
  await page.locator('#customer .connection', { hasText: 'offline, 1 to send' }).waitFor();
  await page.locator('#customer .own', { hasText: 'sending' }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole('button', { name: 'Connect Cleo', exact: true }).click();
  await page.locator('#support .other', { hasText: 'from the tunnel' }).waitFor();
  await page.locator('#customer .own', { hasText: 'read by' }).waitFor();
  for (const part of ['driver', 'customer', 'support']) {
    assert.equal(await page.locator(`#${part} .log li`).count(), 1, part);
  }
});

test('on a phone there are tabs, which the keyboard moves and which count what is unread', async (t) => {
  const { page, complaints } = await open(t, { viewport: PHONE, colorScheme: 'dark', hasTouch: true });
  const tab = (name) => page.getByRole('tab', { name });
  await say(page, 'Dan', 'at the door');
  await tab('Customer 1 unread').waitFor();
  assert.deepEqual(await violations(page), []);
  await tab('Driver').focus();
  await page.keyboard.press('ArrowRight');
  await page.locator('#customer .other', { hasText: 'at the door' }).waitFor();
  assert.equal(await page.locator('#driver').isVisible(), false);
  await page.getByRole('tab', { name: 'Customer', exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Customer');
  assert.deepEqual(await violations(page), []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  assert.equal(wide, false);
  assert.deepEqual(complaints, []);
});

test('the page is whole in light and dark', async (t) => {
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [DESK, PHONE]) {
      const { page } = await open(t, { viewport, colorScheme });
      await say(page, 'Dan', 'hello');
      await page.locator('#driver .own', { hasText: /sent|read by/ }).waitFor();
      assert.deepEqual(await violations(page), [], `${colorScheme} ${viewport.width}`);
    }
  }
});
