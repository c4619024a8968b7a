"""The HTTP subsystem: HTTP requests become messages, and what handlers return becomes responses.

Owns the configuration, the facet, the engines for HTTP servers, and the processing of requests. Its modules form
layers: `subsystem`, `hook`, `facet`, `core`, then `asgi`, `endpoint` and `exposure_report`, then `requests`, `content`,
and at the bottom `mounts`, `router`, `response`, `config` and `engines`. Only `demo` and `testing` may import it.
"""

from mycelia.server.config import AuthenticationConfig, Config, HealthConfig, HttpLimits, ServerConfig
from mycelia.server.facet import ServerFacet
from mycelia.server.hook import ServerContract, use_server
from mycelia.server.requests.http_request import HttpRequest
from mycelia.server.router import HttpRoute
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
