"""The authentication of one client: every outcome of an authenticator as an identity or as a safe error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import time

from mycelia.auth import Authenticator, CanClose, Credential, Identity
from mycelia.auth.credential_check import CredentialChecker
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.auth.redaction import redact, secrets_of
from mycelia.errors import Forbidden, HandlerError, NoCredential, RequestTimeout, Unauthorized, Unavailable
from mycelia.observability.error_log import ErrorLog
from mycelia.serving.internal_error import INTERNAL_ERROR, authenticator_error

__all__ = ["ClientAuthentication"]

_REJECTIONS: tuple[type[Exception], ...] = (Unavailable, Forbidden, Unauthorized)


class ClientAuthentication:
    """Authenticates the clients of one server.

    It logs why a credential was rejected, without the credential. The client receives only errors with fixed messages.

    Args:
        authenticator: The authenticator; None if the mode of authentication is "off".
        throttle: The throttle that counts rejected credentials.
        errors: The record of failures, for those of the authenticator.
        clock: Returns the time in seconds since the epoch.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        throttle: LoginThrottle,
        errors: ErrorLog,
        clock: Callable[[], float] = time,
    ) -> None:
        self._authenticator, self._errors = authenticator, errors
        self._checker = CredentialChecker(authenticator, throttle, clock)
        self._logger = logging.getLogger(f"mycelia.{errors.source}")

    async def identify(
        self,
        credential: Credential,
        network: str,
        *,
        client: str,
        connection_id: str = "-",
        path: str = "",
        timeout: float | None = None,
    ) -> Identity:
        """Return the identity that a credential proves.

        Args:
            credential: The credential of the client.
            network: The network of the client, under which rejected credentials count.
            client: The name of the client in the log, such as "connection 7".
            connection_id: The id of the connection, for the record of a failure.
            path: The path of the request that brought the credential, for the record of a failure.
            timeout: The deadline in seconds. None if the caller has a deadline of its own.

        Raises:
            NoCredential: The credential is empty, or of no known kind.
            Unauthorized: The credential is invalid.
            Forbidden: The authenticator raised Forbidden.
            Unavailable: The authenticator cannot check the credential now.
            RequestTimeout: The authenticator did not answer in time.
            HandlerError: The authenticator failed. Its details hold the error id.
        """
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                return await self._checker.check(credential, network)
        except NoCredential:
            raise
        except _REJECTIONS as error:
            self._logger.info("%s: the credential was rejected: %s", client, redact(str(error), secrets_of(credential)))
            kind = next(each for each in _REJECTIONS if isinstance(error, each))
            raise kind("the credential was rejected") from None
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # The caller is cancelled. Otherwise the authenticator raised CancelledError itself.
            if timeout is not None and isinstance(error, TimeoutError) and deadline.expired():
                raise RequestTimeout("authentication", timeout) from None
            error_id = authenticator_error(error, credential, self._errors, connection_id=connection_id, path=path)
            raise HandlerError(INTERNAL_ERROR, details={"errorId": error_id}) from None

    async def close(self) -> None:
        """Release the resources of the authenticator."""
        if isinstance(self._authenticator, CanClose):
            await self._authenticator.close()
