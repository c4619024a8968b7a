"""TLS of an endpoint (section `websocket.tls`): which certificate, and how it is renewed while clients are connected.

A renewal makes a new context and puts it in the place of the old one as a whole: a certificate is never served with
another's key, and one that cannot be read changes nothing. Connections keep the context of their handshake.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mycelia.errors import ConfigError

if TYPE_CHECKING:
    from mycelia.websocket.config import ServerConfig

__all__ = ["Certificates", "TlsConfig"]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """A certificate and its key, in PEM files, served with TLS 1.2 or 1.3 only."""

    certificate: str | None = None
    key: str | None = None
    password: str | None = field(default=None, repr=False)
    client_ca: str | None = None

    def __post_init__(self) -> None:
        if self.certificate is None:
            raise ConfigError("websocket.tls.certificate", "expected the path of a PEM file, got nothing")
        for name in ("certificate", "key", "client_ca"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise ConfigError(f"websocket.tls.{name}", f"expected the path of a PEM file, got {value!r}")
        if self.password is not None and not isinstance(self.password, str):
            raise ConfigError("websocket.tls.password", "expected a text")
        self.context()

    def context(self) -> ssl.SSLContext:
        """A new context from the files as they are now. Raises ConfigError naming which one is wrong, and how."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        made.set_alpn_protocols(["http/1.1"])  # a WebSocket begins as HTTP/1.1 (RFC 6455 §4.1)
        self._load(made)
        if self.client_ca is not None:
            _expect("client_ca", self.client_ca, b"CERTIFICATE")
            try:
                made.load_verify_locations(cafile=self.client_ca)
            except ssl.SSLError as fault:
                problem = f"expected certificates in PEM: {_reason(fault)}"
                raise ConfigError("websocket.tls.client_ca", problem) from None
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def _load(self, made: ssl.SSLContext) -> None:
        certificate, asked = self.certificate or "", False
        _expect("certificate", certificate, b"CERTIFICATE")
        _expect("key", self.key or certificate, b"PRIVATE KEY")

        def password() -> str:  # without it, OpenSSL would ask whoever sits at the terminal
            nonlocal asked
            asked = True
            return self.password or ""

        try:
            made.load_cert_chain(certificate, self.key, password)
        except ssl.SSLError as fault:
            if asked:
                problem = "expected the password of the key" + (", which is encrypted" if not self.password else "")
                raise ConfigError("websocket.tls.password", problem) from None
            if fault.reason == "KEY_VALUES_MISMATCH":
                problem = f"expected the key of the certificate in {certificate}, got another: they do not fit"
                raise ConfigError("websocket.tls.key", problem) from None
            problem = f"expected a certificate and its key in PEM: {_reason(fault)}"
            raise ConfigError("websocket.tls.certificate", problem) from None


class Certificates:
    """The context that each endpoint of a configuration uses for the next handshake."""

    __slots__ = ("_contexts", "_servers")

    def __init__(self, servers: Sequence[ServerConfig]) -> None:
        self._servers = servers
        self._contexts: list[ssl.SSLContext | None] = []
        self.reload()

    def reload(self) -> None:
        """Reads all files anew. Raises ConfigError for one that is wrong; then everything is as before.

        A context of the application's own is its own affair: what it loads into it holds for the next handshake.
        """
        contexts = []
        for server in self._servers:
            tls = server.tls
            contexts.append(tls.context() if isinstance(tls, TlsConfig) else tls)
        self._contexts = contexts

    def source(self, server: ServerConfig) -> Callable[[], ssl.SSLContext] | None:
        """Gives the context of the moment; None for an endpoint without TLS."""
        [at] = [n for n, each in enumerate(self._servers) if each is server]

        def current() -> ssl.SSLContext:
            context = self._contexts[at]
            assert context is not None
            return context

        return None if server.tls is None else current


def _expect(name: str, path: str, kind: bytes) -> None:
    """Raises ConfigError unless the file can be read and holds what it should."""
    try:
        with open(path, "rb") as file:
            found = file.read()
    except OSError as fault:
        raise ConfigError(f"websocket.tls.{name}", f"cannot read {str(path)!r}: {fault.strerror}") from None
    if b"-----BEGIN " not in found or kind + b"-----" not in found:
        problem = f"expected a PEM file with a {kind.decode().lower()}, got {str(path)!r} without one"
        raise ConfigError(f"websocket.tls.{name}", problem)


def _reason(fault: ssl.SSLError) -> str:
    return (fault.reason or "unreadable").replace("_", " ").lower()
