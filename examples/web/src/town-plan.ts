// The plan of the demo's town: blocks between streets, and what stands where.

/** The size of a block with its street, in points of the plane. */
export const BLOCK = { x: 74, y: 62 };

/** In blocks, where streets cross. */
export const SHOP = { x: 0, y: 0 };
export const HOME = { x: 5, y: 3 };
