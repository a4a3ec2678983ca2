// A slow line is not a dead one: a page that takes most of a minute arrives, and its client stays.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { io } from 'socket.io-client';

import { within } from '../support/deadline.mjs';
import { startHub } from '../support/hub.mjs';
import { Inbox } from '../support/inbox.mjs';
import { connectPlain } from '../support/plain.mjs';
import { token } from '../support/tokens.mjs';

/** More than a page holds. */
const MESSAGES = 48;
const CONTENT = 'x'.repeat(1000);
const ORDER = 'order-1';

const { HUB_BINARY, HUB_HOST } = process.env;
const RATES = { CHAT_PER_SECOND: 0, EVENTS_PER_SECOND: 0 };
const hub = await startHub({ after }, { BIND_ADDR: '0.0.0.0:0', ...RATES, HUB_BINARY, HUB_HOST });

/** The hub as a client finds it by one of the lines. */
const by = (line) => {
  const url = `http://10.77.${line}.1:${hub.port}`;
  return { url, plainUrl: `${url.replace('http', 'ws')}/ws` };
};

const talker = await connectPlain({ after }, by(0), 'dan', { role: 'driver', orders: [ORDER] });
const say = (content) => talker.call('chat:message', { orderId: ORDER, content });
for (let n = 0; n < MESSAGES; n++) await say(CONTENT);

/** Joins by stock socket.io-client; what it has got, and how it is told of the next message. */
function stockClient(t, line, transport) {
  const auth = { token: token(`ann-${line}`, { orders: [ORDER] }) };
  const socket = io(by(line).url, { auth, transports: [transport], reconnection: false, forceNew: true });
  t.after(() => socket.close());
  const ended = new Promise((_, reject) => {
    for (const event of ['disconnect', 'connect_error', 'session:end']) {
      socket.on(event, (why) => reject(new Error(`${event}: ${JSON.stringify(why?.message ?? why)}`)));
    }
  });
  const inbox = new Inbox();
  socket.on('chat:message', (message) => inbox.push('chat:message', message));
  const stays = (promise) => Promise.race([promise, ended]);
  return {
    page: () => stays(within(socket.timeout(120_000).emitWithAck('order:join', { orderId: ORDER }), 'a page')),
    hear: (fits) => stays(inbox.take('chat:message', fits)),
  };
}

async function plainClient(t, line) {
  const plain = await connectPlain(t, by(line), `ann-${line}`, { orders: [ORDER] });
  return {
    page: () => plain.call('order:join', { orderId: ORDER }),
    hear: (fits) => plain.take('chat:message', fits),
  };
}

describe('a whole page arrives, and what is said after it', { concurrency: true }, () => {
  const clients = {
    'the plain framing': (t) => plainClient(t, 1),
    'Socket.IO by a WebSocket': (t) => stockClient(t, 2, 'websocket'),
    'Socket.IO by long-polling': (t) => stockClient(t, 3, 'polling'),
  };
  for (const [name, connect] of Object.entries(clients)) {
    test(name, async (t) => {
      const client = await connect(t);
      const { ok, messages } = await client.page();
      assert.equal(ok, true);
      assert.ok(JSON.stringify(messages).length > 45_000, `${messages.length} messages`);
      assert.equal(messages.at(-1).seq, MESSAGES);
      await say(`for ${name}`);
      await client.hear(({ content }) => content === `for ${name}`);
      assert.equal(hub.log().includes('slow_reader'), false);
    });
  }
});
