// The ground of the map: the demo's town, drawn. With `VITE_TILES` (a URL with {z}, {x} and {y}) it
// is a real map.

import { memo, useId } from 'react';

import { ORIGIN, type Point, ZOOM } from './mercator';
import { BLOCK } from './town-plan';

/** What is shown, in points of the plane. */
export interface Box extends Point {
  width: number;
  height: number;
}

const STREET = 13;
const FAR = 4_000;
/** Roofs of one block, as parts of it: x, y, width, height. */
const roofs = [
  [0.06, 0.1, 0.36, 0.32],
  [0.52, 0.08, 0.42, 0.22],
  [0.08, 0.56, 0.24, 0.34],
  [0.42, 0.48, 0.2, 0.42],
  [0.72, 0.42, 0.22, 0.48],
] as const;

function Block({ column, row, isPark = false }: { column: number; row: number; isPark?: boolean }) {
  const [x, y] = [column * BLOCK.x + STREET / 2, row * BLOCK.y + STREET / 2];
  const [width, height] = [BLOCK.x - STREET, BLOCK.y - STREET];
  const skipped = (column * 3 + row * 2) % roofs.length;
  return (
    <>
      <rect className={isPark ? 'park' : 'block'} {...{ x, y, width, height }} rx={5} />
      {!isPark &&
        roofs.map(([left, top, wide, high], index) =>
          index === skipped ? null : (
            <rect
              key={index}
              className="roof"
              x={x + left * width}
              y={y + top * height}
              width={wide * width}
              height={high * height}
              rx={1.5}
            />
          ),
        )}
    </>
  );
}

const cells = Array.from({ length: 12 }, (_, index) => ({ column: index % 4, row: Math.floor(index / 4) }));

const Town = memo(() => {
  const id = useId();
  const [width, height] = [BLOCK.x * 4, BLOCK.y * 3];
  const everywhere = { x: -FAR, y: -FAR, width: 2 * FAR, height: 2 * FAR };
  return (
    <g aria-hidden="true">
      <pattern {...{ id, width, height }} patternUnits="userSpaceOnUse">
        {cells.map(({ column, row }) => (
          <Block key={`${column} ${row}`} {...{ column, row }} isPark={column === 3 && row === 0} />
        ))}
      </pattern>
      <rect className="street" {...everywhere} />
      <rect fill={`url(#${id})`} {...everywhere} />
      <path className="avenue" d={`M${-FAR} ${BLOCK.y * 2}H${FAR}`} />
      <path className="river" d="M-4000 338C-900 310-200 211 90 260S700 242 4000 434" />
    </g>
  );
});

function Tiles({ box, url }: { box: Box; url: string }) {
  const zoom = Math.max(0, ZOOM - Math.ceil(Math.log2(box.width / 900 + 1)));
  const size = 256 * 2 ** (ZOOM - zoom);
  const range = (from: number, length: number) => {
    const first = Math.floor((from - length) / size);
    return Array.from({ length: Math.ceil((3 * length) / size) + 1 }, (_, index) => first + index);
  };
  return range(ORIGIN.x + box.x, box.width).flatMap((x) =>
    range(ORIGIN.y + box.y, box.height).map((y) => (
      <image
        key={`${x} ${y}`}
        href={url.replace('{z}', `${zoom}`).replace('{x}', `${x}`).replace('{y}', `${y}`)}
        x={x * size - ORIGIN.x}
        y={y * size - ORIGIN.y}
        width={size}
        height={size}
      />
    )),
  );
}

export function Ground({ box }: { box: Box }) {
  const url: string | undefined = import.meta.env.VITE_TILES;
  return url ? <Tiles box={box} url={url} /> : <Town />;
}
