"""Who a peer is: credentials go in, an Identity comes out; nothing here knows sockets or messages.

`mycelia.auth.jwt` needs the extra `mycelia[jwt]` and is therefore imported by its own name.
"""

from mycelia.auth.authenticator import Authenticator, CanClose, Credential, FirstOf
from mycelia.auth.identity import Identity
from mycelia.auth.opaque import TokenAuthenticator
from mycelia.auth.session import SessionAuthenticator

__all__ = [
    "Authenticator",
    "CanClose",
    "Credential",
    "FirstOf",
    "Identity",
    "SessionAuthenticator",
    "TokenAuthenticator",
]
