"""The section `limits`: how much clients may use. The defaults suit a server on the open internet.

Protections are on. Limits that depend on the application are off: how many messages per second are too many, how long
an idle client may stay. A rate is `Rate(100, 60.0)`, a mapping in either spelling
(`{"maxMessages": 100, "windowMs": 60000}`), or None for no limit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from mycelia.config.sections import below, between, check_fields, rate_of, seconds
from mycelia.net.peer_rules import check_proxies
from mycelia.scheduling.rate_limiter import Rate

__all__ = ["LimitsConfig"]

_ACCEPTS = Rate(1000, 1.0)
_ACCEPTS_PER_ADDRESS = Rate(256, 1.0)
_CONTROLS = Rate(200, 10.0)
_REFUSALS = Rate(100, 60.0)
_FAILED_LOGINS = Rate(20, 60.0)
_FEWEST_VALUES = 32_768  # a message that is too small to be counted cannot hold more


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Limits on connections by address and principal, on rates, sizes and times; 0 or None is no limit."""

    connections_per_address: int = 256
    connections_per_principal: int = 100
    accept_rate: Rate | None = _ACCEPTS
    accept_rate_per_address: Rate | None = _ACCEPTS_PER_ADDRESS
    failed_logins: Rate | None = _FAILED_LOGINS
    rate_per_connection: Rate | None = None
    rate_per_principal: Rate | None = None
    rate_per_address: Rate | None = None
    control_rate: Rate | None = _CONTROLS
    abuse: Rate | None = _REFUSALS
    small_fragment_bytes: int = 64
    message_values: int = 65_536
    outbound_bytes: int = 16 * 1024 * 1024
    handler_timeout: float = seconds(0.0)
    idle_timeout: float = seconds(0.0)
    connection_lifetime: float = seconds(0.0)
    query_parameters: int = 64
    trusted_proxies: tuple[str, ...] = ()
    proxy_headers: str = "x-forwarded"

    def __post_init__(self) -> None:
        for entry in fields(self):
            if "Rate" in str(entry.type):
                rate = rate_of(f"limits.{entry.name}", getattr(self, entry.name))
                object.__setattr__(self, entry.name, rate)
        check_fields("limits", self)
        for name in ("connections_per_address", "connections_per_principal", "query_parameters"):
            between(f"limits.{name}", getattr(self, name), 0, 2**40)
        if self.message_values:
            between("limits.message_values", self.message_values, _FEWEST_VALUES, 2**40)
        if self.outbound_bytes:
            between("limits.outbound_bytes", self.outbound_bytes, 1024, 2**40)
        between("limits.small_fragment_bytes", self.small_fragment_bytes, 0, 2**20)
        for name in ("handler_timeout", "idle_timeout", "connection_lifetime"):
            between(f"limits.{name}", getattr(self, name), 0, 365 * 86400.0, " seconds")
        with below("limits"):
            check_proxies(self.trusted_proxies, self.proxy_headers)
