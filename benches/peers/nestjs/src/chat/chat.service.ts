import { ChatDto } from '../events.dto';
import { User } from '../user';

export interface Message {
  id: string;
  orderId: string;
  seq: number;
  senderId: string;
  senderName: string;
  senderRole: string;
  content: string;
  type: string;
  createdAt: Date;
  clientMsgId: string | null;
}

export interface History {
  lastSeq: number;
  messages: Message[];
}

/** Numbers the messages of each order without gaps, and stores them. */
export abstract class ChatService {
  /** Is done when the message is committed. */
  abstract save(user: User, chat: ChatDto): Promise<Message>;

  /** The newest messages after that one, ascending, and the number of the last one. */
  abstract history(orderId: string, sinceSeq: number, limit: number): Promise<History>;

  protected unsaved(user: User, chat: ChatDto): Omit<Message, 'id' | 'seq' | 'createdAt'> {
    return {
      orderId: chat.orderId,
      senderId: user.sub,
      senderName: user.name ?? user.sub,
      senderRole: user.role ?? 'customer',
      content: chat.content,
      type: chat.type ?? 'TEXT',
      clientMsgId: chat.clientMsgId ?? null,
    };
  }
}

export const TABLES = `
  CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, last_seq integer NOT NULL);
  CREATE TABLE IF NOT EXISTS messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id text NOT NULL REFERENCES orders,
    seq integer NOT NULL,
    sender_id text NOT NULL,
    sender_name text NOT NULL,
    sender_role text NOT NULL,
    content text NOT NULL,
    type text NOT NULL,
    client_msg_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (order_id, seq)
  );`;
