"""TLS of one connection: ciphertext towards the event loop, plain bytes towards the connection.

asyncio's own TLS reports a connection only after its TLS handshake, and `start_tls` needs a task and up to 256 KiB for
each connection. A peer that never completes the handshake would not be counted. Here the connection exists from the
TCP accept on. So the accept limiter, the count of half-open connections and the handshake deadline hold for the TLS
handshake too, on every event loop. All connections read into one shared buffer.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol, cast

from mycelia.protocol.http.request import HttpReply
from mycelia.transports.seam import Control, Peer
from mycelia.transports.stream.reader import READ_BYTES
from mycelia.transports.transport_state import TransportState

__all__ = ["TlsStream"]

_PIECE_BYTES = 1024  # passed to OpenSSL at once: 3 ms of work, if they all are requests for new keys
_WRITE_BYTES = 16 * 1024  # one TLS record; OpenSSL's buffers never shrink
_ANSWER_BYTES = 27  # an encrypted KeyUpdate
_HANDSHAKE, _OPEN = TransportState.HANDSHAKE, TransportState.OPEN
_NO_TLS = HttpReply(400, b"expected TLS, got HTTP: connect with wss:// or https://\n")


class _Host(Protocol):
    """The engine: the buffer that its connections share, and the counter of bad requests."""

    window: memoryview

    def record_bad_request(self, status: int) -> None: ...


class _Connection(Protocol):
    """The connection above TLS."""

    state: TransportState
    peer: Peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def connection_lost(self, error: Exception | None) -> None: ...

    def get_buffer(self, hint: int) -> memoryview | bytearray: ...

    def buffer_updated(self, count: int) -> None: ...

    def eof_received(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def yield_turn(self) -> None: ...


class TlsStream(asyncio.Transport, asyncio.BufferedProtocol):
    """The asyncio protocol of a TCP transport, and the asyncio transport of a connection.

    It holds only the bytes of an incomplete record and, while reading is paused, the rest of one read: a pause stops
    the socket. An answer that OpenSSL sends by itself, mostly new keys (RFC 8446 §4.6.3), costs more than a ping, so
    each is counted as a ping.
    """

    __slots__ = (
        "_closing", "_connection", "_context", "_host", "_incoming", "_is_established", "_looks_like_http", "_outgoing",
        "_pump_due", "_raw", "_reading", "_received", "_tls",
    )  # fmt: skip

    def __init__(self, host: _Host, connection: _Connection, context: ssl.SSLContext) -> None:
        super().__init__()
        self._host = host
        self._connection = connection
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._received = b""  # ciphertext that OpenSSL has not got yet
        self._tls: ssl.SSLObject | None = None
        self._looks_like_http = False  # the first byte is not TLS but an upper-case letter
        self._is_established = self._closing = self._pump_due = False
        self._reading = True

    # -- what the event loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._connection.connection_made(self)  # this may abort the connection

    def get_buffer(self, hint: int) -> memoryview:
        return self._host.window

    def buffer_updated(self, count: int) -> None:
        if self._closing:
            return  # data after our close_notify is dropped
        self._received += self._host.window[:count]
        if self._tls is None:
            self._looks_like_http = 65 <= self._received[0] <= 90
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while not self._is_established:
            if not self._feed() or not self._continue_handshake():
                return
        self._pump()
        if count >= READ_BYTES and not self._closing:
            self._connection.yield_turn()  # one read may hold hundreds of tiny records

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def eof_received(self) -> None:
        if self._is_established and not self._closing:
            self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing, self._tls = True, None
        self._connection.connection_lost(error)

    # -- reading -------------------------------------------------------------------------------------

    def _feed(self) -> bool:
        """Pass the next piece of received ciphertext to OpenSSL. Return False if there is none."""
        piece, self._received = self._received[:_PIECE_BYTES], self._received[_PIECE_BYTES:]
        self._incoming.write(piece)
        return bool(piece)

    def _continue_handshake(self) -> bool:
        """Continue the handshake (RFC 8446 §4). If it fails, end the connection and return False."""
        assert self._tls is not None
        try:
            self._tls.do_handshake()
            self._is_established = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError):
            self._closing = True
            self._host.record_bad_request(400)
            if self._looks_like_http:  # an HTTP client understands an HTTP response, but not a TLS alert
                self._raw.write(_NO_TLS.encode())
            else:
                self._flush()
            self._raw.close()
            return False
        self._flush()
        return True

    def _pump(self) -> None:
        """Pass decrypted bytes to the connection, one buffer at a time, until there are no more or it pauses."""
        self._pump_due = False
        while self._reading and not self._closing and self._has_input():
            try:
                count, ended = self._decrypt(self._connection.get_buffer(-1))
            except (ssl.SSLError, OSError):  # a forged or invalid record; OpenSSL has written an alert
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
        """Fill the buffer. Return the number of decrypted bytes, and True if close_notify has arrived."""
        assert self._tls is not None
        count, room = 0, len(buffer)
        with memoryview(buffer) as free:
            while count < room and not self._outgoing.pending:
                if not self._incoming.pending and not self._tls.pending() and not self._feed():
                    break
                try:
                    more = self._tls.read(room - count, cast(bytearray, free[count:]))
                except ssl.SSLWantReadError:
                    continue  # OpenSSL has no complete record yet
                if not more:
                    return count, True
                count += cast(int, more)
        return count, False

    def _answer(self, count: int) -> None:
        """Count the answers of OpenSSL as control frames, and let other connections read first."""
        self._flush()
        if self._connection.state is _HANDSHAKE:  # no client needs new keys before its request
            self._host.record_bad_request(400)
            self.abort()
        while count and self._connection.state is _OPEN:
            self._connection.peer.control(Control.PING, b"")
            count -= 1
        self._connection.yield_turn()

    def _has_input(self) -> bool:
        """Return True if received bytes have not reached the connection yet."""
        return bool(self._received or self._incoming.pending or self._pending())

    def _pending(self) -> int:
        return 0 if self._tls is None else self._tls.pending()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # -- what the connection calls -------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Encrypt and send. Before the end of the handshake and after `close` this does nothing."""
        if not self._is_established or self._closing or self._tls is None:
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
        """Send close_notify, and end the TCP connection when everything is written (RFC 8446 §6.1)."""
        if self._closing:
            return
        if not self._is_established:
            self.abort()
            return
        self._send_close_notify()
        self._raw.close()

    def write_eof(self) -> None:
        """Send close_notify. Later input is read and dropped until the peer closes."""
        if not self._closing:
            self._send_close_notify()
            if self._raw.can_write_eof():
                self._raw.write_eof()
            self._reading = True
            self._read_on()

    def can_write_eof(self) -> bool:
        return self._is_established

    def _send_close_notify(self) -> None:
        self._closing = True
        try:
            if self._tls is not None:
                self._tls.unwrap()
        except (ssl.SSLError, OSError):
            pass  # OpenSSL waits for the peer's close_notify; a WebSocket has its own closing handshake
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
        if not self._has_input():
            self._read_on()
        elif not self._pump_due and not self._closing:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _read_on(self) -> None:
        """Read the socket again. Earlier bytes must be with the connection, so that what is held here is bounded."""
        if self._reading and not self._raw.is_reading() and not self._raw.is_closing():
            self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what asyncio calls `ssl_object`, `sslcontext`, `peercert` and `cipher`, or the socket's info."""
        if name == "sslcontext":
            return self._context
        if name in ("ssl_object", "peercert", "cipher"):
            if self._tls is None or not self._is_established:
                return default
            if name == "ssl_object":
                return self._tls
            return self._tls.getpeercert() if name == "peercert" else self._tls.cipher()
        return self._raw.get_extra_info(name, default)
