// The client of orderhub. See README.md for how to begin.

/** Events of your own back end: add them by declaration merging. */
export interface BackEndEvents {}

export { OrderHub } from './hub.js';
export type { Events, HubState, Options, RoomHandle } from './hub.js';
export { LOST, OrderHubError, StopError } from './errors.js';
export type { ConnectionState, Status } from './connection.js';
export type { Lifecycle, LifecycleChange } from './lifecycle.js';
export type { Log } from './listeners.js';
export type { Sent } from './outbox.js';
export type { Storage } from './platform.js';
export type { SendType } from './queue.js';
export { emptySnapshot } from './room.js';
export type { RoomSnapshot } from './room.js';
export type { DriverLocation, RoomState } from './room-model.js';
export type { Message } from './timeline.js';
export type { GetToken, TokenReason } from './tokens.js';
export type * from './wire.js';
