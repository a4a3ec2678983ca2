// The events of the hub and their data, as types.
// Written by scripts/events.mjs out of docs/asyncapi.json; not to be changed by hand.

/**
 * Why something was refused. The text form is part of the protocol and never changes.
 */
export type ErrorCode =
  | 'bad_envelope'
  | 'unknown_event'
  | 'invalid_payload'
  | 'not_joined'
  | 'forbidden'
  | 'not_found'
  | 'order_closed'
  | 'rate_limited'
  | 'too_many_rooms'
  | 'conflict'
  | 'stale'
  | 'unavailable'
  | 'unauthenticated'
  | 'token_expired'
  | 'internal'
  | 'rejected';
export type BackEndData = {} | unknown[];
/**
 * What a message's content is.
 */
export type ChatKind = 'TEXT' | 'IMAGE' | 'SYSTEM';
/**
 * The role that a token gives its user.
 */
export type Role = 'customer' | 'driver' | 'support' | 'admin' | 'service';
/**
 * The last position of a room, with its age.
 */
export type LastLocation = Position & {
  /**
   * How long ago the hub took it.
   */
  ageMs: number;
  /**
   * Whether it is too old to be shown as live.
   */
  stale: boolean;
};
/**
 * Why a session is no longer in a room.
 */
export type LeftReason = 'requested' | 'removed' | 'closed';
/**
 * The data of `location:updated`.
 */
export type LocationUpdate = Position & {
  /**
   * Charge of the phone; staff only.
   */
  battery?: number;
  /**
   * The id of the order.
   */
  orderId: string;
};
/**
 * The data of `presence:joined` and `presence:left`.
 */
export type Presence = MemberInfo & {
  /**
   * The id of the order.
   */
  orderId: string;
};

/**
 * The reply to `driver:location`.
 */
export interface Accepted {
  /**
   * How many orders took the position.
   */
  accepted: number;
  /**
   * The orders that refused it.
   */
  rejected?: RejectedOrder[];
}
/**
 * An order that refused a location.
 */
export interface RejectedOrder {
  code: ErrorCode;
  /**
   * The id of the order.
   */
  orderId: string;
}
/**
 * The data of `order:assigned` and `order:unassigned`.
 */
export interface Assignment {
  /**
   * When it changed.
   */
  at: string;
  /**
   * The driver who was assigned or unassigned.
   */
  driverId: string;
  /**
   * The driver's name, null if the back end gave none.
   */
  driverName: string | null;
  /**
   * The id of the order.
   */
  orderId: string;
}
/**
 * The data of `chat:message`.
 */
export interface Chat {
  /**
   * The client's own key, 1 to 64 characters, by which a retry is recognised.
   */
  clientMsgId?: string | null;
  /**
   * The text, 1 to 4,000 characters, or where an image is.
   */
  content: string;
  /**
   * The id of the order.
   */
  orderId: string;
  type?: ChatKind;
}
/**
 * A stored message: the data of the event `chat:message`.
 */
export interface ChatMessage {
  /**
   * The sender's own key, by which a retry is recognised.
   */
  clientMsgId: string | null;
  /**
   * 1 to 4,000 characters.
   */
  content: string;
  /**
   * When the hub admitted it.
   */
  createdAt: string;
  /**
   * `UUIDv7`, unique over all orders.
   */
  id: string;
  /**
   * The room it belongs to.
   */
  orderId: string;
  /**
   * The author.
   */
  senderId: string;
  /**
   * The sender's name when it was written.
   */
  senderName: string;
  senderRole: Role;
  /**
   * Its number in the room: 1, 2, 3 … without gaps.
   */
  seq: number;
  type: ChatKind;
}
/**
 * The data of `connected`.
 */
export interface Connected {
  /**
   * When the token ends.
   */
  expiresAt: string;
  /**
   * The largest message it takes.
   */
  maxMessageBytes: number;
  /**
   * How often the hub pings.
   */
  pingIntervalMs: number;
  /**
   * [`PROTOCOL_VERSION`].
   */
  protocol: number;
  role: Role;
  /**
   * The session's id.
   */
  sessionId: string;
  /**
   * The user that the token names.
   */
  userId: string;
}
/**
 * The reply to an event that says nothing beside `ok`.
 */
export interface Done {}
/**
 * The data of `exception`, in the form that clients of `NestJS` gateways listen for.
 */
export interface Exception {
  cause?: ExceptionCause;
  code: ErrorCode;
  event?: string;
  field?: string;
  message: string;
  retryAfterMs?: number;
  status: string;
}
export interface ExceptionCause {
  pattern: string;
}
/**
 * The data of `auth:expiring`.
 */
export interface Expiring {
  /**
   * When the token ends.
   */
  expiresAt: string;
  /**
   * How long that is.
   */
  inMs: number;
}
/**
 * A refusal as the client gets it.
 */
export interface Failure {
  code: ErrorCode;
  /**
   * The field that is wrong, as a path (`orderIds[2]`).
   */
  field?: string;
  /**
   * One sentence for a developer.
   */
  message: string;
  /**
   * When a retry is useful.
   */
  retryAfterMs?: number;
}
/**
 * The data of `chat:history`.
 */
export interface History {
  /**
   * A page that begins after this message; 0 is the beginning.
   */
  afterSeq?: number | null;
  /**
   * A page that ends before this message.
   */
  beforeSeq?: number | null;
  /**
   * How many messages at most, 1 to 200.
   */
  limit?: number;
  /**
   * The id of the order.
   */
  orderId: string;
}
/**
 * The reply to `chat:history`.
 */
export interface HistoryPage {
  /**
   * Whether there are more in that direction.
   */
  hasMore: boolean;
  /**
   * Messages in order of `seq`.
   */
  messages: ChatMessage[];
}
/**
 * The data of `order:join`.
 */
export interface Join {
  /**
   * How many messages at most, 0 to 200.
   */
  limit?: number;
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * The last message that the client has.
   */
  sinceSeq?: number | null;
}
/**
 * Where a driver was: the part of a fix that a room remembers and the database keeps.
 */
export interface Position {
  /**
   * Radius in metres within which the position is true.
   */
  accuracy?: number;
  /**
   * Metres above the ellipsoid.
   */
  altitude?: number;
  /**
   * The driver.
   */
  driverId: string;
  /**
   * Direction of travel in degrees from north, clockwise.
   */
  heading?: number;
  /**
   * Latitude in degrees, -90 to 90.
   */
  lat: number;
  /**
   * Longitude in degrees, -180 to 180.
   */
  lng: number;
  /**
   * When the phone took it, by the phone's clock.
   */
  recordedAt?: string;
  /**
   * Metres per second.
   */
  speed?: number;
  /**
   * When the hub took it.
   */
  timestamp: string;
}
/**
 * The data of `order:leave`.
 */
export interface Leave {
  /**
   * Undo every join of this session, instead of one.
   */
  all?: boolean;
  /**
   * The id of the order.
   */
  orderId: string;
}
/**
 * The data of `order:left`.
 */
export interface Left {
  /**
   * The id of the order.
   */
  orderId: string;
  reason: LeftReason;
}
/**
 * The data of `driver:location`. Without an order it is for every open order of the driver.
 */
export interface Location {
  /**
   * Metres.
   */
  accuracy?: number | null;
  /**
   * Metres.
   */
  altitude?: number | null;
  /**
   * Charge of the phone, 0 to 1; shown to staff only.
   */
  battery?: number | null;
  /**
   * Degrees from north, clockwise, 0 to 360.
   */
  heading?: number | null;
  /**
   * Degrees, -90 to 90.
   */
  lat: number;
  /**
   * Degrees, -180 to 180.
   */
  lng: number;
  orderId?: string | null;
  /**
   * Or 1 to 20.
   */
  orderIds?: string[] | null;
  recordedAt?: string | null;
  /**
   * Metres per second.
   */
  speed?: number | null;
}
/**
 * A user in a room.
 */
export interface MemberInfo {
  /**
   * The name in the token.
   */
  name: string;
  role: Role;
  /**
   * The user.
   */
  userId: string;
}
/**
 * How far a user has read.
 */
export interface ReadMark {
  /**
   * The highest message that was read.
   */
  seq: number;
  /**
   * The user.
   */
  userId: string;
}
/**
 * The data of `chat:delivered` and `chat:read`.
 */
export interface Receipt {
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * The last message that it covers; 0 is none.
   */
  seq: number;
}
/**
 * The data of `chat:delivered` and `chat:read`.
 */
export interface ReceiptUpdate {
  /**
   * When the hub got the receipt.
   */
  at: string;
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * The last message that it covers.
   */
  seq: number;
  /**
   * The user whose receipt it is.
   */
  userId: string;
}
/**
 * The data of `auth:refresh`.
 */
export interface Refresh {
  /**
   * A token of the same user.
   */
  token: string;
}
/**
 * The reply to `auth:refresh`.
 */
export interface Refreshed {
  /**
   * When the new token ends.
   */
  expiresAt: string;
}
/**
 * The answer to an event that was refused.
 */
export interface Refused {
  error: Failure;
  /**
   * False.
   */
  ok: boolean;
}
/**
 * The reply to `order:leave`.
 */
export interface Remaining {
  /**
   * Joins of this session that remain.
   */
  remaining: number;
}
/**
 * The data of `session:end`.
 */
export interface SessionEnd {
  /**
   * The close code that follows.
   */
  code: number;
  /**
   * Its reason.
   */
  reason: string;
  /**
   * When the client should reconnect.
   */
  reconnectAfterMs?: number;
  /**
   * Whether the client should reconnect.
   */
  retry: boolean;
}
/**
 * The state of a room when a session joins it.
 */
export interface Snapshot {
  driverId: string | null;
  lastLocation: LastLocation | null;
  /**
   * The number of the newest message; live ones follow with the next number.
   */
  lastSeq: number;
  /**
   * The users in the room, each once.
   */
  members: MemberInfo[];
  /**
   * Messages in order of `seq`.
   */
  messages: ChatMessage[];
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * How far each user has read; users who have read nothing are absent.
   */
  readMarks: ReadMark[];
  /**
   * Whether `messages` is everything since `sinceSeq`.
   */
  recovered: boolean;
  /**
   * The order's status, null if no back end has set one.
   */
  status: string | null;
  /**
   * How many messages of others the user has not read.
   */
  unread: number;
}
/**
 * The data of `order:status`.
 */
export interface StatusChange {
  /**
   * When it changed.
   */
  at: string;
  /**
   * Further data of the back end.
   */
  data?: unknown;
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * The status before, null if there was none.
   */
  previousStatus: string | null;
  /**
   * The new status.
   */
  status: string;
}
/**
 * The reply to `chat:message`.
 */
export interface Stored {
  /**
   * When it was admitted.
   */
  createdAt: string;
  /**
   * Whether it was stored before.
   */
  duplicate?: boolean;
  /**
   * The message's id.
   */
  id: string;
  /**
   * The message's number in the room.
   */
  seq: number;
}
/**
 * The data of `chat:typing`.
 */
export interface Typing {
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * Whether the user is typing.
   */
  typing: boolean;
}
/**
 * The data of `chat:typing`.
 */
export interface TypingUpdate {
  /**
   * The id of the order.
   */
  orderId: string;
  /**
   * Whether that user is typing.
   */
  typing: boolean;
  /**
   * The user.
   */
  userId: string;
}
/**
 * What the hub sends, by name.
 */
export interface HubEvents {
  'auth:expiring': Expiring;
  'chat:delivered': ReceiptUpdate;
  'chat:message': ChatMessage;
  'chat:read': ReceiptUpdate;
  'chat:typing': TypingUpdate;
  connected: Connected;
  exception: Exception;
  'location:updated': LocationUpdate;
  'order:assigned': Assignment;
  'order:joined': Snapshot;
  'order:left': Left;
  'order:status': StatusChange;
  'order:unassigned': Assignment;
  pong: unknown;
  'presence:joined': Presence;
  'presence:left': Presence;
  'session:end': SessionEnd;
}
/**
 * What a client sends, by name, and what the answer holds beside `ok`.
 */
export interface ClientEvents {
  /**
   * Continue with a new token.
   */
  'auth:refresh': {
    data: Refresh;
    reply: Refreshed;
  };
  /**
   * A device of the user has the messages.
   */
  'chat:delivered': {
    data: Receipt;
    reply: Done;
  };
  /**
   * Read earlier messages.
   */
  'chat:history': {
    data: History;
    reply: HistoryPage;
  };
  /**
   * Post a message.
   */
  'chat:message': {
    data: Chat;
    reply: Stored;
  };
  /**
   * The user has read the messages.
   */
  'chat:read': {
    data: Receipt;
    reply: Done;
  };
  /**
   * The user starts or stops typing.
   */
  'chat:typing': {
    data: Typing;
    reply: Done;
  };
  /**
   * Where the driver is.
   */
  'driver:location': {
    data: Location;
    reply: Accepted;
  };
  /**
   * Enter a room.
   */
  'order:join': {
    data: Join;
    reply: Snapshot;
  };
  /**
   * Undo one join, or all.
   */
  'order:leave': {
    data: Leave;
    reply: Remaining;
  };
  /**
   * Any data, which comes back as `pong`.
   */
  ping: {
    data: unknown;
    reply: Done;
  };
}
