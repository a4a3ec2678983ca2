// The app's side as it is in the wild: a service that owns one socket, and the hook of its screens.

/** One socket for the whole app. `store` holds the token; `log` takes what the app would print. */
export class SocketService {
  #io;
  #url;
  #store;
  #log;
  #socket = null;
  #failures = 0;
  #mostAttempts = 5;

  constructor({ io, url, store, log }) {
    this.#io = io;
    this.#url = url;
    this.#store = store;
    this.#log = log;
  }

  connect() {
    const token = this.#store.accessToken;
    if (!token) return this.#log('no token');
    this.#socket = this.#io(this.#url, {
      auth: { token },
      transports: ['websocket'],
      reconnection: true,
      reconnectionAttempts: this.#mostAttempts,
      reconnectionDelay: 1000,
      reconnectionDelayMax: 5000,
    });
    this.#listen();
  }

  #listen() {
    this.#socket.on('connect', () => {
      this.#failures = 0;
      this.#log('connected', this.#socket?.id);
    });
    this.#socket.on('disconnect', (reason) => this.#log('disconnected', reason));
    this.#socket.on('connect_error', (error) => {
      this.#failures += 1;
      this.#log('connection error', error);
      if (this.#failures >= this.#mostAttempts) this.#log('gave up');
    });
    for (const event of ['order:status', 'order:assigned', 'location:updated', 'chat:message']) {
      this.#socket.on(event, (data) => this.#log(event, data));
    }
  }

  joinOrderRoom(orderId) {
    this.#socket?.emit('order:join', { orderId });
  }

  leaveOrderRoom(orderId) {
    this.#socket?.emit('order:leave', { orderId });
  }

  emitDriverLocation(orderId, lat, lng) {
    this.#socket?.emit('driver:location', { orderId, lat, lng });
  }

  sendMessage(orderId, content, type = 'TEXT') {
    this.#socket?.emit('chat:message', { orderId, content, type });
  }

  /** What screens listen with; the result takes the listener away. */
  on(event, listener) {
    const socket = this.#socket;
    socket?.on(event, listener);
    return () => socket?.off(event, listener);
  }

  isConnected() {
    return this.#socket?.connected ?? false;
  }

  disconnect() {
    this.#socket?.disconnect();
    this.#socket = null;
  }
}

/** What the hook does with the service: it follows the login and the app's way to the foreground. */
export class SocketHook {
  #service;
  #store;
  #appState = 'active';

  constructor(service, store) {
    this.#service = service;
    this.#store = store;
    this.#follow();
  }

  #follow() {
    if (this.#store.isAuthenticated) this.#service.connect();
  }

  /** The login has changed: the effect is cleaned up and runs again. */
  authenticated(isAuthenticated) {
    this.unmount();
    this.#store.isAuthenticated = isAuthenticated;
    this.#follow();
  }

  /** The phone says `active`, `inactive` or `background`. */
  changeAppState(next) {
    const wasAway = /inactive|background/.test(this.#appState);
    const comes = wasAway && next === 'active';
    if (comes && this.#store.isAuthenticated && !this.#service.isConnected()) this.#service.connect();
    this.#appState = next;
  }

  unmount() {
    this.#service.disconnect();
  }
}
