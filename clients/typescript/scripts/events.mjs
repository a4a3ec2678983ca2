// Writes src/events.ts: the events of the hub and their data as types, out of docs/asyncapi.json.
// With --check it writes nothing, and fails where the file is another one.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile } from 'json-schema-to-typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const { channels, components } = JSON.parse(readFileSync(`${root}../../docs/asyncapi.json`, 'utf8'));

const HEADER = `// The events of the hub and their data, as types.
// Written by scripts/events.mjs out of docs/asyncapi.json; not to be changed by hand.
`;

/** Types that are texts on the wire get no names of their own: a name would hide that. */
const TEXTS = ['OrderId', 'UserId', 'SessionId', 'Timestamp'];

/** A schema for the compiler: it looks for others in $defs, and knows no formats. */
function forCompiler(value) {
  if (Array.isArray(value)) return value.map(forCompiler);
  if (value === null || typeof value !== 'object') return value;
  const name = value.$ref?.split('/').pop();
  if (TEXTS.includes(name)) return { type: 'string', description: value.description };
  if (name === 'Anything') return { tsType: 'unknown', description: value.description };
  // No more than a description: any JSON.
  if (Object.keys(value).join() === 'description') return { ...value, tsType: 'unknown' };
  // A description beside a reference would make another type of it.
  if (name) return { $ref: `#/$defs/${name}` };
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, forCompiler(inner)]));
}

const messages = Object.entries(channels.plain.messages);
const dataOf = (message) => forCompiler(message.payload.properties.data);
const listed = (entries) => ({
  type: 'object',
  additionalProperties: false,
  required: entries.map(([name]) => name),
  properties: Object.fromEntries(entries),
});

const hubEvents = messages
  .filter(([key, message]) => key.startsWith('hub.') && message.name !== 'back_end')
  .map(([, message]) => [message.name, dataOf(message)]);
const clientEvents = messages
  .filter(([key]) => key.startsWith('client.') && !key.endsWith('.ack'))
  .map(([key, message]) => {
    const [, reply] = channels.plain.messages[`${key}.ack`].payload.properties.data.oneOf[0].allOf;
    const exchange = listed([['data', dataOf(message)], ['reply', forCompiler(reply)]]);
    return [message.name, { ...exchange, description: message.summary }];
  });

const named = ([name]) => name !== 'Anything' && !TEXTS.includes(name);
const schemas = Object.entries(components.schemas).filter(named);
const written = await compile(
  {
    $defs: {
      ...Object.fromEntries(schemas.map(([name, schema]) => [name, { title: name, ...forCompiler(schema) }])),
      HubEvents: { title: 'HubEvents', description: 'What the hub sends, by name.', ...listed(hubEvents) },
      ClientEvents: {
        title: 'ClientEvents',
        description: 'What a client sends, by name, and what the answer holds beside `ok`.',
        ...listed(clientEvents),
      },
    },
  },
  'Unused',
  {
    additionalProperties: false,
    bannerComment: HEADER,
    unreachableDefinitions: true,
    ignoreMinAndMaxItems: true,
    style: { singleQuote: true, printWidth: 100 },
  },
);
const types = written
  .replace(/^export interface Unused \{\n.*\n\}\n/m, '')
  // The compiler says of each type where it found it.
  .replace(/\n \*\n \* This interface was referenced by [^]*?via the `definition` "\w+"\.(?=\n \*\/)/g, '')
  .replace(/\/\*\*\n \* This interface was referenced by [^]*?via the `definition` "\w+"\.\n \*\/\n/g, '');

const path = `${root}src/events.ts`;
if (!process.argv.includes('--check')) {
  writeFileSync(path, types);
} else if (readFileSync(path, 'utf8') !== types) {
  console.error('src/events.ts is not what docs/asyncapi.json gives: npm run events');
  process.exit(1);
}
