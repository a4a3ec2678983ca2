// A hub in memory, for tests with fake timers: it numbers, stores and fans out as docs/protocol.md
// says, and fails on request.

import type { ChatMessage, Failure } from '../../src/index.js';

const LATENCY_MS = 5;

type Handler = ((event: never) => void) | null;

interface Order {
  messages: ChatMessage[];
  status: string | null;
  driverId: string | null;
  marks: Map<string, number>;
  deletions: { seq: number; at: string; by: string }[];
  lastLocation: object | null;
}

export interface Envelope {
  event: string;
  id?: number;
  data: Record<string, never> & { orderId: string };
}

/** One WebSocket, as the kit sees it, and its other end. */
export class FakeSocket {
  onopen: Handler = null;
  onmessage: Handler = null;
  onerror: Handler = null;
  onclose: Handler = null;
  /** Nothing gets through any more, and neither side hears of it. */
  isDead = false;
  isClosed = false;
  isUp = false;
  userId = '';
  readonly joined = new Map<string, number>();
  /** What has come here, in order. */
  readonly heard: Envelope[] = [];

  constructor(
    readonly hub: FakeHub,
    readonly url: string,
    readonly protocols: string[],
  ) {
    hub.sockets.push(this);
    setTimeout(() => hub.open(this), LATENCY_MS);
  }

  get token(): string {
    return this.protocols[1]!.slice('orderhub.jwt.'.length);
  }

  send(text: string): void {
    const dead = this.isDead;
    setTimeout(() => {
      if (!dead && !this.isDead && !this.isClosed) this.hub.hear(this, JSON.parse(text) as Envelope);
    }, LATENCY_MS);
  }

  close(code = 1000): void {
    setTimeout(() => this.end(code, ''), LATENCY_MS);
  }

  /** The hub's side sends. */
  tell(event: string, data: unknown, id?: number): void {
    this.raw(JSON.stringify({ event, data, id }));
  }

  raw(text: unknown): void {
    setTimeout(() => {
      if (!this.isDead && !this.isClosed) (this.onmessage as ((e: unknown) => void) | null)?.({ data: text });
    }, LATENCY_MS);
  }

  /** The connection ends, and the client is told. */
  end(code = 1006, reason = ''): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isUp = false;
    if (!this.isDead) (this.onclose as ((e: unknown) => void) | null)?.({ code, reason });
  }
}

export class FakeHub {
  readonly sockets: FakeSocket[] = [];
  readonly orders = new Map<string, Order>();
  /** What is answered instead, by event; undefined: as usual. `silent` answers nothing. */
  answer: (socket: FakeSocket, message: Envelope) => Failure | 'silent' | undefined = () => undefined;
  /** How a connection is refused: a close code, or nobody there. */
  refuse: (token: string) => number | 'unreachable' | 'silent' | undefined = () => undefined;
  /** Who a token is. */
  user: (token: string) => string = (token) => token.split('.')[0]!;
  pageLimit = 200;
  pingIntervalMs = 25_000;
  isDown = false;

  readonly WebSocket = (() => {
    const hub = this;
    return class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(hub, url, protocols);
      }
    };
  })();

  /** The sockets that the hub believes in. */
  get up(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.isUp && !socket.isClosed);
  }

  get last(): FakeSocket {
    return this.sockets[this.sockets.length - 1]!;
  }

  /** What came with this name, on all sockets. */
  heard(event: string): Envelope[] {
    return this.sockets.flatMap((socket) => socket.heard.filter((message) => message.event === event));
  }

  order(orderId: string): Order {
    let order = this.orders.get(orderId);
    if (!order) {
      order = { messages: [], status: null, driverId: null, marks: new Map(), deletions: [], lastLocation: null };
      this.orders.set(orderId, order);
    }
    return order;
  }

  open(socket: FakeSocket): void {
    if (socket.isDead || socket.isClosed) return;
    const refusal = this.isDown ? 'unreachable' : this.refuse(socket.token);
    if (refusal === 'silent') return;
    if (refusal === 'unreachable') return socket.end(1006);
    if (refusal !== undefined) {
      const retry = refusal === 4401 || refusal < 4400;
      socket.tell('session:end', { code: refusal, reason: `refused_${refusal}`, retry });
      return socket.close(refusal);
    }
    socket.isUp = true;
    socket.userId = this.user(socket.token);
    (socket.onopen as (() => void) | null)?.();
    socket.tell('connected', {
      sessionId: `session-${this.sockets.length}`,
      userId: socket.userId,
      role: 'customer',
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
      pingIntervalMs: this.pingIntervalMs,
      maxMessageBytes: 65_536,
      protocol: 1,
    });
  }

  hear(socket: FakeSocket, message: Envelope): void {
    if (!socket.isUp) return;
    socket.heard.push(message);
    const refusal = this.answer(socket, message);
    if (refusal === 'silent') return;
    const reply = refusal ? { ok: false, error: refusal } : { ok: true, ...this.handle(socket, message) };
    if (message.id !== undefined) socket.tell('ack', reply, message.id);
  }

  private handle(socket: FakeSocket, { event, data }: Envelope): object {
    const fields = data as Record<string, unknown>;
    if (event === 'driver:location') return { accepted: 1 };
    const order = data?.orderId === undefined ? undefined : this.order(data.orderId);
    if (!order) return {};
    switch (event) {
      case 'order:join':
        return this.join(socket, data.orderId, fields);
      case 'order:leave':
        socket.joined.delete(data.orderId);
        return { remaining: 0 };
      case 'chat:message': {
        const key = fields['clientMsgId'] as string;
        const found = order.messages.find((m) => m.clientMsgId === key && m.senderId === socket.userId);
        const stored =
          found ?? this.say(data.orderId, socket.userId, fields['content'] as string, { clientMsgId: key });
        return { id: stored.id, seq: stored.seq, createdAt: stored.createdAt, ...(found && { duplicate: true }) };
      }
      case 'chat:history':
        return this.history(order, fields);
      case 'chat:read': {
        const seq = fields['seq'] as number;
        if (seq > (order.marks.get(socket.userId) ?? 0)) {
          order.marks.set(socket.userId, seq);
          this.broadcast(data.orderId, 'chat:read', { orderId: data.orderId, userId: socket.userId, seq, at: '' });
        }
        return {};
      }
      default:
        return {};
    }
  }

  private join(socket: FakeSocket, orderId: string, { sinceSeq, limit = 50 }: Record<string, unknown>): object {
    const order = this.order(orderId);
    socket.joined.set(orderId, (socket.joined.get(orderId) ?? 0) + 1);
    const most = Math.min(limit as number, this.pageLimit);
    const lastSeq = order.messages.length;
    const since = sinceSeq === undefined ? undefined : Math.min(sinceSeq as number, lastSeq);
    const messages = order.messages.slice(Math.max(since ?? 0, lastSeq - most));
    const mark = order.marks.get(socket.userId) ?? 0;
    return {
      orderId,
      status: order.status,
      driverId: order.driverId,
      lastSeq,
      unread: order.messages.filter((m) => m.seq > mark && m.senderId !== socket.userId).length,
      recovered: since !== undefined && since + messages.length === lastSeq,
      messages,
      lastLocation: order.lastLocation,
      members: [{ userId: socket.userId, name: `Name of ${socket.userId}`, role: 'customer' }],
      readMarks: [...order.marks].map(([userId, seq]) => ({ userId, seq })),
      ...(since !== undefined && { deletions: order.deletions.filter(({ seq }) => seq <= since) }),
    };
  }

  private history(order: Order, fields: Record<string, unknown>): object {
    const limit = Math.min(fields['limit'] as number, this.pageLimit);
    if (fields['afterSeq'] !== undefined) {
      const after = fields['afterSeq'] as number;
      const messages = order.messages.slice(after, after + limit);
      return { messages, hasMore: after + messages.length < order.messages.length };
    }
    const before = (fields['beforeSeq'] as number) - 1;
    const messages = order.messages.slice(Math.max(0, before - limit), before);
    return { messages, hasMore: (messages[0]?.seq ?? 1) > 1 };
  }

  /** Stores a message and fans it out. */
  say(orderId: string, senderId: string, content: string, more: Partial<ChatMessage> = {}): ChatMessage {
    const order = this.order(orderId);
    const seq = order.messages.length + 1;
    const message: ChatMessage = {
      id: `id-${orderId}-${seq}`,
      orderId,
      seq,
      senderId,
      senderName: `Name of ${senderId}`,
      senderRole: 'customer',
      content,
      type: 'TEXT',
      createdAt: new Date(Date.now()).toISOString(),
      clientMsgId: null,
      ...more,
    };
    order.messages.push(message);
    if (message.type !== 'SYSTEM') order.marks.set(senderId, seq);
    this.broadcast(orderId, 'chat:message', message);
    return message;
  }

  broadcast(orderId: string, event: string, data: object): void {
    for (const socket of this.up) if (socket.joined.has(orderId)) socket.tell(event, data);
  }

  /** All connections end as when the network goes. */
  cut(): void {
    for (const socket of this.up) socket.end(1006);
  }

  /** Nothing gets through on the connections of now, and no side is told. */
  stall(): void {
    for (const socket of this.sockets) socket.isDead = true;
  }

  /** Ends all sessions in order. */
  endAll(code: number, reason: string, retry: boolean, reconnectAfterMs?: number): void {
    for (const socket of this.up) {
      socket.tell('session:end', { code, reason, retry, reconnectAfterMs });
      socket.isUp = false;
    }
  }
}
