// Web Mercator, as map tiles have it: degrees to points of a plane and back. The plane is that of
// zoom 17 with its origin in the town, so that numbers stay small.

export interface Place {
  lat: number;
  lng: number;
}

export interface Point {
  x: number;
  y: number;
}

export const ZOOM = 17;
const WORLD = 256 * 2 ** ZOOM;
const RADIANS = Math.PI / 180;

const onWorld = ({ lat, lng }: Place): Point => ({
  x: ((lng + 180) / 360) * WORLD,
  y: ((1 - Math.asinh(Math.tan(lat * RADIANS)) / Math.PI) / 2) * WORLD,
});

export const ORIGIN = onWorld({ lat: 45.2735, lng: 13.7142 });

export function project(place: Place): Point {
  const { x, y } = onWorld(place);
  return { x: x - ORIGIN.x, y: y - ORIGIN.y };
}

export const unproject = ({ x, y }: Point): Place => ({
  lat: Math.atan(Math.sinh(Math.PI * (1 - (2 * (y + ORIGIN.y)) / WORLD))) / RADIANS,
  lng: ((x + ORIGIN.x) / WORLD) * 360 - 180,
});

/** Metres between two places that are near each other. */
export function distance(from: Place, to: Place): number {
  const north = (to.lat - from.lat) * 111_320;
  const east = (to.lng - from.lng) * 111_320 * Math.cos(from.lat * RADIANS);
  return Math.hypot(north, east);
}
