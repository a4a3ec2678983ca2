// What the parts of the kit weigh in an app: bundled and minified by esbuild, then gzip -9. Fails
// where a part is over its budget. With --rivals it weighs other clients too, in the same way:
// `npm install` them in a folder, and start this there.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Bytes, gzip. The parts beside the core are weighed without it. */
const BUDGETS = {
  // 8,192 were aimed at: what stands above pays for messages of tabs that are gone, for gaps of any
  // length, and for errors that can be read.
  index: 9_600,
  driver: 2_048,
  react: 2_048,
  'react-native': 1_024,
  'gifted-chat': 1_024,
  compat: 1_280,
};

const RIVALS = {
  phoenix: "export { Socket } from 'phoenix'",
  'socket.io-client': "export { io } from 'socket.io-client'",
  '@microsoft/signalr': "export { HubConnectionBuilder } from '@microsoft/signalr'",
  'pusher-js': "export { default } from 'pusher-js'",
  centrifuge: "export { Centrifuge } from 'centrifuge'",
  ably: "export { Realtime } from 'ably'",
};

const dist = fileURLToPath(new URL('../dist/esm/', import.meta.url));

async function weigh(contents, resolveDir, plugins = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2020',
    external: ['react'],
    plugins,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

/** Every file of the kit but this one is weighed elsewhere. */
const alone = (part) => ({
  name: 'alone',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\// }, ({ path }) => ({ external: path !== `./${part}.js` })),
});

let isOver = false;
for (const [part, budget] of Object.entries(BUDGETS)) {
  const bytes = await weigh(`export * from './${part}.js'`, dist, part === 'index' ? [] : [alone(part)]);
  isOver ||= bytes > budget;
  console.log(`${part}: ${bytes} of ${budget} bytes${bytes > budget ? ': TOO MUCH' : ''}`);
}

if (process.argv.includes('--rivals')) {
  const require = createRequire(`${process.cwd()}/x.js`);
  for (const [name, contents] of Object.entries(RIVALS)) {
    const main = require.resolve(name);
    const { version } = JSON.parse(readFileSync(`${main.slice(0, main.lastIndexOf(`node_modules/${name}`))}node_modules/${name}/package.json`));
    console.log(`${name} ${version}: ${await weigh(contents, process.cwd())} bytes`);
  }
}
process.exitCode = isOver ? 1 : 0;
