"""One connection's TLS: ciphertext on the side of the event loop, plain bytes on the side of the connection.

asyncio's own TLS shows a connection only after its TLS handshake, and `start_tls` needs a task and up to 256 KiB for
each: a peer that never finishes would be counted by nobody. Here the connection exists from the TCP accept on, so that
the door, the half-open count and the one deadline hold for the TLS handshake as well, on every event loop; and what is
read lies in the buffer that all connections share.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, cast

from mycelia.protocol.handshake import HttpReply
from mycelia.websocket.engines.reader import READ_BYTES

if TYPE_CHECKING:
    from mycelia.websocket.engines.listener import StreamEngine
    from mycelia.websocket.engines.stream import StreamConnection

__all__ = ["TlsStream"]

_NO_TLS = HttpReply(400, b"expected TLS, got HTTP: connect with wss:// or https://\n")


class TlsStream(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a TCP transport, and the transport of a StreamConnection.

    It keeps no bytes of its own but those of a record that is not whole and, while reading is paused, what one read
    brought: pausing stops the socket.
    """

    __slots__ = (
        "_closing", "_connection", "_context", "_engine", "_incoming", "_outgoing", "_pump_due", "_raw", "_reading",
        "_shaken", "_tls",
    )  # fmt: skip

    def __init__(self, engine: StreamEngine, connection: StreamConnection, context: ssl.SSLContext) -> None:
        super().__init__()
        self._engine = engine
        self._connection = connection
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._shaken = self._closing = self._pump_due = False
        self._reading = True

    # -- what the event loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._connection.connection_made(self)  # which may turn it away
        if not self._closing:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def get_buffer(self, hint: int) -> bytearray:
        return self._engine.scratch

    def buffer_updated(self, count: int) -> None:
        if self._closing:
            return  # after our close_notify nobody listens
        first = not self._shaken and not self._incoming.pending
        with memoryview(self._engine.scratch) as came:
            self._incoming.write(came[:count])
        if self._shaken or self._shake(first and 65 <= self._engine.scratch[0] <= 90):
            self._pump()
            if count >= READ_BYTES and not self._closing:
                self._connection.rest()  # thousands of tiny records may lie in one read

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing, self._tls = True, None
        self._connection.connection_lost(error)

    # -- reading -------------------------------------------------------------------------------------

    def _shake(self, plain: bool) -> bool:
        """Goes on with the handshake (RFC 8446 §4); True when it is done. One that fails ends the connection."""
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, OSError):
            self._closing = True
            self._engine.misread(400)
            if plain:  # who spoke HTTP is answered in HTTP: an alert would tell them nothing
                self._raw.write(_NO_TLS.encode())
            else:
                self._flush()
            self._raw.close()
            return False
        self._shaken = True
        self._flush()
        return True

    def _pump(self) -> None:
        """Gives the connection what has come, one buffer at a time, until there is no more or it pauses."""
        self._pump_due = False
        while self._reading and not self._closing and (self._incoming.pending or self._pending()):
            buffer = self._connection.get_buffer(-1)
            try:
                count, ended = self._decrypt(buffer)
            except (ssl.SSLError, OSError):  # forged, or not by the rules: an alert says so
                self._flush()
                self.abort()
                return
            if count:
                self._connection.buffer_updated(count)
            if ended:
                self.close()
            elif not count:
                break
        if not self._closing:
            self._flush()  # the answer to a KeyUpdate (RFC 8446 §4.6.3)
            self._read_on()

    def _decrypt(self, buffer: memoryview | bytearray) -> tuple[int, bool]:
        """Fills the buffer: how many bytes are plain now, and whether a close_notify has come."""
        assert self._tls is not None
        count, room = 0, len(buffer)
        with memoryview(buffer) as free:
            while count < room and (self._incoming.pending or self._tls.pending()):
                try:
                    more = self._tls.read(room - count, cast(bytearray, free[count:]))
                except ssl.SSLWantReadError:
                    break
                if not more:
                    return count, True
                count += cast(int, more)
        return count, False

    def _pending(self) -> int:
        return 0 if self._tls is None else self._tls.pending()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # -- what the connection calls -------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Encrypts and sends at once; before the end of the handshake, and after `close`, nothing."""
        if not self._shaken or self._closing or self._tls is None:
            return
        try:
            with memoryview(data) as plain:
                sent = 0
                while sent < len(plain):
                    sent += self._tls.write(plain[sent:])
        except (ssl.SSLError, OSError):
            self.abort()
            return
        self._flush()

    def close(self) -> None:
        """Says close_notify and ends the TCP connection when everything is written (RFC 8446 §6.1)."""
        if self._closing:
            return
        if not self._shaken:
            self.abort()
            return
        self._say_goodbye()
        self._raw.close()

    def write_eof(self) -> None:
        """Says close_notify; what still comes is read and thrown away until the peer goes."""
        if not self._closing:
            self._say_goodbye()
            if self._raw.can_write_eof():
                self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return self._shaken

    def _say_goodbye(self) -> None:
        self._closing = True
        try:
            if self._tls is not None:
                self._tls.unwrap()
        except (ssl.SSLError, OSError):
            pass  # it wants to wait for the peer's, which nobody needs: a WebSocket has its own Close
        self._flush()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False
        if self._raw.is_reading() and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._reading = True
        if not (self._incoming.pending or self._pending()):
            self._read_on()
        elif not self._pump_due and not self._closing:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _read_on(self) -> None:
        """Reads the socket again, once all that was read before is with the connection: what waits here is bounded."""
        if self._reading and not self._raw.is_reading() and not self._raw.is_closing():
            self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, `sslcontext`, `peercert` and `cipher`, as asyncio names them; else what the socket knows."""
        if name == "sslcontext":
            return self._context
        if name in ("ssl_object", "peercert", "cipher"):
            if self._tls is None or not self._shaken:
                return default
            if name == "ssl_object":
                return self._tls
            return self._tls.getpeercert() if name == "peercert" else self._tls.cipher()
        return self._raw.get_extra_info(name, default)
