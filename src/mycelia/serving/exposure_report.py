"""The exposure report at a start: what clients can call, and a warning about routes without protection."""

from __future__ import annotations

import logging
from collections.abc import Sequence

__all__ = ["log_exposure"]


def log_exposure(
    logger: logging.Logger, clients: str, routes: Sequence[str], unprotected: Sequence[str], protection: str
) -> None:
    """Log what clients can call, and warn about routes that are open to unauthenticated clients.

    Args:
        logger: The logger of the subsystem.
        clients: The name of the clients in the log: "HTTP clients" or "clients".
        routes: The names of all routes that clients can call.
        unprotected: The names of those that unauthenticated clients can call and that are not marked `safe`.
        protection: The settings that protect a route, as "authenticated=True or requires=…".
    """
    logger.info("%s can call: %s", clients, ", ".join(routes) or "nothing")
    if unprotected:
        logger.warning(
            "Unauthenticated clients can call these state-changing routes: %s. Protect them with %s, or mark read-only "
            "targets with safe=True to silence this warning.",
            ", ".join(unprotected),
            protection,
        )
