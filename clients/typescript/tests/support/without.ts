// The kit with one piece of its source replaced, to see that a test notices.

import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { build } from 'esbuild';
import type * as Kit from '../../src/index.js';

export interface Cure {
  /** A file of src/. */
  file: string;
  /** Stands there once. */
  code: string;
  /** What stands there without the cure. */
  without: string;
}

/** Builds the kit without a cure, or as it is, and loads it. */
export async function kit(cure?: Cure): Promise<typeof Kit> {
  const source = `${import.meta.dirname}/../../src/`;
  const { outputFiles } = await build({
    entryPoints: [`${source}index.ts`],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2020',
    plugins: [
      {
        name: 'without',
        setup({ onLoad }) {
          onLoad({ filter: /\/src\/[^/]*\.ts$/ }, ({ path }) => {
            const contents = readFileSync(path, 'utf8');
            if (!cure || !path.endsWith(`/src/${cure.file}`)) return { contents, loader: 'ts' };
            const parts = contents.split(cure.code);
            if (parts.length !== 2) throw new Error(`${cure.code} stands ${parts.length - 1} times in ${cure.file}`);
            return { contents: parts.join(cure.without), loader: 'ts' };
          });
        },
      },
    ],
  });
  const folder = await mkdtemp(`${tmpdir()}/orderhub-kit-`);
  try {
    const path = `${folder}/kit.mjs`;
    await writeFile(path, outputFiles[0]!.contents);
    return (await import(/* @vite-ignore */ path)) as typeof Kit;
  } finally {
    await rm(folder, { recursive: true });
  }
}
