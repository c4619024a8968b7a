"""The identities of connections: given at login, renewed in place, ended when their credential expires.

The identity is in the connection's options. The credential itself is kept nowhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mycelia.auth import CanClose, Credential, Identity
from mycelia.auth.credential_check import CredentialChecker
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.auth.redaction import redact, secrets_of, traceback_without
from mycelia.errors import (
    Disabled,
    Forbidden,
    HandlerError,
    InvalidBody,
    RateLimited,
    RequestTimeout,
    Unauthorized,
    Unavailable,
)
from mycelia.observability.counters import Counter, EventCounters
from mycelia.observability.error_log import ErrorLog
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.authentication.credential_expiry import CredentialExpiry
from mycelia.realtime.authentication.first_message import token_of
from mycelia.realtime.config.sections import AuthenticationConfig
from mycelia.realtime.connection.connection import ConnectionState, WebSocketConnection
from mycelia.realtime.connection.principal import ClientOptions, identity_of, is_renewing
from mycelia.realtime.connection.send_queue import Overflow
from mycelia.realtime.limits.abuse_limit import AbuseLimit
from mycelia.realtime.outbound.system_events import system_event

__all__ = ["Authentication"]

logger = logging.getLogger("mycelia.websocket")

_ATTEMPTS = 5  # rejected credentials in a row after which a connection is closed


class Authentication:
    """Gives connections their identities, and takes them away.

    Applications reach it as `subsystem.websocket.authentication`.

    Attributes:
        path: The path that clients send a new credential to.
        renewed: Functions that are called with a connection whose identity has come or changed.
    """

    def __init__(
        self,
        config: AuthenticationConfig,
        path: str,
        *,
        timeout: float,
        throttle: LoginThrottle,
        abuse: AbuseLimit,
        counters: EventCounters,
        errors: ErrorLog,
        on_expiring: Callable[[WebSocketConnection, dict[str, Any]], object],
        on_changed: Callable[[WebSocketConnection], object],
    ) -> None:
        self.config, self.path = config, path
        self.renewed: list[Callable[[WebSocketConnection], None]] = []
        self.throttle = throttle
        self._timeout = config.deadline or timeout
        self._abuse, self._counters, self._errors = abuse, counters, errors
        self._on_expiring, self._on_changed = on_expiring, on_changed
        times = config.warning, config.grace
        self.expiry: CredentialExpiry[WebSocketConnection] = CredentialExpiry(times, self._warn, self._expire)
        self._check = CredentialChecker(config.authenticator, throttle, lambda: self.expiry.clock())

    @property
    def is_active(self) -> bool:
        """True if an authenticator is asked."""
        return self.config.mode != "off"

    @property
    def is_required(self) -> bool:
        """True if a connection without an identity is refused."""
        return self.config.mode == "required"

    async def answer(self, connection: WebSocketConnection | None, body: object) -> Mapping[str, Any]:
        """Handle `websocket://authenticate` of an open connection: renew its identity.

        If the new credential is rejected, the connection keeps its identity.

        Args:
            connection: The connection; None if the caller is no client.
            body: The body of the request, `{"token": "…"}`.

        Returns:
            The data of the response.

        Raises:
            Disabled: There is no authenticator.
            InvalidBody: The body has no token.
            Unauthorized: The token was rejected.
            Forbidden: The caller is no client, or the token names another subject than the connection's.
            RateLimited: Too many credentials of this address were rejected.
            Unavailable: The authenticator cannot decide now.
            RequestTimeout: The authenticator took too long.
            HandlerError: The authenticator failed.
        """
        if not self.is_active:
            raise Disabled("authentication", "authentication.mode")
        if connection is None:
            raise Forbidden(f"{self.path} is for clients")
        token = token_of(body)
        if token is None:
            raise InvalidBody("expected a body {token}, a string", "$.token")
        if (wait := self.throttle.retry_after(connection.client.network)) and not is_renewing(connection):
            self._counters.add(Counter.FAILED_LOGINS)
            self._abuse.refused(connection.link)
            raise RateLimited("a login", wait)
        identity = await self._checked(Credential(token, "message"), connection)
        self.renew(connection, identity)
        return self.describe(identity)

    def renew(self, connection: WebSocketConnection, identity: Identity) -> None:
        """Give a connection a new identity in place: other permissions, another expiry.

        Does nothing if the connection is closing.

        Args:
            connection: The connection.
            identity: The new identity, of the same subject.

        Raises:
            Forbidden: The identity names another subject than the connection's. Such a client has to reconnect.
        """
        held = connection.options.principal_id
        if held and held != identity.subject:
            raise Forbidden("the credential is for another subject than this connection's")
        if connection.state in (ConnectionState.PENDING, ConnectionState.OPEN):
            self.adopt(connection, identity)

    def describe(self, identity: Identity) -> dict[str, Any]:
        """Return the description of an identity that its client receives."""
        expires_at = identity.expires_at
        left = None if expires_at is None else int(self.expiry.left(expires_at) * 1000)
        return {"subject": identity.subject, "expiresInMs": left}

    # -- for login and the lifecycle -------------------------------------------------------------------

    async def identify(self, credential: Credential, connection: WebSocketConnection) -> Identity:
        """Return the identity that a credential names. Raises what the credential check raises."""
        return await self._check.check(credential, connection.client.network)

    def adopt(self, connection: WebSocketConnection, identity: Identity) -> None:
        """Set the identity of a connection, and tell everything that depends on it."""
        options = connection.options
        assert isinstance(options, ClientOptions)  # only a released connection has other options
        options.identity = identity
        options.permissions_version += 1
        options.rejected_in_a_row = 0
        connection.metadata["userId"] = identity.subject  # counts an open connection for its principal
        self._on_changed(connection)
        self.watch(connection)
        for callback in self.renewed:
            try:
                callback(connection)
            except Exception:
                logger.exception("a callback of authentication.renewed failed for connection %s", connection.id)
                connection.close(Close.INTERNAL_ERROR, "renewal failed")

    def watch(self, connection: WebSocketConnection) -> None:
        """Watch the expiry of an open connection's credential."""
        identity = identity_of(connection)
        if identity is not None and connection.is_open:
            self.expiry.watch(connection, identity.expires_at)

    def forget(self, connection: WebSocketConnection) -> None:
        """Forget a connection that is gone."""
        self.expiry.forget(connection)

    def report_failure(self, fault: Exception, credential: Credential, connection: WebSocketConnection) -> str:
        """Log a failure of the authenticator without the credential; return the id of the entry."""
        what = "the authenticator failed"
        error_id = self._errors.add(what, fault, path=self.path, connection_id=connection.id, trace_id="-").id
        text = traceback_without(fault, secrets_of(credential))
        logger.error("%s (error %s, connection %s)\n%s", what, error_id, connection.id, text)
        return error_id

    async def close(self) -> None:
        """Release what the authenticator holds."""
        if isinstance(self.config.authenticator, CanClose):
            await self.config.authenticator.close()

    # -- inside ----------------------------------------------------------------------------------------

    async def _checked(self, credential: Credential, connection: WebSocketConnection) -> Identity:
        """Return the identity of a renewal. Raises only errors that are meant for the client."""
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await self.identify(credential, connection)
        except (Unauthorized, Forbidden, Unavailable) as fault:
            reason = redact(str(fault), secrets_of(credential))
            logger.info("the credential of connection %s was not renewed: %s", connection.id, reason)
            self._counters.add(Counter.AUTHENTICATION)
            if isinstance(fault, Unauthorized):
                self._count_rejected(connection)
            kind = next(each for each in (Unavailable, Forbidden, Unauthorized) if isinstance(fault, each))
            raise kind("the credential was refused") from None
        except Exception as fault:
            if isinstance(fault, TimeoutError) and deadline.expired():  # the authenticator may raise its own
                raise RequestTimeout(self.path, self._timeout) from None
            details = {"errorId": self.report_failure(fault, credential, connection)}
            raise HandlerError("the handler failed", details=details) from None

    def _count_rejected(self, connection: WebSocketConnection) -> None:
        """Count a rejected credential; close a connection that was wrong several times in a row."""
        options = connection.options
        if isinstance(options, ClientOptions):
            options.rejected_in_a_row, options.has_failed_authentication = options.rejected_in_a_row + 1, True
            if options.rejected_in_a_row >= _ATTEMPTS:
                connection.close(Close.NOT_AUTHENTICATED, "too many credentials were refused")

    def _warn(self, connection: WebSocketConnection, left: float) -> None:
        if not connection.is_open:
            return
        if packet := system_event(connection, "websocket.token_expiring", {"expiresInMs": int(left * 1000)}):
            connection.link.push(packet, Overflow.DROP_NEWEST)
        if (identity := identity_of(connection)) is not None:
            self._on_expiring(connection, {"connectionId": connection.id, **self.describe(identity)})

    def _expire(self, connection: WebSocketConnection) -> None:
        self._counters.add(Counter.EXPIRED)
        connection.close(Close.NOT_AUTHENTICATED, "the credential has expired")
