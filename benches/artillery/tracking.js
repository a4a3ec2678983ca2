// What the scenario cannot say in YAML: what a phone sends next, and how long that took to whoever sees it.

'use strict';

const HOLD = Number(process.env.HOLD || 30);
const CHAT_PER_SECOND = { driver: 0.01, customer: 0.02 };

/** Times whatever the phone hears: a position by its `recordedAt`, a message by the time in its key. */
function arrive(context, events, done) {
  const { vars, sockets } = context;
  vars.turns = Array.from({ length: HOLD }, (_, turn) => turn);
  const socket = sockets[''];
  socket.on('location:updated', (fix) => {
    events.emit('histogram', 'location', Date.now() - Date.parse(fix.recordedAt));
    events.emit('counter', 'positions_seen', 1);
  });
  socket.on('chat:message', (message) => {
    events.emit('histogram', 'chat', Date.now() - Number(message.clientMsgId.split('.')[1]));
  });
  socket.on('exception', (error) => events.emit('error', `exception: ${error.code}`));
  socket.on('disconnect', (reason) => {
    vars.gone = `disconnect: ${reason}`;
  });
  done();
}

/** What the phone does in this second. */
function turn(context, events, done) {
  const { vars } = context;
  if (vars.gone) {
    events.emit('error', vars.gone);
    return done(new Error(vars.gone));
  }
  const now = Date.now();
  const place = now / 1000 / 600; // a circle of a kilometre in about an hour
  vars.fix = {
    orderId: vars.order,
    lat: 45.27 + 0.009 * Math.sin(place),
    lng: 13.71 + 0.009 * Math.cos(place),
    accuracy: 6,
    speed: 8.3,
    recordedAt: new Date(now).toISOString(),
  };
  vars.drives = vars.role === 'driver' ? [1] : [];
  vars.said = now;
  vars.message = {
    orderId: vars.order,
    clientMsgId: `${vars.user}.${now}`,
    content: 'I am at the door, please come down. Bye',
  };
  vars.says = Math.random() < CHAT_PER_SECOND[vars.role] ? [1] : [];
  if (vars.drives.length) events.emit('counter', 'positions_sent', 1);
  done();
}

/** The message is committed. */
function acknowledged(context, events, done) {
  events.emit('histogram', 'chat_ack', Date.now() - context.vars.said);
  done();
}

module.exports = { arrive, turn, acknowledged };
