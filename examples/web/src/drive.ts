// A drive through the town of the demo: one fix a second, as a phone would report them.

import type { Fix } from '@orderhub/client/driver';

import { distance, type Place, type Point, unproject } from './mercator';
import { BLOCK, SHOP, HOME } from './town-plan';

const METRES_A_SECOND = 14;

/** The corners of the way, in blocks of the town. */
const corners: Point[] = [
  SHOP,
  { x: 0, y: 1 },
  { x: 2, y: 1 },
  { x: 2, y: 2 },
  { x: 4, y: 2 },
  { x: 4, y: 3 },
  HOME,
];

const places = corners.map(({ x, y }) => unproject({ x: x * BLOCK.x, y: y * BLOCK.y }));

export const shop = places[0] as Place;
export const home = places[places.length - 1] as Place;

function leg(from: Place, to: Place, turn: Point): Fix[] {
  const steps = Math.round(distance(from, to) / METRES_A_SECOND);
  const heading = ((Math.atan2(turn.x, -turn.y) * 180) / Math.PI + 360) % 360;
  return Array.from({ length: steps }, (_, step) => {
    const part = (step + 1) / steps;
    return {
      lat: from.lat + (to.lat - from.lat) * part,
      lng: from.lng + (to.lng - from.lng) * part,
      heading,
      speed: METRES_A_SECOND,
      accuracy: 5,
    };
  });
}

const fixes = [{ ...shop }, ...places.slice(1).flatMap((to, index) => {
  const [from, before, after] = [places[index], corners[index], corners[index + 1]];
  return from && before && after ? leg(from, to, { x: after.x - before.x, y: after.y - before.y }) : [];
})];

/** Drives once; `progress` goes from 0 to 1. The result ends it. */
export function drive(report: (fix: Fix) => void, progress: (part: number) => void): () => void {
  let next = 0;
  const step = () => {
    const fix = fixes[next++];
    if (!fix) return;
    report(fix);
    progress(next / fixes.length);
  };
  step();
  const timer = setInterval(step, 1_000);
  return () => clearInterval(timer);
}
