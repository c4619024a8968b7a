"""The authentication of each HTTP request, by the authenticators that also serve connections."""

from __future__ import annotations

from mycelia.auth import Credential, Identity
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.errors import NoCredential, RateLimited, Unauthorized
from mycelia.observability.error_log import ErrorLog
from mycelia.protocol.http.credentials import bearer, cookies
from mycelia.protocol.http.request import Handshake
from mycelia.server.config import AuthenticationConfig
from mycelia.server.requests.origin import OriginRules
from mycelia.serving.authentication import ClientAuthentication

__all__ = ["RequestAuthentication"]


class RequestAuthentication:
    """Finds the identity of a request by `Authorization: Bearer` or a cookie. A token in the URL does not count."""

    def __init__(
        self, config: AuthenticationConfig, throttle: LoginThrottle, origins: OriginRules, errors: ErrorLog
    ) -> None:
        self._config, self._throttle, self._origins = config, throttle, origins
        self._clients = ClientAuthentication(config.authenticator, throttle, errors)

    async def identify(self, request: Handshake, network: str) -> Identity | None:
        """Return the identity for the request's credential, or None if authentication is optional and none was sent.

        Raises:
            RateLimited: Too many credentials of this network were rejected.
            Unauthorized: The credential is invalid, or there is none and the mode is "required".
            Forbidden, Unavailable, RequestTimeout, HandlerError: See `ClientAuthentication.identify`.
        """
        if self._config.mode == "off":
            return None
        credential = self._credential_of(request)
        if not credential.empty and (wait := self._throttle.retry_after(network)):
            raise RateLimited("a login", wait)
        try:
            deadline = self._config.deadline
            return await self._clients.identify(credential, network, client="an HTTP request", timeout=deadline)
        except NoCredential:
            if self._config.mode == "required":
                raise Unauthorized("no credential of a known kind was given") from None
            return None

    async def close(self) -> None:
        """Release the resources of the authenticator."""
        await self._clients.close()

    def _credential_of(self, request: Handshake) -> Credential:
        token = bearer(request)
        source = None if token is None else "authorization"
        return Credential(token, source, cookies(request) if self._origins.cookies_count(request) else {})
