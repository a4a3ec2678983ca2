import { DynamicModule, Module, Provider } from '@nestjs/common';
import { JwtModule } from '@nestjs/jwt';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Pool } from 'pg';
import { ChatService } from './chat/chat.service';
import { MessageEntity } from './chat/message.entity';
import { OrderEntity } from './chat/order.entity';
import { PgChatService } from './chat/pg-chat.service';
import { TypeOrmChatService } from './chat/typeorm-chat.service';
import { EventsGateway } from './events.gateway';

// Both have ten connections to the database, as many as `pg` has by itself.
const url = process.env.DATABASE_URL;

const typeorm: { imports: DynamicModule[]; providers: Provider[] } = {
  imports: [TypeOrmModule.forRoot({ type: 'postgres', url, entities: [MessageEntity, OrderEntity] })],
  providers: [{ provide: ChatService, useClass: TypeOrmChatService }],
};

const pg: typeof typeorm = {
  imports: [],
  providers: [
    { provide: Pool, useFactory: () => new Pool({ connectionString: url }) },
    { provide: ChatService, useClass: PgChatService },
  ],
};

const store = process.env.CHAT_STORE === 'typeorm' ? typeorm : pg;

@Module({
  imports: [
    JwtModule.register({ secret: process.env.JWT_SECRET, verifyOptions: { algorithms: ['HS256'] } }),
    ...store.imports,
  ],
  providers: [...store.providers, EventsGateway],
})
export class AppModule {}
