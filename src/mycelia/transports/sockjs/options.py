"""The library options of the SockJS engine."""

from __future__ import annotations

from dataclasses import dataclass

from mycelia.config.sections import between, check_fields, seconds
from mycelia.errors import ConfigError

__all__ = ["SockjsOptions"]


@dataclass(frozen=True, slots=True)
class SockjsOptions:
    """Section `websocket.options` of an endpoint of type `sockjs`."""

    websocket: bool = True
    cookie: bool = False
    response_bytes: int = 128 * 1024
    session_timeout: float = seconds(5.0)
    client_url: str | None = None

    def __post_init__(self) -> None:
        check_fields("websocket.options", self)
        between("websocket.options.response_bytes", self.response_bytes, 1, 2**40)
        between("websocket.options.session_timeout", self.session_timeout, 0.001, 86400.0, " seconds")
        url = self.client_url
        if url is not None and not (isinstance(url, str) and url.startswith(("/", "http://", "https://"))):
            problem = f"expected the URL of sockjs-client as '/…' or 'https://…', got {url!r}"
            raise ConfigError("websocket.options.client_url", problem)
