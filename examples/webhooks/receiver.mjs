// Receives webhooks of orderhub: verifies them, and sends a push through Expo to those who did not see a message.
//
//   WEBHOOK_SECRETS=whsec_… PUSH_TOKENS='{"ann":"ExponentPushToken[…]"}' node receiver.mjs [PORT]
//
// Needs `npm install standardwebhooks`. While a secret is replaced, WEBHOOK_SECRETS holds both, with a comma. The
// endpoint in WEBHOOKS_FILE has `events = ["chat.unread"]`. EXPO_URL is where pushes are sent.

import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const EXPO_URL = process.env.EXPO_URL ?? 'https://exp.host/--/api/v2/push/send';
const MAX_BODY_BYTES = 1024 * 1024;
const REMEMBER_MS = 24 * 3600 * 1000;

const verifiers = process.env.WEBHOOK_SECRETS.split(',').map((secret) => new Webhook(secret.trim()));
const pushTokens = JSON.parse(process.env.PUSH_TOKENS ?? '{}'); // A back end has a table of them.
const done = new Map(); // webhook-id -> when: each may come more than once.
const underWay = new Set(); // Those that are being done now.

/** The webhook, if one of the secrets has signed it. */
function verified(body, headers) {
  for (const verifier of verifiers) {
    try {
      return verifier.verify(body, headers);
    } catch {
      // Another secret may have signed it.
    }
  }
  return undefined;
}

async function push({ userId, orderId, unread, messages }) {
  const to = pushTokens[userId];
  if (!to) return;
  const newest = messages.at(-1);
  const body = newest.type === 'IMAGE' ? 'Sent a picture' : newest.content;
  const message = { to, title: newest.senderName, body, badge: unread, data: { orderId } };
  const answer = await fetch(EXPO_URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify([message]),
    signal: AbortSignal.timeout(3000),
  });
  if (!answer.ok) throw new Error(`Expo answers ${answer.status}`);
}

function alreadyDone(id, now) {
  for (const [old, at] of done) {
    if (now - at < REMEMBER_MS) break;
    done.delete(old);
  }
  return done.has(id);
}

async function receive(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) return 413;
    parts.push(part);
  }
  const webhook = verified(Buffer.concat(parts).toString(), request.headers);
  if (!webhook) return 401;
  const id = request.headers['webhook-id'];
  if (alreadyDone(id, Date.now())) return 204;
  if (underWay.has(id)) return 503;
  underWay.add(id);
  try {
    // The push comes before the answer: where it fails, the hub tries again.
    if (webhook.type === 'chat.unread') await push(webhook.data);
    done.set(id, Date.now());
  } finally {
    underWay.delete(id);
  }
  return 204;
}

const server = createServer((request, response) => {
  receive(request)
    .catch((error) => {
      console.error(error.message);
      return 500;
    })
    .then((status) => response.writeHead(status).end());
});
server.listen(Number(process.argv[2] ?? 3000), '127.0.0.1', () => console.log(`listens on ${server.address().port}`));
