// What a delivery app does with an order, on Socket.IO: it tracks the driver, chats, and comes
// back by itself after restarts of the hub and holes in the network.
//
//   TOKEN=… node order-app.mjs order-1 [http://127.0.0.1:8080] [--drive]
//
// Needs `npm install --no-save socket.io-client`. Every line of stdin is a chat message; --drive
// sends a position every second, for which the token must be a driver's.

import { randomUUID } from 'node:crypto';
import readline from 'node:readline';
import { io } from 'socket.io-client';

const drives = process.argv.includes('--drive');
const [orderId, url = 'http://127.0.0.1:8080'] = process.argv.slice(2).filter((a) => a !== '--drive');
const token = async () => process.env.TOKEN; // An app asks its back end for a fresh one.
if (!orderId || !(await token())) throw new Error('usage: TOKEN=… node order-app.mjs ORDER [URL]');

const socket = io(`${url}/events`, {
  auth: (give) => token().then((token) => give({ token })), // Asked again for every connection.
  transports: ['websocket'],
});

let last = null; // The highest seq shown; null before the first join.
const ahead = new Map(); // seq -> message that waits for those before it
const unacked = new Map(); // clientMsgId -> content: sent again until the hub has stored it

// Without a timeout it may wait for ever: for the network, or for an answer that was cut off.
const ask = (event, data) => socket.timeout(10_000).emitWithAck(event, data);

function show(message) {
  if (last === null || message.seq <= last) return; // Seen before, or part of the snapshot to come.
  ahead.set(message.seq, message);
  for (let next; (next = ahead.get(last + 1)); ahead.delete(last)) {
    last = next.seq;
    console.log(`#${next.seq} ${next.senderName}: ${next.content}`);
  }
}

function locate({ driverId, lat, lng, stale = false }) {
  console.log(`@ ${driverId} ${lat}, ${lng}${stale ? ' (old)' : ''}`);
}

// On every connection, taken up again or not: the snapshot shows what was missed beside chat. The
// hub does not count it twice.
async function join() {
  const since = last === null ? {} : { sinceSeq: last };
  const room = await ask('order:join', { orderId, ...since });
  if (!room.ok) return refused(room.error);
  console.log(`joined ${orderId} (${room.status ?? 'no status'}): ${room.members.map((m) => m.name).join(', ')}`);
  if (room.driverId) console.log(`= driver ${room.driverId}`);
  if (room.lastLocation) locate(room.lastLocation);
  last ??= room.lastSeq - room.messages.length;
  room.messages.forEach(show);
  // More was missed than fits into a snapshot: read on from what is known.
  for (let more = last < room.lastSeq; more; ) {
    const page = await ask('chat:history', { orderId, afterSeq: last, limit: 200 });
    if (!page.ok) return refused(page.error);
    page.messages.forEach(show);
    more = page.hasMore;
  }
  for (const key of unacked.keys()) await say(key);
}

async function say(clientMsgId) {
  const content = unacked.get(clientMsgId);
  const reply = await ask('chat:message', { orderId, content, clientMsgId });
  if (reply.ok) return unacked.delete(clientMsgId);
  const { code, message, retryAfterMs } = reply.error;
  if (retryAfterMs) return setTimeout(() => socket.connected && say(clientMsgId).catch(cut), retryAfterMs);
  unacked.delete(clientMsgId);
  console.error(`not sent (${code}: ${message}): ${content}`);
}

function refused({ code, message, retryAfterMs }) {
  console.error(`refused: ${code}: ${message}`);
  if (!retryAfterMs) process.exit(1);
  setTimeout(() => socket.connected && join().catch(cut), retryAfterMs);
}

const cut = () => {}; // The connection broke, or nothing came in time: the next join goes on.

socket.on('connect', () => {
  console.log(`connected${socket.recovered ? ', where it was' : ''}`);
  join().catch(cut);
});
socket.on('chat:message', show); // A second argument, the offset, is the client's own.
socket.on('location:updated', locate);
// Who takes part in other orders hears of these too, on every connection.
const ours = (event, tell) => socket.on(event, (told) => told.orderId === orderId && tell(told));
ours('order:status', ({ status }) => console.log(`= ${status}`));
ours('order:assigned', ({ driverId, driverName }) => console.log(`= driver ${driverName ?? driverId}`));
ours('order:unassigned', () => console.log('= no driver'));
ours('order:left', ({ reason }) => {
  console.error(`left ${orderId}: ${reason}`);
  process.exit(1); // The right has ended, or the order is gone; an app would show another one.
});
socket.on('presence:joined', ({ name }) => console.log(`* ${name} joined`));
socket.on('presence:left', ({ name }) => console.log(`* ${name} left`));
socket.on('exception', ({ event, code, message }) => console.error(`${event}: ${code}: ${message}`));
socket.on('auth:expiring', async () => ask('auth:refresh', { token: await token() }).catch(cut));
socket.on('session:end', ({ code, reason }) => console.error(`the hub ends it: ${code} ${reason}`));
socket.on('disconnect', (reason) => ended(`closed (${reason})`));
// With `token_expired` an app would fetch a new token and call socket.connect().
socket.on('connect_error', (error) => ended(`${error.message} (${error.data?.code ?? 'no answer'})`));

function ended(why) {
  console.error(socket.active ? `${why}, coming back` : `${why}, for good`);
  if (!socket.active) process.exit(1);
}

readline.createInterface({ input: process.stdin }).on('line', (content) => {
  if (!content.trim()) return;
  const key = randomUUID();
  unacked.set(key, content);
  if (socket.connected && last !== null) say(key).catch(cut);
});

let left = 60;
if (drives) setInterval(drive, 1000);
function drive() {
  left = Math.max(0, left - 1);
  const [lat, lng] = [45.2735 - left * 0.0002, 13.7142 - left * 0.0003].map((a) => +a.toFixed(6));
  // Volatile: old positions are worth nothing, so none waits for the next connection.
  socket.volatile.emit('driver:location', { orderId, lat, lng, recordedAt: new Date().toISOString() });
}
