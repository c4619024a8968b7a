"""What is measured, against whom, and which bars the outcome has to pass. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["BARS", "LESS_IS_BETTER", "SCENARIOS", "Bar", "Dialect", "Entrant", "Metric", "Scenario", "select"]


class Metric(StrEnum):
    """A figure of the load generator's JSON line."""

    RATE = "rate"
    KIB = "kib_per_connection"
    ACCEPTS = "accepts_per_s"
    CPU = "server_us"


LESS_IS_BETTER = frozenset({Metric.KIB, Metric.CPU})


class Dialect(StrEnum):
    """What the generator says to a server, and what it expects to hear."""

    ENVELOPE = "envelope"  # a request envelope, answered by a response envelope
    ECHO = "echo"  # the same request, answered by itself
    SOCKETIO = "socketio"  # a Socket.IO event, answered by its acknowledgement


@dataclass(frozen=True, slots=True)
class Entrant:
    """One server in one mode. `server` names an entry of `benchmarks.servers.SERVERS`."""

    server: str
    mode: str
    dialect: Dialect = Dialect.ENVELOPE

    @property
    def key(self) -> str:
        return f"{self.server} {self.mode}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load. `kind` is the generator's mode; `connections` are clients, subscribers or idlers."""

    name: str
    title: str
    kind: str
    connections: int
    in_flight: int
    entrants: tuple[Entrant, ...]
    body_bytes: int = 0
    used: bool = False  # idle: every connection has sent one message and got its answer

    @property
    def metrics(self) -> tuple[Metric, ...]:
        if self.kind == "idle":
            return (Metric.KIB,) if self.used else (Metric.KIB, Metric.ACCEPTS)
        return (Metric.RATE, Metric.CPU) if self.kind == "fanout" else (Metric.RATE,)


@dataclass(frozen=True, slots=True)
class Bar:
    """`subject` against `rival` in one scenario.

    `required` and `aim` bound the ratio subject / rival, or with `difference` their difference: from below,
    or from above when `at_most`. A bar without `required` is reported, never missed.
    """

    scenario: str
    metric: Metric
    rival: str
    required: float | None
    aim: float | None = None
    subject: str = "mycelia rpc"
    at_most: bool = False
    difference: bool = False


def _entrants(mode: str, *servers: str) -> tuple[Entrant, ...]:
    return tuple(Entrant(server, mode) for server in servers)


_ECHOES = (Entrant("ws", "echo", Dialect.ECHO), Entrant("picows", "echo", Dialect.ECHO))
_OURS = ("mycelia", "mycelia-websockets", "limit")
_SOCKETIO = tuple(Entrant(server, "rpc", Dialect.SOCKETIO) for server in ("mycelia-socketio", "socketio"))
_RPC = (*_entrants("rpc", *_OURS, "bun", "ws", "fastapi"), *_SOCKETIO)
_FANOUT = _entrants("fanout", *_OURS, "bun", "picows", "ws", "websockets")
_COMPRESSED = _entrants("fanout", "mycelia", "mycelia-deflate", "mycelia-websockets", "mycelia-websockets-deflate")
_IDLE = _entrants("idle", *_OURS, "picows", "websockets", "ws", "bun")
_USED = (
    *_entrants("rpc", *_OURS),
    Entrant("picows", "idle", Dialect.ECHO),
    *(Entrant(server, "echo", Dialect.ECHO) for server in ("websockets", "ws", "bun")),
)

_KEPT = (
    *_entrants("rpc", "mycelia", "mycelia-deflate", "mycelia-deflate-context"),
    Entrant("websockets-deflate", "echo", Dialect.ECHO),
)

_PROTECTED = _entrants(
    "rpc", "mycelia", "mycelia-rate", "mycelia-rates", "mycelia-timeout", "mycelia-policy", "mycelia-policy-cached"
)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("rpc64x1", "Request and reply, 64 connections, 1 in flight", "rpc", 64, 1, _RPC),
    Scenario("rpc64x16", "Request and reply, 64 connections, 16 in flight", "rpc", 64, 16, _RPC + _ECHOES),
    Scenario("protected", "What protections cost that are off by default, 64 × 16", "rpc", 64, 16, _PROTECTED),
    Scenario("rpc1x1", "Request and reply, 1 connection, 1 in flight", "rpc", 1, 1, _RPC),
    Scenario("rpc4k", "Request and reply with 4 KiB, 64 connections, 1 in flight", "rpc", 64, 1, _RPC, 4096),
    Scenario("fanout1000x1", "Fan-out to 1,000, one broadcast at a time", "fanout", 1000, 1, _FANOUT),
    Scenario("fanout5000x1", "Fan-out to 5,000, one broadcast at a time", "fanout", 5000, 1, _FANOUT),
    Scenario("fanout5000x8", "Fan-out to 5,000, eight broadcasts in flight", "fanout", 5000, 8, _FANOUT),
    Scenario("compressed5000", "Fan-out of 2 KiB to 5,000, compressed and not", "fanout", 5000, 1, _COMPRESSED, 2048),
    Scenario("idle", "10,000 idle connections", "idle", 10000, 1, _IDLE),
    Scenario(
        "idle-deflate", "10,000 idle connections with compression, used once", "idle", 10000, 1, _KEPT, 1200, used=True
    ),
    Scenario("idle-used", "10,000 idle connections after one message", "idle", 10000, 1, _USED, used=True),
)

BARS: tuple[Bar, ...] = (
    Bar("rpc64x1", Metric.RATE, "limit rpc", 0.40, 0.50),
    Bar("rpc64x1", Metric.RATE, "ws rpc", 1.0),
    Bar("rpc64x16", Metric.RATE, "ws echo", 1.5, 2.0),
    *(Bar(name, Metric.RATE, "socketio rpc", 4.0, None, "mycelia-socketio rpc") for name in ("rpc64x1", "rpc64x16")),
    *(Bar("protected", Metric.RATE, "mycelia rpc", None, subject=entrant.key) for entrant in _PROTECTED[1:]),
    Bar("fanout1000x1", Metric.RATE, "bun fanout", None, subject="mycelia fanout"),
    Bar("fanout5000x1", Metric.RATE, "bun fanout", 0.9, 1.0, subject="mycelia fanout"),
    Bar("fanout5000x8", Metric.RATE, "bun fanout", None, subject="mycelia fanout"),
    Bar("compressed5000", Metric.CPU, "mycelia fanout", 1.5, 1.0, "mycelia-deflate fanout", at_most=True),
    Bar("compressed5000", Metric.CPU, "mycelia-websockets fanout", 1.5, 1.0, "mycelia-websockets-deflate fanout", True),
    Bar("idle-deflate", Metric.KIB, "websockets-deflate echo", None, None, "mycelia-deflate rpc", at_most=True),
    Bar("idle", Metric.KIB, "websockets idle", 1.0, subject="mycelia idle", at_most=True),
    Bar("idle", Metric.KIB, "picows idle", None, 2.0, subject="mycelia idle", at_most=True, difference=True),
    Bar("idle", Metric.ACCEPTS, "websockets idle", 2.0, subject="mycelia idle"),
    Bar("idle-used", Metric.KIB, "websockets echo", None, at_most=True),
)


def select(names: Sequence[str], idle_connections: int) -> tuple[Scenario, ...]:
    """The scenarios with these names (all, for none). Raises ValueError naming one that does not exist."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            raise ValueError(f"expected scenarios among {', '.join(known)}, got {name!r}")
    chosen = [known[name] for name in names] if names else list(SCENARIOS)
    return tuple(
        replace(s, connections=idle_connections, title=s.title.replace("10,000", f"{idle_connections:,}"))
        if s.kind == "idle"
        else s
        for s in chosen
    )
