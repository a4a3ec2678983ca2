// The customer's screen as the tests drive it: its tokens are the tests', and it is mounted and
// unmounted when they say.

import { OrderHub, type TokenReason } from '@orderhub/client';
import { StrictMode } from 'react';
import { createRoot, type Root } from 'react-dom/client';

import { people, query } from '../src/people';
import { Connected, Screen } from '../src/screen';
import '../src/style.css';

declare global {
  interface Window {
    fetchToken(why: TokenReason): Promise<string | null>;
    screenUnderTest: { hub: OrderHub; mount(): void; unmount(): void };
  }
}

const person = people.find(({ part }) => part === 'customer')!;
const hub = new OrderHub({ url: query.get('hub')!, getToken: ({ reason }) => window.fetchToken(reason) });
let root: Root | undefined;

window.screenUnderTest = {
  hub,
  mount() {
    root = createRoot(document.getElementById('root')!);
    root.render(
      <StrictMode>
        <Connected hub={hub}>
          <Screen person={person} />
        </Connected>
      </StrictMode>,
    );
  },
  unmount: () => root?.unmount(),
};
