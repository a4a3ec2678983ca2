// One person's screen: the state of the order, the map and the chat.

import type { OrderHub } from '@orderhub/client';
import { OrderHubProvider, OrderProvider, useDriverLocation, useLocationPublisher, useOrder } from '@orderhub/client/react';
import { type ReactNode, useState } from 'react';

import { Chat } from './chat';
import { ConnectionBar } from './connection';
import { drive } from './drive';
import { OrderMap, whereabouts } from './map';
import { nameOf, orderId, type Person, setStatus } from './people';

/** The statuses of the demo's shop, in their order. None is terminal: the drive can be repeated. */
const steps: Record<string, string> = {
  ON_THE_WAY: 'On the way',
  ARRIVING: 'Almost there',
  AT_THE_DOOR: 'At the door',
};

function OrderState({ person }: { person: Person }) {
  const { status, driverId, state } = useOrder();
  const location = useDriverLocation();
  const place = Object.keys(steps).indexOf(status ?? '');
  const isDriver = person.part === 'driver';
  const who = isDriver ? 'You' : driverId === null ? 'Driver' : nameOf(driverId);
  const where = location?.stale ? whereabouts(location) : `${who}: ${whereabouts(location)}`;
  const refused = state.status === 'refused' || state.status === 'left';
  return (
    <div className="order">
      <p className="status" role="status">
        {refused ? `Not in this order: ${state.error?.message}` : status ? (steps[status] ?? status) : 'Order received'}
      </p>
      <p className="where" data-stale={location?.stale ?? true}>{where}</p>
      <div className="steps" aria-hidden="true">
        {Object.keys(steps).map((step, index) => (
          <i key={step} className={index <= place ? 'done' : undefined} />
        ))}
      </div>
    </div>
  );
}

/** What the driver's app has more than the others: it drives. */
function Driving() {
  const [isOn, setOn] = useState(false);
  const [trouble, setTrouble] = useState('');
  const tell = (status: string) => setStatus(status).then(() => setTrouble(''), ({ message }) => setTrouble(message));
  const { lastAccepted, buffered, error } = useLocationPublisher({
    enabled: isOn,
    orderIds: [orderId],
    buffer: true,
    watch: (report) => {
      let status = 'ON_THE_WAY';
      void tell(status);
      return drive(report, (part) => {
        const next = part === 1 ? 'AT_THE_DOOR' : part > 0.75 ? 'ARRIVING' : 'ON_THE_WAY';
        if (next !== status) void tell((status = next));
        if (part === 1) setOn(false);
      });
    },
  });
  const kept = buffered > 0 ? `${buffered} positions kept for later` : '';
  const shared = isOn && lastAccepted ? 'your position is shared' : '';
  return (
    <div className="driving">
      <button type="button" className="main" onClick={() => setOn(!isOn)}>{isOn ? 'Stop the drive' : 'Start the drive'}</button>
      <span>{trouble || error?.message || kept || shared}</span>
    </div>
  );
}

export function Screen({ person, isShown = true }: { person: Person; isShown?: boolean }) {
  return (
    <div className="screen" data-part={person.part}>
      <header>
        <span className="face" aria-hidden="true">{person.name[0]}</span>
        <h2>{person.name} <small>{person.title}</small></h2>
        <ConnectionBar name={person.name} />
      </header>
      <OrderState person={person} />
      <OrderMap />
      {person.part === 'driver' && <Driving />}
      <Chat {...{ person, isShown }} />
    </div>
  );
}

/** Gives its children the connection of a person and the order. */
export function Connected({ hub, children }: { hub: OrderHub; children: ReactNode }) {
  return (
    <OrderHubProvider hub={hub}>
      <OrderProvider orderId={orderId}>{children}</OrderProvider>
    </OrderHubProvider>
  );
}
