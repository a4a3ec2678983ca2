import { Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { Message } from './chat.service';

@Entity('messages')
export class MessageEntity implements Message {
  @PrimaryGeneratedColumn('uuid')
  id!: string;

  @Column({ name: 'order_id', type: 'text' })
  orderId!: string;

  @Column({ type: 'integer' })
  seq!: number;

  @Column({ name: 'sender_id', type: 'text' })
  senderId!: string;

  @Column({ name: 'sender_name', type: 'text' })
  senderName!: string;

  @Column({ name: 'sender_role', type: 'text' })
  senderRole!: string;

  @Column({ type: 'text' })
  content!: string;

  @Column({ type: 'text' })
  type!: string;

  @CreateDateColumn({ name: 'created_at', type: 'timestamptz' })
  createdAt!: Date;

  @Column({ name: 'client_msg_id', type: 'text', nullable: true })
  clientMsgId!: string | null;
}
