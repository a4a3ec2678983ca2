import { Logger, UsePipes, ValidationPipe } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import {
  ConnectedSocket,
  MessageBody,
  OnGatewayConnection,
  OnGatewayDisconnect,
  OnGatewayInit,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  WsException,
} from '@nestjs/websockets';
import { DefaultEventsMap, Namespace, Socket } from 'socket.io';
import { ChatService } from './chat/chat.service';
import { ChatDto, JoinDto, LocationDto } from './events.dto';
import { User } from './user';

type Phone = Socket<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { user: User }>;

const room = (orderId: string) => `order:${orderId}`;

/** The order must be one of the token's, as with orderhub. */
function check(user: User, orderId: string) {
  if (!user.orders?.includes(orderId)) throw new WsException('forbidden');
}

@UsePipes(
  new ValidationPipe({
    transform: true,
    whitelist: true,
    exceptionFactory: (errors) => new WsException(errors),
  }),
)
@WebSocketGateway({ namespace: '/events', cors: { origin: '*' } })
export class EventsGateway implements OnGatewayInit, OnGatewayConnection, OnGatewayDisconnect {
  @WebSocketServer()
  private readonly server!: Namespace;
  private readonly logger = new Logger(EventsGateway.name);
  /** The last position of each order, for those who join. */
  private readonly locations = new Map<string, object>();

  constructor(
    private readonly jwt: JwtService,
    private readonly chat: ChatService,
  ) {}

  /** Whoever has no good token is not let in. */
  afterInit(namespace: Namespace) {
    namespace.use((socket: Phone, next) => {
      this.jwt.verifyAsync<User>(socket.handshake.auth.token).then(
        (user) => {
          socket.data.user = user;
          next();
        },
        () => next(new Error('unauthenticated')),
      );
    });
  }

  handleConnection(socket: Phone) {
    this.logger.log(`${socket.data.user.sub} connected as ${socket.id}`);
  }

  handleDisconnect(socket: Phone) {
    this.logger.log(`${socket.data.user.sub} disconnected from ${socket.id}`);
  }

  @SubscribeMessage('order:join')
  async join(@ConnectedSocket() socket: Phone, @MessageBody() { orderId, sinceSeq, limit }: JoinDto) {
    check(socket.data.user, orderId);
    // First into the room, then to the database: what comes in between is heard live.
    await socket.join(room(orderId));
    const { lastSeq, messages } = await this.chat.history(orderId, sinceSeq ?? 0, limit ?? 50);
    const recovered = sinceSeq !== undefined && messages.length === lastSeq - Math.min(sinceSeq, lastSeq);
    const lastLocation = this.locations.get(orderId) ?? null;
    return { ok: true, orderId, lastSeq, recovered, messages, lastLocation };
  }

  @SubscribeMessage('order:leave')
  async leave(@ConnectedSocket() socket: Phone, @MessageBody() { orderId }: JoinDto) {
    await socket.leave(room(orderId));
    return { ok: true };
  }

  @SubscribeMessage('driver:location')
  location(@ConnectedSocket() socket: Phone, @MessageBody() fix: LocationDto) {
    const { user } = socket.data;
    check(user, fix.orderId);
    if (user.role !== 'driver') throw new WsException('forbidden');
    const location = { ...fix, driverId: user.sub, timestamp: new Date() };
    this.locations.set(fix.orderId, location);
    this.server.to(room(fix.orderId)).emit('location:updated', location);
    return { ok: true };
  }

  @SubscribeMessage('chat:message')
  async message(@ConnectedSocket() socket: Phone, @MessageBody() chat: ChatDto) {
    const { user } = socket.data;
    check(user, chat.orderId);
    const message = await this.chat.save(user, chat);
    this.server.to(room(chat.orderId)).emit('chat:message', message);
    const { id, seq, createdAt } = message;
    return { ok: true, id, seq, createdAt };
  }
}
