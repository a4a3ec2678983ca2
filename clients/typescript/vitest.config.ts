import { defineConfig } from 'vitest/config';

// REACT names a folder below tests/ with another version of React.
const folder = process.env['REACT'];
const modules = ['react', 'react-dom', '@testing-library/react'];

export default defineConfig({
  resolve: {
    alias: folder
      ? modules.map((name) => ({
          find: new RegExp(`^${name}(/.*)?$`),
          replacement: `${import.meta.dirname}/tests/${folder}/node_modules/${name}$1`,
        }))
      : [],
  },
  esbuild: { jsx: 'automatic' },
  test: { include: ['tests/{unit,hooks,pitfalls}/**/*.test.{ts,tsx}'], unstubGlobals: true, setupFiles: ['tests/support/bare.ts'] },
});
