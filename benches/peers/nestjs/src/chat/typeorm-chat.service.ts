import { Injectable, OnModuleInit } from '@nestjs/common';
import { DataSource, MoreThan } from 'typeorm';
import { ChatDto } from '../events.dto';
import { User } from '../user';
import { ChatService, History, Message, TABLES } from './chat.service';
import { MessageEntity } from './message.entity';
import { OrderEntity } from './order.entity';

/** With TypeORM: the number and the message are taken and stored in one transaction. */
@Injectable()
export class TypeOrmChatService extends ChatService implements OnModuleInit {
  constructor(private readonly dataSource: DataSource) {
    super();
  }

  async onModuleInit() {
    await this.dataSource.query(TABLES);
  }

  save(user: User, chat: ChatDto): Promise<Message> {
    return this.dataSource.transaction(async (manager) => {
      const [{ last_seq: seq }] = await manager.query(
        `INSERT INTO orders (id, last_seq) VALUES ($1, 1)
         ON CONFLICT (id) DO UPDATE SET last_seq = orders.last_seq + 1
         RETURNING last_seq`,
        [chat.orderId],
      );
      return manager.save(manager.create(MessageEntity, { ...this.unsaved(user, chat), seq }));
    });
  }

  async history(orderId: string, sinceSeq: number, limit: number): Promise<History> {
    const order = await this.dataSource.getRepository(OrderEntity).findOneBy({ id: orderId });
    const lastSeq = order?.lastSeq ?? 0;
    if (limit === 0 || lastSeq <= sinceSeq) return { lastSeq, messages: [] };
    const newest = await this.dataSource.getRepository(MessageEntity).find({
      where: { orderId, seq: MoreThan(sinceSeq) },
      order: { seq: 'DESC' },
      take: limit,
    });
    return { lastSeq, messages: newest.reverse() };
  }
}
