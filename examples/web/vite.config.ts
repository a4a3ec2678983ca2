// The pages: `index.html`, one person's screen; `demo.html`, the three that the hub serves at /demo;
// and that of the tests. The hub has the built demo in it, so its files have fixed names and nothing stands inline.

import { defineConfig } from 'vite';

export default defineConfig(({ mode }) => {
  const isDemo = mode === 'demo';
  return {
    base: isDemo ? '/demo/' : './',
    // React's licence wants its notice kept.
    esbuild: { jsx: 'automatic', legalComments: 'inline' },
    // The kit has a React of its own for its tests.
    resolve: { dedupe: ['react', 'react-dom'] },
    build: {
      outDir: isDemo ? 'demo' : 'dist',
      target: 'es2022',
      modulePreload: false,
      assetsInlineLimit: 0,
      rollupOptions: {
        input: { demo: 'demo.html', faults: 'tests/page.html' }[mode] ?? 'index.html',
        output: { entryFileNames: '[name].js', assetFileNames: '[name][extname]' },
      },
    },
  };
});
