// The words of the wire: the events of docs/protocol.md and their data, as types. What the hub tells of
// itself is in events.ts; here is what newer hubs add to it.

import type * as hub from './events.js';

export type { Assignment, ClientEvents, Connected, ReadMark, Role } from './events.js';

/** Why something was refused; codes that are not known may come. */
export type Failure = Omit<hub.Failure, 'code'> & { code: string };

/** Who deleted a message, and when. */
export interface Deletion {
  at: string;
  by: 'sender' | 'staff' | 'erasure';
}

/** A message of an order's chat, as it is stored. */
export interface ChatMessage extends hub.ChatMessage {
  deleted?: Deletion;
}

/** Where a driver is. */
export interface Position extends hub.Position {
  /** 0 to 1; told to staff only. */
  battery?: number;
}

export type Member = hub.MemberInfo;

export type Receipt = hub.ReceiptUpdate;

/** The state of an order when it is joined. */
export interface JoinReply extends Omit<hub.Snapshot, 'messages'> {
  messages: ChatMessage[];
  /** What was deleted, of the messages that the client has. */
  deletions?: ({ seq: number } & Deletion)[];
}

/** What the hub sends, by name. */
export interface HubEvents extends Omit<hub.HubEvents, 'chat:message' | 'exception' | 'order:joined'> {
  'chat:message': ChatMessage;
  'chat:deleted': { orderId: string; seq: number } & Deletion;
  exception: Failure & { status: string; event?: string };
}

/** The answer to an event that asked for one. */
export type Reply = { ok: boolean; error?: Failure } & Record<string, unknown>;
