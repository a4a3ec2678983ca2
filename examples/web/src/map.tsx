// The map: where the order comes from, where it goes, and the driver, who moves smoothly from fix to
// fix and turns grey when the last one is old.

import type { DriverLocation } from '@orderhub/client';
import { useDriverLocation } from '@orderhub/client/react';
import { useEffect, useMemo, useRef, useState } from 'react';

import { home, shop } from './drive';
import { distance, type Place, type Point, project } from './mercator';
import { nameOf } from './people';
import { type Box, Ground } from './town';

const MARGIN = 46;
/** The width of the map at which markers have their natural size. */
const NATURAL = 460;
/** A step that is longer than this was not driven. */
const JUMP_METRES = 60;

function around(points: Point[]): Box {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [x, y] = [Math.min(...xs) - MARGIN, Math.min(...ys) - MARGIN];
  return { x, y, width: Math.max(...xs) + MARGIN - x, height: Math.max(...ys) + MARGIN - y };
}

const isCalm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/** Moves an element from where it is shown to the newest fix, for as long as fixes are apart. */
function useGlide(location: DriverLocation | null, scale: number) {
  const element = useRef<SVGGElement>(null);
  const shown = useRef<Point & { heading: number; since: number }>(undefined);
  const { lat, lng, heading = 0 } = location ?? {};
  useEffect(() => {
    if (lat === undefined || lng === undefined) return undefined;
    const began = performance.now();
    const to = { ...project({ lat, lng }), heading };
    const from = shown.current ?? { ...to, since: began };
    const isFar = Math.hypot(to.x - from.x, to.y - from.y) > JUMP_METRES;
    const ms = isCalm() || isFar ? 0 : Math.min(1_500, began - from.since);
    // The short way round.
    const turn = ((((to.heading - from.heading) % 360) + 540) % 360) - 180;
    let frame = 0;
    const step = (now: number) => {
      const part = ms > 0 ? Math.min(1, Math.max(0, (now - began) / ms)) : 1;
      const between = (one: number, other: number) => one + (other - one) * part;
      const [x, y] = [between(from.x, to.x), between(from.y, to.y)];
      const angle = from.heading + turn * Math.min(1, part * 3);
      shown.current = { x, y, heading: angle, since: began };
      element.current?.setAttribute('transform', `translate(${x} ${y}) scale(${scale}) rotate(${angle})`);
      if (part < 1) frame = requestAnimationFrame(step);
    };
    step(began);
    return () => cancelAnimationFrame(frame);
  }, [lat, lng, heading, scale]);
  return element;
}

/** Where the driver was since the page was opened. */
function useTrail(location: DriverLocation | null): string {
  const [trail, setTrail] = useState<Place[]>([]);
  const { lat, lng } = location ?? {};
  useEffect(() => {
    if (lat === undefined || lng === undefined) return;
    setTrail((before) => {
      const last = before[before.length - 1];
      const isJump = last && distance(last, { lat, lng }) > JUMP_METRES;
      return [...(isJump ? [] : before.slice(-300)), { lat, lng }];
    });
  }, [lat, lng]);
  return trail.map(project).map(({ x, y }) => `${x},${y}`).join(' ');
}

function Pin({ at, scale, label, children }: { at: Place; scale: number; label: string; children: string }) {
  const { x, y } = project(at);
  return (
    <g className="pin" transform={`translate(${x} ${y}) scale(${scale})`}>
      <title>{label}</title>
      <path className="pin-body" d="M0 2C-3-6-14-12-14-22a14 14 0 0 1 28 0C14-12 3-6 0 2Z" />
      <path className="pin-sign" d={children} transform="translate(-8 -30)" />
    </g>
  );
}

const BAG = 'M4 5h8l1 9H3ZM5.500 5a2.500 2.500 0 0 1 5 0h-1.300a1.200 1.200 0 0 0-2.400 0Z';
const DOOR = 'M8 1.500 15 8h-2v6H9.700v-4H6.300v4H3V8H1Z';

/** Where the driver is, in words. */
export function whereabouts(location: DriverLocation | null): string {
  if (!location) return 'no position yet';
  const metres = distance(location, home);
  const far = metres < 25 ? 'at the door' : metres < 1_000 ? `${Math.round(metres / 10) * 10} m away` : `${(metres / 1_000).toFixed(1)} km away`;
  return location.stale ? `last seen ${far}, ${clock(location.timestamp)}` : far;
}

export const clock = (time: string) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

export function OrderMap() {
  const location = useDriverLocation();
  const box = useMemo(() => around([shop, home, ...(location ? [location] : [])].map(project)), [location]);
  const scale = Math.max(1, box.width / NATURAL);
  const marker = useGlide(location, scale);
  const trail = useTrail(location);
  const name = location ? nameOf(location.driverId) : 'the driver';
  return (
    <svg
      className="map"
      viewBox={`${box.x} ${box.y} ${box.width} ${box.height}`}
      role="img"
      aria-label={`Map: ${name}, ${whereabouts(location)}`}
    >
      <Ground box={box} />
      <polyline className="trail" points={trail} strokeWidth={5 * scale} />
      {location && (
        <g ref={marker} className="driver" data-stale={location.stale}>
          <circle className="halo" r={24} />
          <circle className="disc" r={15} />
          <path className="arrow" d="M0-9 7 7 0 3.500-7 7Z" />
        </g>
      )}
      <Pin at={shop} scale={scale} label="The shop">{BAG}</Pin>
      <Pin at={home} scale={scale} label="The door">{DOOR}</Pin>
    </svg>
  );
}
