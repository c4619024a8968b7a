"""Authenticators: objects that turn a credential into an identity.

Owns credentials, identities, the check of a credential, the login throttle, and the redaction of secrets in logs. It
imports `errors`, `scheduling` and the standard library only: it knows neither sockets nor messages. `serving`,
`realtime` and `server` may import it.

`mycelia.auth.jwt` needs the extra `mycelia[jwt]`. Import it by its own name.
"""

from mycelia.auth.authenticator import Authenticator, CanClose, Credential, FirstOf
from mycelia.auth.callbacks import SessionAuthenticator, TokenAuthenticator
from mycelia.auth.identity import Identity

__all__ = [
    "Authenticator",
    "CanClose",
    "Credential",
    "FirstOf",
    "Identity",
    "SessionAuthenticator",
    "TokenAuthenticator",
]
