// The page that the hub serves at /demo: driver, customer and support, each with a connection of
// their own; side by side, and on a phone behind tabs.

import { useUnread } from '@orderhub/client/react';
import { type KeyboardEvent, StrictMode, useRef, useState, useSyncExternalStore } from 'react';
import { createRoot } from 'react-dom/client';

import { hubOf, orderId, people, type Person } from './people';
import { Connected, Screen } from './screen';
import './style.css';

const everyone = people.map((person) => ({ person, hub: hubOf(person) }));
const wide = matchMedia('(min-width: 960px)');

function useIsWide(): boolean {
  return useSyncExternalStore(
    (listener) => {
      wide.addEventListener('change', listener);
      return () => wide.removeEventListener('change', listener);
    },
    () => wide.matches,
  );
}

function TabLabel({ person }: { person: Person }) {
  const { unread } = useUnread();
  return (
    <>
      {person.title}
      {unread > 0 && <b aria-label={`${unread} unread`}>{unread}</b>}
    </>
  );
}

function Tabs({ chosen, choose }: { chosen: number; choose: (index: number) => void }) {
  const list = useRef<HTMLDivElement>(null);
  const move = ({ key }: KeyboardEvent) => {
    const step = key === 'ArrowRight' ? 1 : key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    const next = (chosen + step + everyone.length) % everyone.length;
    choose(next);
    (list.current?.children[next] as HTMLElement).focus();
  };
  return (
    <div className="tabs" role="tablist" aria-label="Who is shown" ref={list} onKeyDown={move}>
      {everyone.map(({ person, hub }, index) => (
        <button
          key={person.part}
          type="button"
          role="tab"
          id={`tab-${person.part}`}
          aria-controls={person.part}
          aria-selected={index === chosen}
          tabIndex={index === chosen ? 0 : -1}
          onClick={() => choose(index)}
        >
          <Connected hub={hub}><TabLabel person={person} /></Connected>
        </button>
      ))}
    </div>
  );
}

function Demo() {
  const isWide = useIsWide();
  const [chosen, choose] = useState(0);
  return (
    <>
      <header className="top">
        <h1>orderhub <small>{orderId}</small></h1>
        <p>Three people in one order, each with a connection of their own. Start the drive, write, disconnect someone.</p>
      </header>
      {!isWide && <nav aria-label="People"><Tabs {...{ chosen, choose }} /></nav>}
      <main className="panes">
        {everyone.map(({ person, hub }, index) => {
          const isShown = isWide || index === chosen;
          return (
            <section
              key={person.part}
              id={person.part}
              hidden={!isShown}
              role={isWide ? undefined : 'tabpanel'}
              aria-label={isWide ? person.title : undefined}
              aria-labelledby={isWide ? undefined : `tab-${person.part}`}
            >
              <Connected hub={hub}><Screen {...{ person, isShown }} /></Connected>
            </section>
          );
        })}
      </main>
    </>
  );
}

createRoot(document.getElementById('root')!).render(<StrictMode><Demo /></StrictMode>);
