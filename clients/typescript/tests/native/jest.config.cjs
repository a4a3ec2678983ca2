// The tests of this folder with the React Native of a folder below it: `jest -c ../jest.config.cjs`,
// started there. The kit is the packed one, found as a resolver finds it that does not know `exports`.

const folder = process.cwd();
const { moduleNameMapper, transform, ...preset } = require(`${folder}/node_modules/@react-native/jest-preset/jest-preset.js`);

module.exports = {
  ...preset,
  rootDir: folder,
  roots: [__dirname],
  testMatch: [`${__dirname}/*.test.tsx`],
  // The first render compiles React Native.
  testTimeout: 120_000,
  modulePathIgnorePatterns: ['/dist/'],
  moduleNameMapper: {
    ...moduleNameMapper,
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^(react|react-test-renderer|@testing-library/react-native|@orderhub/client)($|/.*)': `${folder}/node_modules/$1$2`,
  },
  transform: {
    ...transform,
    '^.+\\.(js|ts|tsx)$': [
      require.resolve('babel-jest', { paths: [folder] }),
      { babelrc: false, configFile: false, presets: [`${folder}/node_modules/@react-native/babel-preset`] },
    ],
  },
};
