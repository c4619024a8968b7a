// npm ws: `node ws.js PORT rpc|echo|fanout`. Compression off, as it is by default on the server.
import { WebSocketServer } from "ws";

const [port, mode] = [Number(process.argv[2]), process.argv[3]];
const server = new WebSocketServer({ host: "127.0.0.1", port, path: "/ws", perMessageDeflate: false, backlog: 4096 });

const routes = new Map([
  ["bench://echo", (body) => body],
  ["bench://publish", (body) => {
    const event = JSON.stringify({ event: "bench", data: body });
    for (const client of server.clients) if (client.readyState === 1) client.send(event);
    return { sent: server.clients.size };
  }],
]);

function reply(text) {
  const { path, body, correlationId } = JSON.parse(text);
  const route = routes.get(path);
  return JSON.stringify(
    route
      ? { success: true, data: route(body), correlationId, metadata: { timestamp: Date.now() } }
      : { success: false, error: { code: "NOT_FOUND", message: path }, correlationId },
  );
}

server.on("connection", (socket) => {
  socket.on("error", () => socket.terminate());
  socket.on("message", mode === "echo"
    ? (data, binary) => socket.send(data, { binary })
    : (data) => socket.send(reply(data)));
});
