// The state of a connection, in words.

import type { HubState } from '@orderhub/client';
import { useConnectionState, useHub } from '@orderhub/client/react';
import { useEffect, useState } from 'react';

/** The time, every second, while somebody has to be told. */
function useNow(isNeeded: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isNeeded) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [isNeeded]);
  return now;
}

const seconds = (ms: number) => `${Math.max(0, Math.round(ms / 1_000))} s`;

export function inWords({ status, offlineSince, retryAt, reason, pending }: HubState, now: number): string {
  const waiting = pending > 0 ? `, ${pending} to send` : '';
  if (status === 'online') return `online${waiting}`;
  if (status === 'idle') return `offline${waiting}`;
  if (status === 'ended') return `signed out: ${reason ?? 'the hub has ended the session'}`;
  const since = offlineSince !== undefined && now - offlineSince > 1_000 ? ` for ${seconds(now - offlineSince)}` : '';
  if (status === 'paused') return `resting${waiting}`;
  const next = retryAt !== undefined && retryAt > now ? `, again in ${seconds(retryAt - now)}` : ', connecting';
  return since || waiting || retryAt !== undefined ? `offline${since}${next}${waiting}` : 'connecting';
}

export function ConnectionBar({ name }: { name: string }) {
  const hub = useHub();
  const state = useConnectionState();
  const now = useNow(state.status === 'waiting' || state.status === 'connecting');
  const isOff = state.status === 'idle' || state.status === 'ended';
  return (
    <div className="connection" data-status={state.status}>
      <i className="dot" aria-hidden="true" />
      {/* Only the kind of state is read out, not every second of it. */}
      <span aria-hidden="true">{inWords(state, now)}</span>
      <span className="unseen" role="status">{name} is {state.status === 'online' ? 'online' : 'offline'}</span>
      <button
        type="button"
        aria-label={isOff ? `Connect ${name}` : `Disconnect ${name}`}
        onClick={() => (isOff ? hub.connect() : hub.close())}
      >
        {isOff ? 'Connect' : 'Disconnect'}
      </button>
    </div>
  );
}
