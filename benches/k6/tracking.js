// The scenario of benches/load/tracking.toml for k6: drivers send a position a second, customers watch, now and
// then somebody says something. Over the plain framing; one virtual user is one phone. How to run it: benches/README.md.

import { check } from 'k6';
import exec from 'k6/execution';
import { SharedArray } from 'k6/data';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/websockets';

const HUB = (__ENV.HUB || 'ws://127.0.0.1:8080').replace(/^http/, 'ws');
const HOLD = seconds('HOLD', 30);
const RAMP = seconds('RAMP', 5);
// What is under way at the end may still come.
const SETTLE = 3;
const CHAT_PER_SECOND = { driver: 0.01, customer: 0.02 };

// `orderhub token --format ndjson` makes the file: {"user", "role", "orders", "token"} a line.
const people = new SharedArray('people', () =>
  open(__ENV.TOKENS || 'tokens.ndjson').split('\n').filter((line) => line.trim()).map((line) => JSON.parse(line)),
);

const location = new Trend('location', true); // from the driver's recordedAt to each member
const chat = new Trend('chat', true); // from the send to each member
const chatAck = new Trend('chat_ack', true); // from the send to the ack, which is after the commit
const join = new Trend('join', true); // from order:join to its snapshot
const positionsSent = new Counter('positions_sent');
const positionsSeen = new Counter('positions_seen'); // by all members together: three for each in rooms of three
const chatSent = new Counter('chat_sent');
const chatAnswered = new Rate('chat_answered');
const hubErrors = new Counter('hub_errors'); // acks that are not ok, and exceptions; by `code`
const hubCloses = new Counter('hub_closes'); // ends before the end; by `code`
const outOfOrder = new Counter('out_of_order'); // a seq that is not the next

export const options = {
  scenarios: {
    phones: {
      executor: 'per-vu-iterations',
      vus: people.length,
      iterations: 1,
      maxDuration: `${RAMP + HOLD + SETTLE + 10}s`,
    },
  },
  thresholds: {
    location: ['p(99)<250'],
    chat_ack: ['p(99)<500'],
    chat_answered: ['rate==1'],
    hub_errors: ['count==0'],
    hub_closes: ['count==0'],
    out_of_order: ['count==0'],
    checks: ['rate==1'],
  },
};

export default function phone() {
  const { user, role, orders, token } = people[exec.vu.idInTest - 1];
  const orderId = orders[0];
  setTimeout(() => connect({ user, role, orderId, token }), Math.random() * RAMP * 1000);
}

function connect({ user, role, orderId, token }) {
  const ws = new WebSocket(`${HUB}/ws`, null, { headers: { Authorization: `Bearer ${token}` } });
  const asked = new Map(); // id -> what is done with its ack
  const timers = [];
  let ids = 0;
  let nextSeq = 0; // 0: not joined yet
  let over = false;
  let joined = false;

  const send = (event, data, answer) => {
    const id = answer && ++ids;
    if (answer) asked.set(id, answer);
    ws.send(JSON.stringify({ event, data, id }));
  };
  const timed = (trend, then) => {
    const sent = Date.now();
    return (result) => {
      if (!result.ok) return hubErrors.add(1, { code: result.error.code });
      trend.add(Date.now() - sent);
      if (then) then(result);
    };
  };

  const drive = () => {
    const at = new Date();
    const place = at / 1000 / 600; // a circle of a kilometre in about an hour
    send('driver:location', {
      orderId,
      lat: 45.27 + 0.009 * Math.sin(place),
      lng: 13.71 + 0.009 * Math.cos(place),
      accuracy: 6,
      speed: 8.3,
      recordedAt: at.toISOString(),
    });
    positionsSent.add(1);
  };
  const say = () => {
    const clientMsgId = `${user}.${Date.now()}.${ids}`;
    chatSent.add(1);
    send('chat:message', { orderId, clientMsgId, content: 'I am at the door, please come down. Bye' }, timed(chatAck));
    // Chat comes at random times; never two messages of one phone in the same moment.
    timers.push(setTimeout(say, 250 + (-Math.log(1 - Math.random()) / CHAT_PER_SECOND[role]) * 1000));
  };

  const begin = (snapshot) => {
    joined = true;
    nextSeq = snapshot.lastSeq + 1;
    if (role === 'driver') {
      timers.push(setTimeout(() => timers.push(setInterval(drive, 1000)), Math.random() * 1000));
    }
    if (CHAT_PER_SECOND[role]) {
      timers.push(setTimeout(say, (-Math.log(1 - Math.random()) / CHAT_PER_SECOND[role]) * 1000));
    }
    setTimeout(() => {
      timers.forEach(clearTimeout);
      setTimeout(leave, SETTLE * 1000);
    }, HOLD * 1000);
  };
  const leave = () => {
    over = true;
    // Whatever was asked and is still open has got no answer.
    asked.forEach(() => chatAnswered.add(false));
    ws.close();
  };

  const heard = {
    connected: () => send('order:join', { orderId, limit: 0 }, timed(join, begin)),
    ack: (result, id) => {
      const answer = asked.get(id);
      asked.delete(id);
      if (joined) chatAnswered.add(true);
      answer(result);
    },
    'location:updated': (fix) => {
      location.add(Date.now() - Date.parse(fix.recordedAt));
      positionsSeen.add(1);
    },
    'chat:message': (message) => {
      chat.add(Date.now() - Number(message.clientMsgId.split('.')[1]));
      if (message.seq !== nextSeq) outOfOrder.add(1);
      nextSeq = message.seq + 1;
    },
    exception: (error) => hubErrors.add(1, { code: error.code }),
  };
  ws.onmessage = (frame) => {
    const { event, data, id } = JSON.parse(frame.data);
    if (heard[event]) heard[event](data, id);
  };
  ws.onerror = (error) => {
    if (!over) hubErrors.add(1, { code: error.error || 'socket' });
  };
  ws.onclose = (close) => {
    timers.forEach(clearTimeout);
    check(joined, { joined: (was) => was });
    if (!over) hubCloses.add(1, { code: String(close.code) });
  };
}

function seconds(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!(value > 0)) throw new Error(`${name} must be a number of seconds`);
  return value;
}
