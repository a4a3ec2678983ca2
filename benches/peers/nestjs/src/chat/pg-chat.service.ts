import { Injectable, OnModuleDestroy, OnModuleInit } from '@nestjs/common';
import { Pool } from 'pg';
import { ChatDto } from '../events.dto';
import { User } from '../user';
import { ChatService, History, Message, TABLES } from './chat.service';

// One statement, so one round trip and one commit: it takes the order's next number and stores the message under it.
const SAVE = `
  WITH next AS (
    INSERT INTO orders (id, last_seq) VALUES ($1, 1)
    ON CONFLICT (id) DO UPDATE SET last_seq = orders.last_seq + 1
    RETURNING last_seq
  )
  INSERT INTO messages (order_id, seq, sender_id, sender_name, sender_role, content, type, client_msg_id)
  SELECT $1, last_seq, $2, $3, $4, $5, $6, $7 FROM next
  RETURNING id, seq, created_at AS "createdAt"`;

const LAST_SEQ = 'SELECT last_seq FROM orders WHERE id = $1';

const NEWEST = `
  SELECT id, order_id AS "orderId", seq, sender_id AS "senderId", sender_name AS "senderName",
    sender_role AS "senderRole", content, type, created_at AS "createdAt", client_msg_id AS "clientMsgId"
  FROM messages WHERE order_id = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3`;

/** With `pg` and a statement written by hand. */
@Injectable()
export class PgChatService extends ChatService implements OnModuleInit, OnModuleDestroy {
  constructor(private readonly pool: Pool) {
    super();
  }

  async onModuleInit() {
    await this.pool.query(TABLES);
  }

  async onModuleDestroy() {
    await this.pool.end();
  }

  async save(user: User, chat: ChatDto): Promise<Message> {
    const message = this.unsaved(user, chat);
    const { orderId, senderId, senderName, senderRole, content, type, clientMsgId } = message;
    const values = [orderId, senderId, senderName, senderRole, content, type, clientMsgId];
    const { rows } = await this.pool.query({ name: 'save', text: SAVE, values });
    return { ...message, ...rows[0] };
  }

  async history(orderId: string, sinceSeq: number, limit: number): Promise<History> {
    const last = await this.pool.query({ name: 'last-seq', text: LAST_SEQ, values: [orderId] });
    const lastSeq: number = last.rows[0]?.last_seq ?? 0;
    if (limit === 0 || lastSeq <= sinceSeq) return { lastSeq, messages: [] };
    const newest = await this.pool.query({ name: 'newest', text: NEWEST, values: [orderId, sinceSeq, limit] });
    return { lastSeq, messages: newest.rows.reverse() };
  }
}
