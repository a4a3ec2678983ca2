// A chat client that survives restarts of the hub and holes in the network.
//
//   TOKEN=… node chat.mjs order-1 [ws://127.0.0.1:8080/ws]
//
// Every line of stdin is a message. Node 22 has a WebSocket of its own; on Node 20 run
// `npm install --no-save ws` first.

import { randomUUID } from 'node:crypto';
import readline from 'node:readline';

const WebSocket = globalThis.WebSocket ?? (await import('ws')).default;
const [orderId, url = 'ws://127.0.0.1:8080/ws'] = process.argv.slice(2);
const token = () => process.env.TOKEN; // An app asks its back end for a fresh one.
if (!orderId || !token()) throw new Error('usage: TOKEN=… node chat.mjs ORDER [URL]');

const OPEN_WITHIN_MS = 20_000;

let socket;
let nextId = 1;
let attempts = 0;
let hint; // What `session:end` said about coming back.
let last = null; // The highest seq shown; null before the first join.
const replies = new Map(); // id -> resolve
const ahead = new Map(); // seq -> message that waits for those before it
const unacked = new Map(); // clientMsgId -> content: sent again until the hub has stored it

const send = (event, data) =>
  new Promise((resolve) => {
    const id = nextId++;
    replies.set(id, resolve);
    socket.send(JSON.stringify({ event, data, id }));
  });

function show(message) {
  if (message.seq <= last) return; // Seen before.
  ahead.set(message.seq, message);
  for (let next; (next = ahead.get(last + 1)); ahead.delete(last)) {
    last = next.seq;
    console.log(`#${next.seq} ${next.senderName}: ${next.content}`);
  }
}

async function join() {
  const since = last === null ? {} : { sinceSeq: last };
  const room = await send('order:join', { orderId, ...since });
  if (!room.ok) return refused(room.error);
  attempts = 0;
  console.log(`joined ${orderId}: ${room.members.map((m) => m.name).join(', ')}`);
  last ??= room.lastSeq - room.messages.length;
  room.messages.forEach(show);
  // More was missed than fits into a snapshot: read on from what is known.
  for (let more = last < room.lastSeq; more; ) {
    const page = await send('chat:history', { orderId, afterSeq: last, limit: 200 });
    if (!page.ok) return refused(page.error);
    page.messages.forEach(show);
    more = page.hasMore;
  }
  for (const key of unacked.keys()) say(key);
}

async function say(clientMsgId) {
  const content = unacked.get(clientMsgId);
  const reply = await send('chat:message', { orderId, content, clientMsgId });
  if (reply.ok) return unacked.delete(clientMsgId);
  const { code, message, retryAfterMs } = reply.error;
  if (retryAfterMs) return setTimeout(() => socket.readyState === 1 && say(clientMsgId), retryAfterMs);
  unacked.delete(clientMsgId);
  console.error(`not sent (${code}: ${message}): ${content}`);
}

// How the order is: its status, its driver, and that one no longer takes part.
function told(event, { status, driverId, driverName, reason }) {
  console.log(`= ${event.slice(6)} ${status ?? reason ?? driverName ?? driverId}`);
  if (event === 'order:left') process.exit(1);
}

function refused({ code, message, retryAfterMs }) {
  console.error(`refused: ${code}: ${message}`);
  if (!retryAfterMs) process.exit(1);
  setTimeout(() => socket.close(), retryAfterMs); // Comes back as after any other end.
}

function connect() {
  hint = undefined;
  // Headers would do in Node; subprotocols also work in a browser.
  const mine = new WebSocket(url, ['orderhub.v1', `orderhub.jwt.${token()}`]);
  socket = mine;
  // A dead network ends nothing, and no WebSocket says so: an answer that is late is how it is noticed.
  let pings;
  let late = setTimeout(giveUp, OPEN_WITHIN_MS);
  function watch(everyMs) {
    clearTimeout(late);
    pings = setInterval(() => {
      late = setTimeout(giveUp, everyMs / 2);
      send('ping', {}).then(() => clearTimeout(late));
    }, everyMs);
  }
  function giveUp() {
    // Its close would also wait for an answer.
    mine.onclose({ code: 1006, reason: 'no answer' });
    mine.onmessage = mine.onclose = null;
    mine.close();
  }
  socket.onopen = join;
  socket.onmessage = ({ data }) => {
    const { event, id, data: body } = JSON.parse(data);
    if (event === 'connected') watch(body.pingIntervalMs);
    if (event === 'ack') {
      replies.get(id)?.(body);
      replies.delete(id);
    } else if (event === 'chat:message') show(body);
    else if (event === 'session:end') hint = body;
    else if (event.startsWith('order:') && body.orderId === orderId) told(event, body);
    else if (event.startsWith('presence:')) console.log(`* ${body.name} ${event.slice(9)}`);
  };
  socket.onerror = () => {}; // `onclose` follows.
  socket.onclose = ({ code, reason }) => {
    clearInterval(pings);
    clearTimeout(late);
    replies.clear();
    const fatal = hint ? !hint.retry : (code >= 4400 && code <= 4499 && code !== 4401);
    if (fatal || code === 4401) { // With 4401 an app would fetch a new token and go on.
      console.error(`closed for good: ${code} ${hint?.reason ?? reason}`);
      process.exit(1);
    }
    const backOff = Math.min(30_000, 500 * 2 ** attempts++) * (0.5 + Math.random() / 2);
    const wait = hint?.reconnectAfterMs ?? backOff;
    console.error(`closed (${code}), back in ${Math.round(wait)} ms`);
    setTimeout(connect, wait);
  };
}

connect();
readline.createInterface({ input: process.stdin }).on('line', (content) => {
  if (!content.trim()) return;
  const key = randomUUID();
  unacked.set(key, content);
  if (socket.readyState === 1 && last !== null) say(key);
});
