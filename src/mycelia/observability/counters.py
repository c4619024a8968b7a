"""What was refused, dropped or closed, and by which limit: one counter for each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from mycelia.protocol.wire.codes import Close

__all__ = ["Limit", "Refusals"]


class Limit(StrEnum):
    """Everything that turns a client or a message away; the value is the counter's name in `statistics`."""

    HALF_OPEN = "halfOpen"  # TCP connections whose handshake is not done
    HALF_OPEN_PER_ADDRESS = "halfOpenPerAddress"
    ACCEPT_RATE = "acceptRate"
    ACCEPT_RATE_PER_ADDRESS = "acceptRatePerAddress"
    HANDSHAKE = "handshake"  # what is no acceptable handshake
    HANDSHAKE_TIME = "handshakeTime"  # 408
    HOST = "host"
    ORIGIN = "origin"
    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connectionsPerAddress"
    CONNECTIONS_PER_PRINCIPAL = "connectionsPerPrincipal"
    AUTHENTICATION = "authentication"  # credentials that were refused, or should have been there
    FAILED_LOGINS = "failedLogins"  # credentials that nobody looked at, after so many bad ones of that address
    AUTHENTICATION_TIME = "authenticationTime"  # 4408
    EXPIRED = "expired"
    RATE_PER_CONNECTION = "ratePerConnection"
    RATE_PER_PRINCIPAL = "ratePerPrincipal"
    RATE_PER_ADDRESS = "ratePerAddress"
    RATE_PER_ROUTE = "ratePerRoute"
    CONTROL_RATE = "controlRate"
    ABUSE = "abuse"  # connections closed for going on after refusals
    MESSAGE_BYTES = "messageBytes"  # 1009
    MESSAGE_VALUES = "messageValues"
    OUTBOUND_BYTES = "outboundBytes"
    INBOUND_BYTES = "inboundBytes"  # connections closed because unfinished messages held too much
    HANDLER_TIME = "handlerTime"
    IDLE = "idle"
    LIFETIME = "lifetime"
    HEARTBEAT = "heartbeat"
    SLOW_CONSUMER = "slowConsumer"


_FAULTS: Mapping[int, Limit] = {
    Close.MESSAGE_TOO_BIG: Limit.MESSAGE_BYTES,
    Close.SERVICE_RESTART: Limit.INBOUND_BYTES,
    Close.SLOW_CONSUMER: Limit.SLOW_CONSUMER,
    Close.HEARTBEAT_LOST: Limit.HEARTBEAT,
    Close.IDLE: Limit.IDLE,
    Close.LIFETIME_OVER: Limit.LIFETIME,
}


class Refusals:
    """The counters of one subsystem; they only rise."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Limit, 0)

    def __getitem__(self, limit: Limit) -> int:
        return self._counts[limit]

    def add(self, limit: Limit) -> None:
        """One more was turned away by `limit`."""
        self._counts[limit] += 1

    def failed(self, code: int) -> None:
        """A connection is closed for a fault with this code; counts those that are a limit's."""
        limit = _FAULTS.get(code)
        if limit is not None:
            self._counts[limit] += 1

    def snapshot(self) -> dict[str, int]:
        """All of them by name."""
        return {limit.value: count for limit, count in self._counts.items()}
