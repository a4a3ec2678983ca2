// Writes the code of README.md into tests/readme, a file for each block, for the compiler to check;
// that of React Native beside its packages.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = `${root}tests/readme/`;
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
const blocks = readFileSync(`${root}README.md`, 'utf8').matchAll(/^```(tsx?)\n([^]*?)^```$/gm);
let count = 0;
for (const [, extension, code] of blocks) {
  count++;
  const isNative = code.includes("'react-native'");
  const paths = isNative
    ? ['latest', 'previous'].map((version) => `${root}tests/native/${version}/readme.tsx`)
    : [`${folder}${count}.${extension}`];
  for (const path of paths) writeFileSync(path, `${code}export {};\n`);
}
writeFileSync(
  `${folder}augmented.ts`,
  "import { OrderHub } from '@orderhub/client';\n\n" +
    "const hub = new OrderHub({ url: 'http://x', getToken: () => null });\n" +
    "hub.on('order:eta', ({ minutes }) => minutes.toFixed());\n" +
    "// @ts-expect-error it has no such field\nhub.on('order:eta', ({ hours }) => hours);\n",
);
console.log(`${count} blocks`);
