// Builds dist/: ESM and CommonJS, each with its types and source maps, and for resolvers that do not
// know `exports` (Metro before 0.79) a folder for each subpath.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
const subpaths = Object.keys(manifest.exports)
  .map((path) => path.slice(2))
  .filter((path) => path && path !== 'package.json');

const write = (path, content) => {
  mkdirSync(path.replace(/\/[^/]*$/, ''), { recursive: true });
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
};
const compile = (project) =>
  execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', `${root}${project}`], {
    stdio: 'inherit',
  });

rmSync(`${root}dist`, { recursive: true, force: true });
compile('tsconfig.esm.json');
compile('tsconfig.cjs.json');
write(`${root}dist/esm/package.json`, { type: 'module', sideEffects: false });
write(`${root}dist/cjs/package.json`, { type: 'commonjs', sideEffects: false });
for (const name of subpaths) {
  const dist = (format) => `../dist/${format}/${name}`;
  write(`${root}${name}/package.json`, {
    main: `${dist('cjs')}.js`,
    module: `${dist('esm')}.js`,
    types: `${dist('cjs')}.d.ts`,
    sideEffects: false,
  });
}
