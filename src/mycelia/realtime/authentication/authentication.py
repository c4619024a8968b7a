"""Binds an authenticator to connections: the credential of the handshake or of the first message, its renewal, its end.

It runs while the connection is pending, before the application's `connect`, and nothing of a refusal but the Close goes
out. What a credential said is in the connection's options; the credential itself is kept nowhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mycelia.auth import CanClose, Credential, Identity
from mycelia.auth.credential_check import Judge, cookie_origins
from mycelia.auth.login_throttle import FailedLogins
from mycelia.auth.redaction import hide, secrets_of, traceback_without
from mycelia.errors import (
    Disabled,
    Forbidden,
    HandlerError,
    InvalidBody,
    NoCredential,
    RateLimited,
    RequestTimeout,
    Unauthorized,
    Unavailable,
)
from mycelia.observability.counters import Limit
from mycelia.protocol.http.credentials import cookies, credentials
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.wire.envelope import Request
from mycelia.protocol.ws.handshake import Handshake, origin_allowed
from mycelia.realtime.authentication.credential_expiry import Expiry
from mycelia.realtime.authentication.first_message import FirstMessage, token_of
from mycelia.realtime.connection.principal import ClientOptions, identity_of, is_renewing
from mycelia.realtime.connection.send_queue import Overflow
from mycelia.realtime.connection.state import Phase
from mycelia.realtime.inbound.client_message import silent
from mycelia.realtime.outbound.system_events import notice
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.serving.error_responses import outcome_response

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Authentication"]

logger = logging.getLogger("mycelia.websocket")

_ATTEMPTS = 5  # credentials in a row that may be bad, on one connection
_COUNTED = {Close.AUTHENTICATION_TIMEOUT: Limit.AUTHENTICATION_TIME, Close.ABUSE: Limit.FAILED_LOGINS}
Refusal = tuple[Close, str]


class Authentication:
    """Knows who a connection is. `renewed` is called for a connection whose identity has come or changed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.config = runtime.config.authentication
        self.active = self.config.mode != "off"
        self.required = self.config.mode == "required"
        self.path = f"{runtime.subsystem.name}://authenticate"
        self.renewed: list[Callable[[WebSocketConnection], None]] = []
        self.failures = FailedLogins(runtime.config.limits.failed_logins)
        self._transforms = Transforms(runtime.config.routing)
        times = self.config.warning, self.config.grace
        self.expiry: Expiry[WebSocketConnection] = Expiry(times, self._warn, self._end)
        self._cookie_origins = [
            each for server in runtime.config.websocket for each in cookie_origins(server.allowed_origins)
        ]
        self._judges = Judge(self.config.authenticator, self.failures, lambda: self.expiry.clock())

    # -- at the handshake ------------------------------------------------------------------------------

    def holds_back(self, address: str, request: Handshake) -> float:
        """Seconds that a handshake has to wait because it brings a credential and others of its address were bad."""
        wait = self.failures.wait(address)
        token = credentials(request).token if wait else None
        return wait if token or (wait and self.active and not self._credential(request).empty) else 0.0

    def concerns(self, request: Handshake) -> bool:
        """Whether a connection with this handshake is to be judged before it is accepted."""
        return self.required or (self.active and not self._credential(request).empty)

    def listen(self, connection: WebSocketConnection, request: Handshake) -> FirstMessage | None:
        """What hears the first message of one that brings no token and must have one; None where nothing does."""
        if not self.required or not self.config.deadline or self._credential(request).token is not None:
            return None
        return FirstMessage(connection, self._transforms)

    async def admit(
        self, connection: WebSocketConnection, request: Handshake, first: FirstMessage | None
    ) -> Refusal | None:
        """Finds out who the peer of a pending connection is. Returns how to refuse it, None when it may go on.

        Cookies may be of something else altogether: where they are no credential, the first message is waited for.
        """
        refusal: Refusal | None = None
        try:
            credential = self._credential(request)
            if first is None or not credential.empty:
                refusal = await self._decide(connection, credential, None)
        except NoCredential:
            if first is None and self.required:
                refusal = Close.NOT_AUTHENTICATED, "not authenticated"
        known = identity_of(connection) is not None
        if first is not None and refusal is None and not known and connection.phase is Phase.PENDING:
            refusal = await self._by_message(connection, first)
        if refusal is not None:
            self._runtime.refusals.add(_COUNTED.get(refusal[0], Limit.AUTHENTICATION))
        return refusal

    async def _by_message(self, connection: WebSocketConnection, first: FirstMessage) -> Refusal | None:
        try:
            asked = await first.request(self.path, self.config.deadline)
            if asked is None:
                return Close.NOT_AUTHENTICATED, f"expected {self.path} first"
            return await self._decide(connection, Credential(token_of(asked.body), "message"), asked)
        except TimeoutError:
            return Close.AUTHENTICATION_TIMEOUT, "no credential came in time"
        except NoCredential:
            return Close.NOT_AUTHENTICATED, "not authenticated"

    async def _decide(
        self, connection: WebSocketConnection, credential: Credential, asked: Request | None
    ) -> Refusal | None:
        """Adopts whom a credential names, and answers the request that brought it. Lets NoCredential through."""
        if self.failures.wait(connection.client.network):
            return Close.ABUSE, "too many failed logins from this address"
        try:
            identity = await self._judge(credential, connection)
        except NoCredential:
            raise
        except (Unauthorized, Forbidden, Unavailable) as fault:
            logger.info("connection %s is refused: %s", connection.id, hide(str(fault), secrets_of(credential)))
            return _refusal(fault)
        except Exception as fault:
            self._report(fault, credential, connection)
            return Close.INTERNAL_ERROR, "authentication failed"
        if connection.phase is Phase.PENDING:
            self._adopt(connection, identity)
            if asked is not None and not silent(asked.metadata):
                await self._answer(connection, asked, self.describe(identity))
        return None

    async def _answer(self, connection: WebSocketConnection, asked: Request, data: Mapping[str, Any]) -> None:
        """Answers before anything else is answered, whatever `transform_outgoing` takes for it."""
        responder, transforms = self._runtime.dispatch.responder, self._transforms
        trace_id = responder.next_trace_id()
        response = outcome_response({"success": True, "data": data}, asked.correlation_id, trace_id)
        plain = transforms.outgoing is None
        packet = (
            responder.pack(connection, response) if plain else await transforms.pack(response, connection, trace_id)
        )
        connection.push(packet)

    def turned_away(self, connection: WebSocketConnection, request: Handshake) -> None:
        """It is not let in. Without an authenticator it was `connect` that judged the token, if there was one."""
        if not self.active and credentials(request).token is not None:
            self.failures.add(connection.client.network)

    def accepted(self, connection: WebSocketConnection) -> None:
        """`connect` has accepted it: from now on its time runs."""
        identity = identity_of(connection)
        if identity is not None and connection.is_open:
            self.expiry.watch(connection, identity.expires_at)

    # -- afterwards ------------------------------------------------------------------------------------

    async def answer(self, connection: WebSocketConnection | None, body: object) -> Mapping[str, Any]:
        """What `websocket://authenticate` answers an open connection: the data of its response.

        Raises InvalidBody without a token, Unauthorized for one that is not good, Forbidden for one of another
        subject, RateLimited where too many of its address were bad, Unavailable, Disabled, RequestTimeout. The identity
        from before stays in each of these cases.
        """
        if not self.active:
            raise Disabled("authentication", "authentication.mode")
        if connection is None:
            raise Forbidden(f"{self.path} is for clients")
        token = token_of(body)
        if token is None:
            raise InvalidBody("expected a body {token}, a text", "$.token")
        if (wait := self.failures.wait(connection.client.network)) and not is_renewing(connection):
            self._runtime.refusals.add(Limit.FAILED_LOGINS)
            connection.throttle.disobeyed(connection)
            raise RateLimited("a login", wait)
        credential = Credential(token, "message")
        limit = self.config.deadline or self._runtime.config.connection.connection_timeout
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                identity = await self._judge(credential, connection)
        except (Unauthorized, Forbidden, Unavailable) as fault:
            logger.info("connection %s is not renewed: %s", connection.id, hide(str(fault), secrets_of(credential)))
            self._runtime.refusals.add(Limit.AUTHENTICATION)
            if isinstance(fault, Unauthorized):
                self._refused(connection)
            kind = next(each for each in (Unavailable, Forbidden, Unauthorized) if isinstance(fault, each))
            raise kind("the credential was refused") from None
        except Exception as fault:
            if isinstance(fault, TimeoutError) and deadline.expired():  # it may raise its own
                raise RequestTimeout(self.path, limit) from None
            details = {"errorId": self._report(fault, credential, connection)}
            raise HandlerError("the handler failed", details=details) from None
        self.renew(connection, identity)
        return self.describe(identity)

    def renew(self, connection: WebSocketConnection, identity: Identity) -> None:
        """Gives a connection a new identity in place: other permissions, another end.

        Raises Forbidden when it is another subject than the one that the connection has; that one has to connect
        anew. Does nothing when the connection is closing.
        """
        held = connection.options.principal_id
        if held and held != identity.subject:
            raise Forbidden("the credential is for another subject than this connection's")
        if connection.phase in (Phase.PENDING, Phase.OPEN):
            self._adopt(connection, identity)

    def ended(self, connection: WebSocketConnection) -> None:
        """The connection is gone."""
        self.expiry.forget(connection)

    async def close(self) -> None:
        """Gives back what the authenticator holds."""
        if isinstance(self.config.authenticator, CanClose):
            await self.config.authenticator.close()

    def describe(self, identity: Identity) -> dict[str, Any]:
        """What its client is told of an identity."""
        expires_at = identity.expires_at
        left = None if expires_at is None else int(self.expiry.left(expires_at) * 1000)
        return {"subject": identity.subject, "expiresInMs": left}

    # -- inside ----------------------------------------------------------------------------------------

    def _credential(self, request: Handshake) -> Credential:
        found = credentials(request)
        allowed = origin_allowed(request, self._cookie_origins, require=True)
        return Credential(found.token, found.source, cookies(request) if allowed else {})

    async def _judge(self, credential: Credential, connection: WebSocketConnection) -> Identity:
        return await self._judges.judge(credential, connection.client.network)

    def _adopt(self, connection: WebSocketConnection, identity: Identity) -> None:
        options = connection.options
        assert isinstance(options, ClientOptions)  # only a forgotten connection has others
        options.identity = identity
        options.permissions_version += 1
        options.refused = 0
        connection.metadata["userId"] = identity.subject  # by which an open one counts for its principal
        if self._runtime.policy is not None:
            self._runtime.policy.forget(connection)
        if connection.is_open:
            self.expiry.watch(connection, identity.expires_at)
        for callback in self.renewed:
            try:
                callback(connection)
            except Exception:
                logger.exception("what was to be asked again after a renewal of %s failed", connection.id)
                connection.close(Close.INTERNAL_ERROR, "renewal failed")

    def _refused(self, connection: WebSocketConnection) -> None:
        """Nobody guesses for ever: whoever was wrong several times in a row has to connect again."""
        options = connection.options
        if isinstance(options, ClientOptions):
            options.refused, options.erred = options.refused + 1, True
            if options.refused >= _ATTEMPTS:
                connection.close(Close.NOT_AUTHENTICATED, "too many credentials were refused")

    def _warn(self, connection: WebSocketConnection, left: float) -> None:
        if not connection.is_open:
            return
        if packet := notice(connection, "websocket.token_expiring", {"expiresInMs": int(left * 1000)}):
            connection.push(packet, Overflow.DROP_NEWEST)
        self._runtime.lifecycle.expiring(connection, left)

    def _end(self, connection: WebSocketConnection) -> None:
        self._runtime.refusals.add(Limit.EXPIRED)
        connection.close(Close.NOT_AUTHENTICATED, "the credential has expired")

    def _report(self, fault: Exception, credential: Credential, connection: WebSocketConnection) -> str:
        """Logs a failure of the authenticator without the credential, and returns the id of the entry."""
        what = "the authenticator failed"
        error_id = self._runtime.errors.add(what, fault, path=self.path, connection_id=connection.id, trace_id="-").id
        text = traceback_without(fault, secrets_of(credential))
        logger.error("%s (error %s, connection %s)\n%s", what, error_id, connection.id, text)
        return error_id


def _refusal(fault: Exception) -> Refusal:
    if isinstance(fault, Unavailable):
        return Close.TRY_AGAIN_LATER, "authentication is not available"
    if isinstance(fault, Forbidden):
        return Close.FORBIDDEN, "not allowed"
    return Close.NOT_AUTHENTICATED, "not authenticated"
