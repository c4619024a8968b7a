// bun: `bun bun.js PORT rpc|echo|fanout`. Bun.serve is uWebSockets; publish goes to a topic.
const [port, mode] = [Number(process.argv[2]), process.argv[3]];

const routes = {
  "bench://echo": (body) => body,
  "bench://publish": (body) => ({ sent: server.publish("everybody", JSON.stringify({ event: "bench", data: body })) }),
};

function reply(text) {
  const { path, body, correlationId } = JSON.parse(text);
  const route = routes[path];
  return JSON.stringify(
    route
      ? { success: true, data: route(body), correlationId, metadata: { timestamp: Date.now() } }
      : { success: false, error: { code: "NOT_FOUND", message: path }, correlationId },
  );
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("WebSocket only", { status: 426 })),
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (mode === "fanout") socket.subscribe("everybody");
    },
    message(socket, data) {
      socket.send(mode === "echo" ? data : reply(data));
    },
  },
});
