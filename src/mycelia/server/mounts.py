"""Mounts: other ASGI applications that answer all requests at and below a prefix."""

from __future__ import annotations

from mycelia.asgi.scope import Scope, path_below_root
from mycelia.errors import RouteError
from mycelia.server.engines.seam import Application

__all__ = ["Mounts", "check_prefix"]


def check_prefix(prefix: object) -> None:
    """Raise RouteError for an invalid prefix of a mounted application."""
    if (
        not isinstance(prefix, str) or not prefix.startswith("/") or prefix.endswith("/")
        or any(sign in prefix for sign in "?#%\\")
    ):  # fmt: skip
        raise RouteError(str(prefix), "expected a prefix such as '/admin'")


class Mounts:
    """The mounted applications of one ServerSubsystem, by prefix. The longest prefix wins."""

    def __init__(self) -> None:
        self._applications: dict[str, Application] = {}

    def add(self, prefix: str, application: Application) -> None:
        """Mount an application. Raise RouteError for an invalid prefix, and for one that is taken."""
        check_prefix(prefix)
        if prefix in self._applications:
            raise RouteError(prefix, "an application is already mounted there")
        self._applications[prefix] = application

    def find(self, scope: Scope) -> tuple[Application, Scope] | None:
        """Return the application for a request and the scope for it, whose `root_path` includes the prefix."""
        if not self._applications:
            return None
        path, root = path_below_root(scope), str(scope.get("root_path") or "").rstrip("/")
        for prefix in sorted(self._applications, key=len, reverse=True):
            if path == prefix or path.startswith(f"{prefix}/"):
                return self._applications[prefix], {**scope, "root_path": f"{root}{prefix}"}
        return None
