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

from mycelia.protocol.ws.handshake import HttpReply
from mycelia.transports.seam import Control
from mycelia.transports.stream.reader import READ_BYTES, State

if TYPE_CHECKING:
    from mycelia.transports.stream.connection import StreamConnection
    from mycelia.transports.tcp.listener import StreamEngine

__all__ = ["TlsStream"]

_PIECE_BYTES = 1024  # what OpenSSL gets at once: of requests for new keys these are 3 ms
_WRITE_BYTES = 16 * 1024  # a record; OpenSSL's buffers stay as large as they were once
_ANSWER_BYTES = 27  # a KeyUpdate, encrypted
_NO_TLS = HttpReply(400, b"expected TLS, got HTTP: connect with wss:// or https://\n")


class TlsStream(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a TCP transport, and the transport of a StreamConnection.

    It keeps no bytes of its own but those of a record that is not whole and, while reading is paused, what one read
    brought: pausing stops the socket. What OpenSSL answers by itself, which is mostly new keys (RFC 8446 §4.6.3), costs
    more than a ping, and is counted as one.
    """

    __slots__ = (
        "_came", "_closing", "_connection", "_context", "_engine", "_incoming", "_outgoing", "_plain", "_pump_due",
        "_raw", "_reading", "_shaken", "_tls",
    )  # fmt: skip

    def __init__(self, engine: StreamEngine, connection: StreamConnection, context: ssl.SSLContext) -> None:
        super().__init__()
        self._engine = engine
        self._connection = connection
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._came = b""  # ciphertext that OpenSSL has not got yet
        self._tls: ssl.SSLObject | None = None
        self._plain = False  # what came first is no TLS but may be HTTP
        self._shaken = self._closing = self._pump_due = False
        self._reading = True

    # -- what the event loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._connection.connection_made(self)  # which may turn it away

    def get_buffer(self, hint: int) -> memoryview:
        return memoryview(self._engine.scratch)[:READ_BYTES]

    def buffer_updated(self, count: int) -> None:
        if self._closing:
            return  # after our close_notify nobody listens
        with memoryview(self._engine.scratch) as scratch:
            self._came += scratch[:count]
        if self._tls is None:
            self._plain = 65 <= self._came[0] <= 90
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while not self._shaken:
            if not self._feed() or not self._shake():
                return
        self._pump()
        if count >= READ_BYTES and not self._closing:
            self._connection.rest()  # hundreds of tiny records may lie in one read

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def eof_received(self) -> None:
        if self._shaken and not self._closing:
            self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing, self._tls = True, None
        self._connection.connection_lost(error)

    # -- reading -------------------------------------------------------------------------------------

    def _feed(self) -> bool:
        """Gives OpenSSL the next piece of what has come; False when there is none."""
        piece, self._came = self._came[:_PIECE_BYTES], self._came[_PIECE_BYTES:]
        self._incoming.write(piece)
        return bool(piece)

    def _shake(self) -> bool:
        """Goes on with the handshake (RFC 8446 §4). One that fails ends the connection: False."""
        assert self._tls is not None
        try:
            self._tls.do_handshake()
            self._shaken = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError):
            self._closing = True
            self._engine.record_bad_request(400)
            if self._plain:  # who spoke HTTP is answered in HTTP: an alert would tell them nothing
                self._raw.write(_NO_TLS.encode())
            else:
                self._flush()
            self._raw.close()
            return False
        self._flush()
        return True

    def _pump(self) -> None:
        """Gives the connection what has come, one buffer at a time, until there is no more or it pauses."""
        self._pump_due = False
        while self._reading and not self._closing and self._more():
            try:
                count, ended = self._decrypt(self._connection.get_buffer(-1))
            except (ssl.SSLError, OSError):  # forged, or not by the rules: an alert says so
                self._flush()
                self.abort()
                return
            answers = -(-self._outgoing.pending // _ANSWER_BYTES)
            if count:
                self._connection.buffer_updated(count)
            if answers:
                self._answer(answers)
            if ended:
                self._connection.eof_received()
        if not self._closing:
            self._read_on()

    def _decrypt(self, buffer: memoryview | bytearray) -> tuple[int, bool]:
        """Fills the buffer: how many bytes are plain now, and whether a close_notify has come."""
        assert self._tls is not None
        count, room = 0, len(buffer)
        with memoryview(buffer) as free:
            while count < room and not self._outgoing.pending:
                if not self._incoming.pending and not self._tls.pending() and not self._feed():
                    break
                try:
                    more = self._tls.read(room - count, cast(bytearray, free[count:]))
                except ssl.SSLWantReadError:
                    continue  # it has taken all that there was, and has no whole record
                if not more:
                    return count, True
                count += cast(int, more)
        return count, False

    def _answer(self, count: int) -> None:
        """OpenSSL has answered so often: the limit of control frames holds, and others get their turn first."""
        self._flush()
        if self._connection.state is State.HANDSHAKE:  # before its request nobody needs new keys
            self._engine.record_bad_request(400)
            self.abort()
        while count and self._connection.state is State.OPEN:
            self._connection.peer.control(Control.PING, b"")
            count -= 1
        self._connection.rest()

    def _more(self) -> bool:
        """Whether something has come that the connection has not got."""
        return bool(self._came or self._incoming.pending or self._pending())

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
        records = []
        try:
            with memoryview(data) as plain:
                for at in range(0, len(plain), _WRITE_BYTES):
                    self._tls.write(plain[at : at + _WRITE_BYTES])
                    records.append(self._outgoing.read())
        except (ssl.SSLError, OSError):
            self.abort()
            return
        if records:
            self._raw.write(records[0] if len(records) == 1 else b"".join(records))

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
            self._reading = True
            self._read_on()

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
        if not self._more():
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
