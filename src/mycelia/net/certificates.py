"""TLS (`tls` of a section): which certificate, and how it is renewed while clients are connected.

A renewal makes a new context and puts it in the place of the old one as a whole: a certificate is never served with
another's key, and one that cannot be read changes nothing. Connections keep the context of their handshake.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mycelia.config.sections import below, section
from mycelia.errors import ConfigError
from mycelia.net.listen_address import Place

__all__ = ["Certificates", "TlsConfig", "read_tls"]

_HTTP_1 = ("http/1.1",)  # a WebSocket begins as HTTP/1.1 (RFC 6455 §4.1)


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """A certificate and its key, in PEM files, served with TLS 1.2 or 1.3 only."""

    certificate: str | None = None
    key: str | None = None
    password: str | None = field(default=None, repr=False)
    client_ca: str | None = None

    def __post_init__(self) -> None:
        if self.certificate is None:
            raise ConfigError("tls.certificate", "expected the path of a PEM file, got nothing")
        for name in ("certificate", "key", "client_ca"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise ConfigError(f"tls.{name}", f"expected the path of a PEM file, got {value!r}")
        if self.password is not None and not isinstance(self.password, str):
            raise ConfigError("tls.password", "expected a text")
        self.context()

    def context(self, protocols: Sequence[str] = _HTTP_1) -> ssl.SSLContext:
        """A new context from the files as they are now, for clients that speak one of `protocols` (ALPN, RFC 7301).

        Raises ConfigError naming which file is wrong, and how.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        made.set_alpn_protocols([*protocols])
        self._load(made)
        if self.client_ca is not None:
            _expect("client_ca", self.client_ca, b"CERTIFICATE")
            try:
                made.load_verify_locations(cafile=self.client_ca)
            except ssl.SSLError as fault:
                problem = f"expected certificates in PEM: {_reason(fault)}"
                raise ConfigError("tls.client_ca", problem) from None
            except OSError as fault:  # it was there a moment ago
                raise ConfigError("tls.client_ca", _unread(self.client_ca, fault)) from None
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
                raise ConfigError("tls.password", problem) from None
            if fault.reason == "KEY_VALUES_MISMATCH":
                problem = f"expected the key of the certificate in {certificate}, got another: they do not fit"
                raise ConfigError("tls.key", problem) from None
            problem = f"expected a certificate and its key in PEM: {_reason(fault)}"
            raise ConfigError("tls.certificate", problem) from None
        except ValueError:  # Python's, before OpenSSL sees it
            raise ConfigError("tls.password", "expected at most 1024 bytes of UTF-8") from None
        except OSError as fault:  # one of them was there a moment ago; OpenSSL does not say which
            _expect("certificate", certificate, b"CERTIFICATE")
            _expect("key", self.key or certificate, b"PRIVATE KEY")
            raise ConfigError("tls.certificate", _unread(certificate, fault)) from None


def read_tls(given: Any) -> TlsConfig | ssl.SSLContext | None:
    """What `tls` of a section says: None, a mapping, a TlsConfig, or a context for servers. Raises ConfigError."""
    if isinstance(given, Mapping):
        return section("tls", TlsConfig, given)
    if isinstance(given, ssl.SSLContext) and given.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ConfigError("tls", "expected a context for servers (PROTOCOL_TLS_SERVER), got a client's")
    if given is None or isinstance(given, (TlsConfig, ssl.SSLContext)):
        return given
    problem = f"expected a mapping with `certificate` and `key`, or an ssl.SSLContext, got {given!r}"
    raise ConfigError("tls", problem)


class Certificates:
    """The context that each place of a section uses for the next handshake."""

    __slots__ = ("_contexts", "_places", "_protocols", "_section")

    def __init__(self, section: str, places: Sequence[Place], protocols: Sequence[str] = _HTTP_1) -> None:
        """`section` is what errors name; raises as `reload`."""
        self._section, self._places, self._protocols = section, places, protocols
        self._contexts: list[ssl.SSLContext | None] = []
        self.reload()

    def reload(self) -> None:
        """Reads all files anew. Raises ConfigError for one that is wrong; then everything is as before.

        A context of the application's own is its own affair: what it loads into it holds for the next handshake.
        """
        contexts: list[ssl.SSLContext | None] = []
        with below(self._section):
            for each in self._places:
                tls: Any = each.tls
                contexts.append(tls.context(self._protocols) if isinstance(tls, TlsConfig) else tls)
        self._contexts = contexts

    def source(self, place: Place) -> Callable[[], ssl.SSLContext] | None:
        """Gives the context of the moment; None for a place without TLS."""
        [at] = [n for n, each in enumerate(self._places) if each is place]

        def current() -> ssl.SSLContext:
            context = self._contexts[at]
            assert context is not None
            return context

        return None if place.tls is None else current

    def lasting(self, place: Place) -> ssl.SSLContext | None:
        """One context for a server that keeps what it was given; its handshakes have the context of the moment."""
        source = self.source(place)
        return None if source is None else _Lasting.of(source)


class _Lasting(ssl.SSLContext):
    """Stands for another context, the newest, whenever an event loop begins a handshake.

    So everything about a handshake is of one context: a switch by SNI would leave behind the session tickets, the
    verification of clients and the application's own `sni_callback`.
    """

    _source: Callable[[], ssl.SSLContext]

    @classmethod
    def of(cls, source: Callable[[], ssl.SSLContext]) -> _Lasting:
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made._source = source
        return made

    def wrap_bio(self, *given: Any, **settings: Any) -> ssl.SSLObject:
        context = self._source()
        kind = context.sslobject_class
        if kind is ssl.SSLObject:
            context.sslobject_class = _Brief
        try:
            return context.wrap_bio(*given, **settings)
        finally:
            context.sslobject_class = kind


class _Brief(ssl.SSLObject):
    """A connection whose end waits for nobody (RFC 8446 §6.1): it says close_notify, and needs none of the peer.

    An event loop would wait for half a minute, and a browser does not even read the connections that it keeps.
    """

    def unwrap(self) -> None:
        with suppress(ssl.SSLWantReadError):
            super().unwrap()


def _expect(name: str, path: str, kind: bytes) -> None:
    """Raises ConfigError unless the file can be read and holds what it should."""
    try:
        with open(path, "rb") as file:
            found = file.read()
    except OSError as fault:
        raise ConfigError(f"tls.{name}", _unread(path, fault)) from None
    except ValueError:  # no system takes a NUL or half a surrogate pair
        raise ConfigError(f"tls.{name}", f"expected the path of a PEM file, got {path!r}") from None
    if b"-----BEGIN " not in found or kind + b"-----" not in found:
        problem = f"expected a PEM file with a {kind.decode().lower()}, got {str(path)!r} without one"
        raise ConfigError(f"tls.{name}", problem)


def _unread(path: str, fault: OSError) -> str:
    return f"cannot read {str(path)!r}: {fault.strerror}"


def _reason(fault: ssl.SSLError) -> str:
    return (fault.reason or "unreadable").replace("_", " ").lower()
