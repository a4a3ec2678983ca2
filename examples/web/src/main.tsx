// The page of one person: ?as=customer, driver or support, and ?order=demo-1.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { hubOf, people, query } from './people';
import { Connected, Screen } from './screen';
import './style.css';

const person = people.find(({ part }) => part === query.get('as')) ?? people[1]!;
const hub = hubOf(person);

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <main className="alone">
      <h1 className="unseen">Your order</h1>
      <Connected hub={hub}>
        <Screen person={person} />
      </Connected>
    </main>
  </StrictMode>,
);
