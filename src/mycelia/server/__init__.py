"""The HTTP subsystem."""

from mycelia.server.config import AuthenticationConfig, Config, HealthConfig, HttpLimits, ServerConfig
from mycelia.server.contract import ServerContract
from mycelia.server.facet import ServerFacet
from mycelia.server.hook import use_server
from mycelia.server.requests.http_request import HttpRequest
from mycelia.server.requests.router import HttpRoute
from mycelia.server.subsystem import ServerSubsystem

__all__ = [
    "AuthenticationConfig",
    "Config",
    "HealthConfig",
    "HttpLimits",
    "HttpRequest",
    "HttpRoute",
    "ServerConfig",
    "ServerContract",
    "ServerFacet",
    "ServerSubsystem",
    "use_server",
]
