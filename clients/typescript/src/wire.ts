// The words of the wire: the events of docs/protocol.md and their data, as types.

export type Role = 'customer' | 'driver' | 'support' | 'admin' | 'service';

/** Why something was refused; codes that are not known may come. */
export interface Failure {
  code: string;
  message: string;
  /** The field that is wrong, as a path (`orderIds[2]`). */
  field?: string;
  /** When another try is of use, in milliseconds from now. */
  retryAfterMs?: number;
}

/** The first event of a session. */
export interface Connected {
  sessionId: string;
  userId: string;
  role: Role;
  expiresAt: string;
  pingIntervalMs: number;
  maxMessageBytes: number;
  protocol: number;
}

/** Who deleted a message, and when. */
export interface Deletion {
  at: string;
  by: 'sender' | 'staff' | 'erasure';
}

/** A message of an order's chat, as it is stored. */
export interface ChatMessage {
  id: string;
  orderId: string;
  /** Its number in the order: 1, 2, 3 … without gaps. */
  seq: number;
  senderId: string;
  senderName: string;
  senderRole: Role;
  content: string;
  type: 'TEXT' | 'IMAGE' | 'SYSTEM';
  createdAt: string;
  clientMsgId: string | null;
  deleted?: Deletion;
}

/** Where a driver is. */
export interface Position {
  /** Degrees. */
  lat: number;
  /** Degrees. */
  lng: number;
  /** When the hub got it. */
  timestamp: string;
  driverId: string;
  /** Metres. */
  accuracy?: number;
  /** Degrees from north, clockwise. */
  heading?: number;
  /** Metres per second. */
  speed?: number;
  /** Metres. */
  altitude?: number;
  /** When the phone took it, by its own clock. */
  recordedAt?: string;
  /** 0 to 1; told to staff only. */
  battery?: number;
}

export interface Member {
  userId: string;
  name: string;
  role: Role;
}

/** How far a user has read. */
export interface ReadMark {
  userId: string;
  seq: number;
}

/** The state of an order when it is joined. */
export interface JoinReply {
  orderId: string;
  status: string | null;
  driverId: string | null;
  lastSeq: number;
  unread: number;
  recovered: boolean;
  messages: ChatMessage[];
  lastLocation: (Position & { ageMs: number; stale: boolean }) | null;
  members: Member[];
  readMarks: ReadMark[];
  /** What was deleted, of the messages that the client has. */
  deletions?: ({ seq: number } & Deletion)[];
}

export interface Assignment {
  orderId: string;
  driverId: string;
  driverName: string | null;
  at: string;
}

export interface Receipt {
  orderId: string;
  userId: string;
  seq: number;
  at: string;
}

/** What the hub sends, by name. */
export interface HubEvents {
  connected: Connected;
  'order:left': { orderId: string; reason: 'requested' | 'removed' | 'closed' };
  'order:status': {
    orderId: string;
    status: string;
    previousStatus: string | null;
    at: string;
    data?: unknown;
  };
  'order:assigned': Assignment;
  'order:unassigned': Assignment;
  'location:updated': Position & { orderId: string };
  'chat:message': ChatMessage;
  'chat:delivered': Receipt;
  'chat:read': Receipt;
  'chat:typing': { orderId: string; userId: string; typing: boolean };
  'chat:deleted': { orderId: string; seq: number } & Deletion;
  'presence:joined': Member & { orderId: string };
  'presence:left': Member & { orderId: string };
  'auth:expiring': { expiresAt: string; inMs: number };
  'session:end': { code: number; reason: string; retry: boolean; reconnectAfterMs?: number };
  exception: Failure & { status: 'error'; event?: string };
  pong: unknown;
}

/** The answer to an event that asked for one. */
export type Reply = { ok: boolean; error?: Failure } & Record<string, unknown>;
