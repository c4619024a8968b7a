const FIRST_MS = 500;
const LONGEST_MS = 15000;
const STEADY_MS = 5000; // a connection that lasted this long was a good one: waiting starts anew

/**
 * A connection to a Mycelia server that comes back by itself.
 *
 * `tell.opened()` is called after every (re)connect, `tell.changed(state, details)` when the state changes
 * (connecting, open, waiting, refused), `tell.event(envelope)` for each event, and `tell.stray(envelope)` for
 * each response that is not to one of our own requests.
 */
export class Link {
  state = "waiting";
  #socket;
  #timer;
  #attempt = 0;
  #openedAt = 0;
  #number = 0;
  #pending = new Map(); // correlation id → { resolve, reject }

  constructor(url, tell) {
    this.url = url;
    this.tell = tell;
  }

  /** Connects now, unless it is connected or about to be. */
  connect() {
    if (this.state === "open" || this.state === "connecting") return;
    clearTimeout(this.#timer);
    this.#change("connecting");
    const socket = (this.#socket = new WebSocket(this.url, "mycelia.v1.json"));
    socket.onopen = () => {
      this.#openedAt = performance.now();
      this.#change("open");
      this.tell.opened();
    };
    socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  /** Gives up a connection that does not answer any more, and makes a new one. */
  drop() {
    if (this.state !== "open") return;
    this.#socket.onmessage = this.#socket.onclose = null; // its own end may take a minute to show
    this.#socket.close();
    this.#lost(1006, "");
  }

  /** The data of the answer. Rejected with an Error that has the server's `code` if the answer is a failure. */
  async request(path, body, timeoutMs) {
    if (this.state !== "open") throw failure("there is no connection", "DISCONNECTED");
    const correlationId = `page-${++this.#number}`;
    let timer;
    const answer = new Promise((resolve, reject) => {
      this.#pending.set(correlationId, { resolve, reject });
      timer = setTimeout(() => reject(failure("the server does not answer", "TIMEOUT")), timeoutMs);
    });
    try {
      this.sendText(JSON.stringify({ path, body, correlationId }));
      const { success, data, error } = await answer;
      if (success) return data;
      throw failure(describe(error), error.code);
    } finally {
      clearTimeout(timer);
      this.#pending.delete(correlationId);
    }
  }

  /** Sends a message exactly as it is. */
  sendText(text) {
    this.#socket.send(text);
  }

  #received(envelope) {
    if ("event" in envelope) this.tell.event(envelope);
    else if (this.#pending.has(envelope.correlationId)) this.#pending.get(envelope.correlationId).resolve(envelope);
    else if ("success" in envelope) this.tell.stray(envelope);
  }

  #lost(code, reason) {
    const wasSteady = this.state === "open" && performance.now() - this.#openedAt > STEADY_MS;
    for (const { reject } of this.#pending.values()) reject(failure("the connection was lost", "DISCONNECTED"));
    // The protocol's 44xx codes mean: change something before you come back.
    if (code >= 4400 && code < 4500) return this.#change("refused", { reason: reason || `code ${code}` });
    // When a server restarts, all its clients come back: at random times, and ever more slowly while it is away.
    if (wasSteady) this.#attempt = 0;
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempt++);
    const wait = longest / 2 + (Math.random() * longest) / 2;
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#change("waiting", { until: performance.now() + wait });
  }

  #change(state, details) {
    this.state = state;
    this.tell.changed(state, details);
  }
}

function failure(message, code) {
  return Object.assign(new Error(message), { code });
}

function describe({ code, message, details }) {
  return details?.problem ? `${message}: ${details.problem} (${details.at ?? code})` : message;
}
