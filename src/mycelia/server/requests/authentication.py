"""Who sends a request: asked anew for each, of the same authenticators as connections are."""

from __future__ import annotations

import asyncio
import logging

from mycelia.auth import CanClose, Credential, Identity
from mycelia.auth.credential_check import Judge
from mycelia.auth.login_throttle import FailedLogins
from mycelia.auth.redaction import hide, secrets_of, traceback_without
from mycelia.errors import (
    Forbidden,
    HandlerError,
    NoCredential,
    RateLimited,
    RequestTimeout,
    Unauthorized,
    Unavailable,
)
from mycelia.observability.error_log import ErrorLog
from mycelia.protocol.http.credentials import bearer, cookies
from mycelia.protocol.ws.handshake import Handshake
from mycelia.server.config import Config
from mycelia.server.requests.origin import Origins

__all__ = ["Authentication"]

logger = logging.getLogger("mycelia.server")


class Authentication:
    """Finds out who asks, by `Authorization: Bearer` or a cookie; a token in the URL is none."""

    def __init__(self, config: Config, origins: Origins, errors: ErrorLog) -> None:
        self._config = config.authentication
        self._origins, self._errors = origins, errors
        self._failures = FailedLogins(config.limits.failed_logins)
        self._judges = Judge(self._config.authenticator, self._failures)

    async def identify(self, request: Handshake, network: str) -> Identity | None:
        """Whom the credential of a request names; None where nobody has to be known, and nobody is.

        Raises Unauthorized, Forbidden, RateLimited after too many bad ones of this network, Unavailable and
        RequestTimeout; HandlerError where the authenticator fails. None of them holds a text that a client may not see.
        """
        if self._config.mode == "off":
            return None
        credential = Credential(
            token := bearer(request),
            None if token is None else "authorization",
            cookies(request) if self._origins.lets_cookies(request) else {},
        )
        if not credential.empty and (wait := self._failures.wait(network)):
            raise RateLimited("a login", wait)
        deadline = asyncio.timeout(self._config.deadline)
        try:
            async with deadline:
                return await self._judges.judge(credential, network)
        except NoCredential:
            if self._config.mode == "required":
                raise Unauthorized("no credential of a kind that is known here was given") from None
            return None
        except (Unauthorized, Forbidden, Unavailable) as fault:
            logger.info("a request is refused: %s", hide(str(fault), secrets_of(credential)))
            kind = next(each for each in (Unavailable, Forbidden, Unauthorized) if isinstance(fault, each))
            raise kind("the credential was refused") from None
        except (Exception, asyncio.CancelledError) as fault:
            task = asyncio.current_task()
            if isinstance(fault, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # it is the request that is cancelled, and not something of the authenticator's own
            if isinstance(fault, TimeoutError) and deadline.expired():  # it may raise its own
                raise RequestTimeout("authentication", self._config.deadline) from None
            details = {"errorId": self._report(fault, credential)}
            raise HandlerError("the handler failed", details=details) from None

    async def close(self) -> None:
        """Gives back what the authenticator holds."""
        if isinstance(self._config.authenticator, CanClose):
            await self._config.authenticator.close()

    def _report(self, fault: BaseException, credential: Credential) -> str:
        """Logs a failure of the authenticator without the credential, and returns the id of the entry."""
        what = "the authenticator failed"
        error_id = self._errors.add(what, fault, path="", connection_id="-", trace_id="-").id
        logger.error("%s (error %s)\n%s", what, error_id, traceback_without(fault, secrets_of(credential)))
        return error_id
