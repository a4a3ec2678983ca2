// docs/asyncapi.json, which is what a hub serves at /asyncapi.json, is valid by AsyncAPI's own parser.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Parser } from '@asyncapi/parser';

const document = await readFile(new URL('../../../docs/asyncapi.json', import.meta.url), 'utf8');

/** What the parser finds wrong; its advice about servers and ids is not of interest. */
async function mistakes(text) {
  const { document, diagnostics } = await new Parser().parse(text);
  return { document, wrong: diagnostics.filter(({ severity }) => severity === 0) };
}

test('the events are described by a valid document', async () => {
  const { document: parsed, wrong } = await mistakes(document);
  assert.deepEqual(wrong, []);
  assert.deepEqual(parsed.channels().all().map((channel) => channel.id()).sort(), ['plain', 'socketio']);
  const chat = parsed.channels().get('plain').messages().get('client.chat.message');
  assert.equal(chat.name(), 'chat:message');
  assert.deepEqual(chat.payload().json().properties.data.required, ['orderId', 'content']);
});

test('a document with a mistake is not valid', async () => {
  const { wrong } = await mistakes(document.replace('"action": "receive"', '"action": "listen"'));
  assert.notDeepEqual(wrong, []);
});
