"""Login: who a pending connection is, by the credential of its handshake or of its first message.

Login runs before the application's `connect`. A refused client gets nothing but the Close.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mycelia.auth import Credential
from mycelia.auth.redaction import redact, secrets_of
from mycelia.errors import Forbidden, NoCredential, Unauthorized, Unavailable
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.http.credentials import cookies, credentials
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake as RequestHead
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.wire.envelope import Request
from mycelia.protocol.wire.request_metadata import wants_no_reply
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.first_message import FirstMessage, token_of
from mycelia.realtime.connection.connection import ConnectionState
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.principal import identity_of
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.serving.responses import outcome_response

__all__ = ["CloseReason", "Login"]

logger = logging.getLogger("mycelia.websocket")

CloseReason = tuple[Close, str]
"""A close code and its reason."""

_COUNTED = {Close.AUTHENTICATION_TIMEOUT: Counter.AUTHENTICATION_TIME, Close.ABUSE: Counter.FAILED_LOGINS}


class Login:
    """Decides who pending connections are.

    Args:
        authentication: Checks credentials and sets identities.
        cookie_origins: The origin rules whose pages may use cookies.
        transforms: The application's transforms, which apply to the first message and its answer.
        responder: Packs the answer to the first message.
        counters: Counts refused connections.
    """

    def __init__(
        self,
        authentication: Authentication,
        cookie_origins: Sequence[str],
        transforms: Transforms,
        responder: Responder,
        counters: EventCounters,
    ) -> None:
        self._authentication, self._cookie_origins = authentication, cookie_origins
        self._transforms, self._responder, self._counters = transforms, responder, counters

    def credential_of(self, request: RequestHead) -> Credential:
        """Return the credential of a handshake. Cookies count only if the page's origin may use them."""
        found = credentials(request)
        allowed = origin_allowed(request, self._cookie_origins, require=True)
        return Credential(found.token, found.source, cookies(request) if allowed else {})

    def retry_after(self, address: str, credential: Credential) -> float:
        """Return how many seconds a handshake has to wait because other credentials of its address were rejected.

        A handshake without a credential does not wait.
        """
        wait = self._authentication.throttle.retry_after(address)
        has_credential = credential.token or (self._authentication.is_active and not credential.empty)
        return wait if has_credential else 0.0

    def is_needed(self, credential: Credential) -> bool:
        """Return True if a connection with this credential has to log in before it is accepted."""
        authentication = self._authentication
        return authentication.is_required or (authentication.is_active and not credential.empty)

    def first_message(self, link: Link, credential: Credential) -> FirstMessage | None:
        """Wait for the first message of a connection that needs a token and brought none; None for all others."""
        authentication = self._authentication
        if not authentication.is_required or not authentication.config.deadline or credential.token is not None:
            return None
        return FirstMessage(link, self._transforms)

    async def run(self, link: Link, credential: Credential, first: FirstMessage | None) -> CloseReason | None:
        """Find the identity of a pending connection.

        If cookies are no credential, they may belong to something else; the first message is then waited for.

        Returns:
            How to refuse the connection; None if it may go on.
        """
        rejection: CloseReason | None = None
        try:
            if first is None or not credential.empty:
                rejection = await self._decide(link, credential, None)
        except NoCredential:
            if first is None and self._authentication.is_required:
                rejection = Close.NOT_AUTHENTICATED, "not authenticated"
        known = identity_of(link.session) is not None
        if first is not None and rejection is None and not known and link.state is ConnectionState.PENDING:
            rejection = await self._by_message(link, first)
        if rejection is not None:
            self._counters.add(_COUNTED.get(rejection[0], Counter.AUTHENTICATION))
        return rejection

    def count_rejected(self, link: Link, credential: Credential) -> None:
        """Count a token that `connect` rejected. With an authenticator, the authenticator has counted it."""
        if not self._authentication.is_active and credential.token is not None:
            self._authentication.throttle.record_failure(link.session.client.network)

    async def _by_message(self, link: Link, first: FirstMessage) -> CloseReason | None:
        authentication = self._authentication
        try:
            asked = await first.request(authentication.path, authentication.config.deadline)
            if asked is None:
                return Close.NOT_AUTHENTICATED, f"expected {authentication.path} first"
            return await self._decide(link, Credential(token_of(asked.body), "message"), asked)
        except TimeoutError:
            return Close.AUTHENTICATION_TIMEOUT, "no credential came in time"
        except NoCredential:
            return Close.NOT_AUTHENTICATED, "not authenticated"

    async def _decide(self, link: Link, credential: Credential, asked: Request | None) -> CloseReason | None:
        """Set the identity that a credential names, and answer the request that brought it.

        Raises:
            NoCredential: The credential is empty.
        """
        authentication, connection = self._authentication, link.session
        if authentication.throttle.retry_after(connection.client.network):
            return Close.ABUSE, "too many failed logins from this address"
        try:
            identity = await authentication.identify(credential, connection)
        except NoCredential:
            raise
        except (Unauthorized, Forbidden, Unavailable) as fault:
            reason = redact(str(fault), secrets_of(credential))
            logger.info("connection %s is refused: %s", connection.id, reason)
            return _close_reason(fault)
        except Exception as fault:
            authentication.report_failure(fault, credential, connection)
            return Close.INTERNAL_ERROR, "authentication failed"
        if link.state is ConnectionState.PENDING:
            authentication.adopt(connection, identity)
            if asked is not None and not wants_no_reply(asked.metadata):
                await self._answer(link, asked, authentication.describe(identity))
        return None

    async def _answer(self, link: Link, asked: Request, data: Mapping[str, Any]) -> None:
        """Answer the first message before any other message, however long `transform_outgoing` takes."""
        responder, transforms = self._responder, self._transforms
        trace_id = responder.next_trace_id()
        response = outcome_response({"success": True, "data": data}, asked.correlation_id, trace_id)
        if transforms.outgoing is None:
            packet = responder.pack(link, response)
        else:
            packet = await transforms.pack(response, link, trace_id)
        link.push(packet)


def _close_reason(fault: Exception) -> CloseReason:
    if isinstance(fault, Unavailable):
        return Close.TRY_AGAIN_LATER, "authentication is not available"
    if isinstance(fault, Forbidden):
        return Close.FORBIDDEN, "not allowed"
    return Close.NOT_AUTHENTICATED, "not authenticated"
