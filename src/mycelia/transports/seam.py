"""The seam between the subsystem and a WebSocket library.

An engine listens, completes handshakes that its `admit` handler accepts, turns a byte stream into whole
messages and writes what it is given. It decides nothing else: limits, order, authentication, heartbeats
and counting are above the seam, once, and so hold for every engine. `mycelia.testing` proves an engine.

Who calls whom: the engine asks `Gate.admit` for each handshake and then calls the `Peer` that the gate
named; the subsystem calls the `Transport` that the engine hands to `Peer.opened`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, runtime_checkable

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.ws.handshake import Accept, Handshake, HttpReply

__all__ = [
    "Admit",
    "CanFrame",
    "CanPause",
    "CanPing",
    "Control",
    "Door",
    "Engine",
    "EngineOptions",
    "Gate",
    "OpenDoor",
    "Peer",
    "SilentLogger",
    "Transport",
    "check_event",
    "check_start",
    "engine_names",
    "engines_that",
    "is_engine",
    "load_engine",
]

Admit = Callable[[Handshake], Accept | HttpReply]


class Control(Enum):
    """What reaches a peer besides messages, where the library shows it."""

    PING = "ping"
    PONG = "pong"
    EMPTY_FRAGMENT = "empty fragment"
    FRAGMENT = "fragment"  # with a payload, and not the last of its message


class Transport(Protocol):
    """One peer's pipe. Every call returns at once; after `close` or `abort` every call does nothing."""

    @property
    def buffered(self) -> int:
        """Bytes written here that the operating system has not taken yet."""

    def send(self, payload: bytes, binary: bool) -> None:
        """Sends one message as one frame."""

    def close(self, code: int, reason: str) -> None:
        """Sends Close once, drops later input, and ends the connection when the peer answers or 2 s later."""

    def abort(self) -> None:
        """Ends the connection now; what is not yet sent is lost."""

    def extra(self, name: str) -> object:
        """None for a name that it does not know.

        `"native"` is the library's own object for this connection; `"deadline"` the time of the loop by which
        the handshake, and whatever follows it before acceptance, must be done; `"compression"` what was agreed on
        in the handshake, for whoever writes finished frames.
        """


@runtime_checkable
class CanFrame(Protocol):
    """A transport that takes finished RFC 6455 frames, so that a broadcast is framed once for everybody."""

    def send_frame(self, frame: bytes) -> None: ...


@runtime_checkable
class CanPing(Protocol):
    """A transport that sends Ping frames and reports Pongs (RFC 6455 §5.5.2)."""

    def ping(self, payload: bytes) -> None: ...


@runtime_checkable
class CanPause(Protocol):
    """A transport that can stop reading its socket; what was read before still arrives.

    After `close` too: a peer that abuses is then not even read, and goes when the time for its Close is over.
    """

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Peer(Protocol):
    """What the subsystem gives an engine for one connection. Calls are plain, quick, and never raise."""

    def opened(self, transport: Transport) -> None: ...

    def received(self, payload: bytes, binary: bool) -> None: ...

    def control(self, kind: Control, payload: bytes) -> None: ...

    def congested(self, full: bool) -> None: ...

    def leaving(self) -> None:
        """The peer's Close has come: nothing can be sent any more, and `closed` follows."""

    def failed(self, code: int, reason: str) -> None:
        """The peer broke the protocol; Close with this code is on its way and `closed` follows."""

    def closed(self, code: int, reason: str) -> None:
        """The last call, made exactly once: the peer's code, 1005 for an empty Close, 1006 for none."""


class Gate(Protocol):
    """Decides a handshake at once."""

    def admit(self, request: Handshake) -> Accept | HttpReply: ...


class Door(Protocol):
    """Decides at the TCP accept, before a byte was read, whether a connection may stay."""

    def enter(self, host: str) -> bool:
        """Whether a connection from `host` may stay; the engine resets it if not, and owes `leave` if so."""

    def leave(self, host: str) -> None:
        """Its handshake is over, one way or the other; called exactly once."""

    def misread(self, status: int) -> None:
        """A head was refused with this status before the gate saw it: not well-formed, too large, or too late."""


class OpenDoor:
    """Turns nobody away."""

    __slots__ = ()

    def enter(self, host: str) -> bool:
        return True

    def leave(self, host: str) -> None: ...

    def misread(self, status: int) -> None: ...


class SilentLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger to give a library that logs what peers send: nothing of that may reach a log."""

    def isEnabledFor(self, level: int) -> bool:
        return False


def _anybody(request: Handshake) -> HttpReply | None:
    return None


def _never(session: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What `Engine.start` needs: where to listen, and the limits that a library must know to keep."""

    host: str | tuple[str, ...] = "127.0.0.1"
    port: int = 0
    unix_socket: str | None = None  # a path, instead of `host` and `port`
    socket_mode: int = 0o600  # of the file at that path
    tls: Callable[[], ssl.SSLContext] | None = None  # asked for each connection, so that certificates can be renewed
    path: str = ""  # of the endpoint, for an engine that serves what is below it; empty for any
    max_message_bytes: int = 1024 * 1024
    handshake_timeout: float = 30.0
    close_timeout: float = 2.0
    ping_interval: float = 25.0  # for an engine whose protocol has a heartbeat of its own; 0 for as it likes
    ping_timeout: float = 20.0
    high_water_bytes: int = 64 * 1024
    backlog: int = 1024
    inbound_bytes: int = 64 * 1024 * 1024
    door: Door = field(default_factory=OpenDoor)
    allowed_origins: tuple[str, ...] = ()  # besides its own; for an engine that serves pages for others to show
    screen: Callable[[Handshake], HttpReply | None] = _anybody  # why a plain request is not served, for its origin
    abused: Callable[[str], bool] = _never  # a session is refused a connection in it: whether once too often (4429)
    max_descriptor: int = 0  # an accepted socket with this number or a higher one is reset; 0 for no limit
    library: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """The seed's adapter: `start(options)`, `stop()`, `on(event, handler)`."""

    name: str

    async def start(self, options: EngineOptions) -> None:
        """Listens. Raises the `OSError` of a failed bind and is then as before."""

    async def stop(self) -> None:
        """Stops listening, refuses half-open handshakes, and aborts what is still connected."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        """Sets who decides handshakes; must be called before `start`."""

    def address(self) -> tuple[str, int] | None:
        """Where the engine listens; None when it does not, or has no address."""


def check_event(event: str) -> None:
    """What every engine's `on` checks. Raises EngineError for an event that there is not."""
    if event != "admit":
        raise EngineError(f"expected the event 'admit', got {event!r}")


def check_start(
    name: str, running: bool, admit: Admit | None, given: Collection[str], known: Collection[str] = ()
) -> None:
    """What every engine's `start` checks first: `given` are the library options that it got, `known` those it has.

    Raises NotRunning when it runs already, and EngineError without `on("admit", …)` or for an option it does not have.
    """
    if running:
        raise NotRunning(f"the {name} engine is already running; stop() it first")
    if admit is None:
        raise EngineError("expected on('admit', handler) before start()")
    if unknown := set(given) - set(known):
        every = ", ".join(sorted(known)) or "none"
        raise EngineError(f"unknown option {min(unknown)!r} for the {name} engine; known: {every}")


# name → (module, class); a module is imported when its engine is first asked for.
_BUILT_IN: Mapping[str, str] = {
    "picows": "mycelia.transports.tcp.picows:PicowsEngine",
    "websockets": "mycelia.transports.tcp.websockets:WebsocketsEngine",
    "memory": "mycelia.transports.memory.engine:MemoryEngine",
    "asgi": "mycelia.transports.asgi.engine:AsgiEngine",
    "socketio": "mycelia.transports.socketio.engine:SocketioEngine",
    "sockjs": "mycelia.transports.sockjs.engine:SockjsEngine",
}
_ALIASES: Mapping[str, str] = {"uws": "picows", "ws": "websockets", "socket.io": "socketio"}


def is_engine(name: str) -> bool:
    """Whether `load_engine` knows the name; looks at what is installed only for a foreign one."""
    return name in _BUILT_IN or name in _ALIASES or name in engine_names()


def engine_names() -> list[str]:
    """Every engine name that `load_engine` takes: built in, aliases and installed entry points."""
    installed = {entry.name for entry in entry_points(group="mycelia.engines")}
    return sorted({*_BUILT_IN, *_ALIASES, *installed})


def engines_that(ability: str) -> list[str]:
    """The engines of ours that declare an ability; one whose library is not installed is not named."""
    found = []
    for name in _BUILT_IN:
        with suppress(ImportError):
            if ability in getattr(load_engine(name), "abilities", ()):
                found.append(name)
    return found


def load_engine(name: str) -> Callable[[], Engine]:
    """The factory of the engine called `name`. Raises EngineError naming the known ones."""
    target = _BUILT_IN.get(_ALIASES.get(name, name))
    if target is not None:
        module, _, attribute = target.partition(":")
        factory: Callable[[], Engine] = getattr(import_module(module), attribute)
        return factory
    for entry in entry_points(group="mycelia.engines"):
        if entry.name == name:
            loaded: Callable[[], Engine] = entry.load()
            return loaded
    raise EngineError(f"unknown engine type {name!r}; known: {', '.join(engine_names())}")
