// The screen under faults, in Chromium: whatever happens to the network, the hub, the token or the
// tab, no message is lost or there twice, and the hub keeps no connection and no room too many.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { Scene, startPages, token, until } from './support.mjs';

const pages = await startPages({ after });

/** Opens a screen, lets something happen to it while both sides write, and looks whether all is well. */
const survives = (name, fault, options) =>
  test(name, async (t) => {
    const scene = await Scene.open(t, pages, options);
    await scene.says('before');
    await fault(scene, t);
    await scene.says('after');
    await scene.shopSays('and goodbye');
    await scene.isWell();
    await scene.leavesNothing();
  });

/** Both sides write. */
async function write(scene) {
  await scene.says('written meanwhile');
  await scene.shopSays('and told meanwhile');
}

describe('faults', { concurrency: 6 }, () => {
  survives('the connection is cut again and again', async (scene) => {
    for (let round = 0; round < 3; round += 1) {
      await scene.says(`round ${round}`);
      scene.wire.cut();
      await scene.shopSays(`answer ${round}`);
      await scene.online();
    }
  });

  survives('there is no network for a while', async (scene) => {
    scene.wire.down();
    await scene.offline();
    await write(scene);
    await scene.page.locator('.own[data-status=pending]', { hasText: 'written meanwhile' }).waitFor();
    scene.wire.up();
  });

  survives('the network stalls, and goes on', async (scene) => {
    scene.wire.stall();
    await write(scene);
    await scene.page.locator('.own[data-status=pending]', { hasText: 'written meanwhile' }).waitFor();
    scene.wire.flow();
  });

  survives('the network stalls for good, and another one is there', async (scene) => {
    scene.wire.stall();
    await write(scene);
    scene.wire.up();
    await scene.page.evaluate(() => window.dispatchEvent(new Event('online')));
  });

  survives('the answers are lost', async (scene) => {
    scene.wire.deafen();
    await write(scene);
    scene.wire.up();
    await scene.page.evaluate(() => window.dispatchEvent(new Event('online')));
  });

  survives('the hub thinks that the lost connection is alive', async (scene) => {
    scene.wire.lose();
    await write(scene);
    await scene.online();
    assert.equal((await scene.stats()).connections, 2, 'the dead one is there too');
  });

  survives(
    'the hub is killed and started again',
    async (scene) => {
      await scene.shows('before');
      await until(async () => (await scene.state()).pending === 0, 'nothing waits');
      await scene.hub.kill();
      await scene.offline();
      await scene.says('to nobody');
      await scene.hub.startAgain();
    },
    { comesBack: true },
  );

  survives(
    'the hub drains and another one takes over',
    async (scene) => {
      const stopped = scene.hub.stop();
      await scene.says('in the drain');
      await stopped;
      await scene.hub.startAgain();
    },
    { comesBack: true },
  );

  test('an expired token is replaced on the open connection, and at the next one', async (t) => {
    let scene;
    const lives = [6, -60];
    const tokenFor = () => scene?.token({ secs: lives.shift() ?? 3_600 }) ?? null;
    scene = await Scene.open(t, pages, { mount: false, tokenFor: (reason) => tokenFor(reason) });
    await scene.mount();
    await scene.online();
    await write(scene);
    await until(() => scene.reasons.includes('expiring') && scene.reasons.includes('refused'), 'fresh tokens');
    await scene.isWell();
    await scene.leavesNothing();
  });

  survives('the token is revoked', async (scene) => {
    // A revocation counts for tokens of earlier seconds.
    await scene.call('POST', `/users/${scene.orderId}-customer/revoke`);
    await write(scene);
    await until(() => scene.reasons.includes('refused'), 'a fresh token');
    await scene.online();
  });

  survives('the tab is hidden and frozen for a minute, and its connection dies', async (scene, t) => {
    await scene.turns('hidden');
    await scene.frozen(async () => {
      scene.wire.stall();
      await scene.shopSays('while hidden');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      assert.equal((await scene.stats()).connections, 0, 'the hub has missed it');
      scene.wire.up();
    });
    const began = Date.now();
    await scene.turns('visible');
    await scene.shows('while hidden');
    const took = Date.now() - began;
    t.diagnostic(`up to date ${took} ms after it was shown`);
    // The next ping that the kit sends by itself would take longer.
    assert.ok(took < 10_000, `${took} ms`);
  });

  test('a screen that is closed in any state leaves nothing', async (t) => {
    const scene = await Scene.open(t, pages, { mount: false });
    const closes = async (what, reach) => {
      await scene.mount();
      await reach();
      await scene.leavesNothing().catch((error) => assert.fail(`${what}: ${error.message}`));
    };
    await closes('at once', () => {});
    await closes('online', () => scene.online());
    await closes('while it sends', async () => {
      await scene.online();
      await scene.says('on the way out');
    });
    await closes('while it stalls', async () => {
      await scene.online();
      scene.wire.stall();
      await scene.says('into the void');
    });
    scene.wire.up();
    scene.wire.hold();
    await closes('while it waits', () => scene.page.locator('.connection[data-status=waiting]').waitFor());
    scene.wire.up();
    // What was written before is sent by the next screen, once.
    await scene.mount();
    await scene.isWell();
    await scene.leavesNothing();
  });
});

test('a token of another order is a refusal on the screen, and leaves no room', async (t) => {
  const tokenFor = () => token('demo-customer', { orders: [] });
  const scene = await Scene.open(t, pages, { mount: false, tokenFor });
  await scene.mount();
  await scene.page.locator('.status', { hasText: 'Not in this order' }).waitFor();
  await scene.holds({ connections: 1, rooms: 0 });
  await scene.leavesNothing();
});
