"""The event counters of one subsystem: what was refused, dropped or closed, and by which limit."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Counter", "EventCounters"]


class Counter(StrEnum):
    """Every event that is counted. The value is the key in `system.statistics()`."""

    REFUSED = "refused"  # requests that found the backlog full, or came during overload or a drain
    UNMATCHED_RESPONSES = "unmatchedResponses"  # responses of clients that no request waits for
    HALF_OPEN = "halfOpen"  # TCP connections whose handshake is not finished
    HALF_OPEN_PER_ADDRESS = "halfOpenPerAddress"
    ACCEPT_RATE = "acceptRate"
    ACCEPT_RATE_PER_ADDRESS = "acceptRatePerAddress"
    HANDSHAKE = "handshake"  # requests that are no acceptable handshake
    HANDSHAKE_TIME = "handshakeTime"  # 408
    HOST = "host"
    ORIGIN = "origin"
    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connectionsPerAddress"
    CONNECTIONS_PER_PRINCIPAL = "connectionsPerPrincipal"
    AUTHENTICATION = "authentication"  # credentials that were rejected or missing
    FAILED_LOGINS = "failedLogins"  # credentials that were not checked after too many rejected ones of the address
    AUTHENTICATION_TIME = "authenticationTime"  # 4408
    EXPIRED = "expired"
    RATE_PER_CONNECTION = "ratePerConnection"
    RATE_PER_PRINCIPAL = "ratePerPrincipal"
    RATE_PER_ADDRESS = "ratePerAddress"
    RATE_PER_ROUTE = "ratePerRoute"
    CONTROL_RATE = "controlRate"
    ABUSE = "abuse"  # connections that were closed for going on after refusals
    MESSAGE_BYTES = "messageBytes"  # 1009
    MESSAGE_VALUES = "messageValues"
    OUTBOUND_BYTES = "outboundBytes"
    INBOUND_BYTES = "inboundBytes"  # connections that were closed because incomplete messages took too much memory
    HANDLER_TIME = "handlerTime"
    IDLE = "idle"
    LIFETIME = "lifetime"
    HEARTBEAT = "heartbeat"
    SLOW_CONSUMER = "slowConsumer"


_NO_LIMITS = frozenset({Counter.REFUSED, Counter.UNMATCHED_RESPONSES})


class EventCounters:
    """Counters that only rise, one for each `Counter`."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Counter, 0)

    def __getitem__(self, counter: Counter) -> int:
        return self._counts[counter]

    def add(self, counter: Counter) -> None:
        """Count one event."""
        self._counts[counter] += 1

    def limits(self) -> dict[str, int]:
        """Return how often each limit was exceeded, by the key in `system.statistics()`."""
        return {counter.value: count for counter, count in self._counts.items() if counter not in _NO_LIMITS}
