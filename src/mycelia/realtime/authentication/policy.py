"""The application's own decision on which client may call what: `routing.policy`.

The policy is a guard inside the permission check of every route that clients reach, so that every way of a request
passes it. A system without a policy has no guard. If the policy fails, the message is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any
from weakref import WeakKeyDictionary

from mycelia.errors import Forbidden, Unauthorized
from mycelia.kernel.messages.context import Options, Principal
from mycelia.kernel.messages.message import Message
from mycelia.kernel.routing.handler import Call
from mycelia.kernel.routing.pipeline import check_rights
from mycelia.kernel.routing.router import Route
from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["REMEMBERED", "Decision", "Policy", "PolicyCallback"]

logger = logging.getLogger("mycelia.websocket")

REMEMBERED = 128  # decisions per connection; the oldest is dropped first


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a policy on one message.

    Args:
        allow: True if the message may pass.
        cache: True if the decision holds for every message of this connection to this path. It is forgotten when the
            connection's principal changes or is renewed. Do not cache a decision that depends on the body.
    """

    allow: bool
    cache: bool = False


PolicyAnswer = bool | Decision
PolicyCallback = Callable[[Message, Principal | None, Route], PolicyAnswer | Awaitable[PolicyAnswer]]
"""`(message, principal, route)` → True, False or a Decision; may be async."""
_Stamp = tuple[str, frozenset[str]] | None


class _Memory:
    __slots__ = ("decisions", "stamp")

    def __init__(self, stamp: _Stamp) -> None:
        self.stamp = stamp
        self.decisions: dict[tuple[str, str], bool] = {}


class Policy:
    """Asks the application before a client's message reaches a handler.

    Args:
        callback: The application's policy.
        own: The name of the WebSocket subsystem.
        default_path: The default path, which clients reach without `expose`.
    """

    def __init__(self, callback: PolicyCallback, own: str, default_path: str) -> None:
        self._callback = callback
        self._own, self._default_path = own, default_path
        self._memories: WeakKeyDictionary[WebSocketConnection, _Memory] = WeakKeyDictionary()

    def guard(self, route: Route, call: Call) -> Call:
        """Return the guarded call of one route; `call` itself for the subsystem's own routes that no client reaches."""
        if route.subsystem == self._own and not route.expose and route.path != self._default_path:
            return call

        def guarded(message: Any, params: Any, options: Any) -> Any:
            if options.caller.kind != "client":
                return call(message, params, options)
            pending = self._ask(route, message, options)
            if pending is None:
                return call(message, params, options)
            return self._wait(pending, lambda: call(message, params, options))

        return guarded

    def forget(self, connection: WebSocketConnection) -> None:
        """Forget the cached decisions of a connection."""
        self._memories.pop(connection, None)

    def _ask(self, route: Route, message: Message, options: Options) -> Awaitable[None] | None:
        """Return None if the message may pass, or an awaitable of the decision. Raises if the message may not pass."""
        connection = options.connection
        try:
            principal = options.principal
            memory = self._memory(connection, principal)
            known = memory.decisions.get((route.path, message.path))
            if known is None:
                answer = self._callback(message, principal, route)
                if isawaitable(answer):
                    return self._decide_later(answer, memory, message, route, options)
                known = _read(answer, memory, (route.path, message.path))
        except (Forbidden, Unauthorized):
            raise
        except Exception as fault:
            raise _broken(route, fault) from fault
        _enforce(known, route, principal)
        return None

    async def _decide_later(
        self, answer: Awaitable[PolicyAnswer], memory: _Memory, message: Message, route: Route, options: Options
    ) -> None:
        """Await the decision. If the client's rights changed meanwhile, check everything again."""
        try:
            known = _read(await answer, memory, (route.path, message.path))
            changed = self._memory(options.connection, options.principal) is not memory
        except (Forbidden, Unauthorized):
            raise
        except Exception as fault:
            raise _broken(route, fault) from fault
        if changed:
            check_rights(route, options)
            pending = self._ask(route, message, options)
            if pending is not None:
                await pending
        else:
            _enforce(known, route, options.principal)

    async def _wait(self, pending: Awaitable[None], call: Callable[[], Any]) -> Any:
        await pending
        value = call()
        return await value if isawaitable(value) else value

    def _memory(self, connection: WebSocketConnection, principal: Principal | None) -> _Memory:
        """Return the cached decisions for the rights that the connection has now. Other rights start an empty cache."""
        stamp = None if principal is None else (principal.id, frozenset(principal.permissions))
        memory = self._memories.get(connection)
        if memory is None or memory.stamp != stamp:
            memory = self._memories[connection] = _Memory(stamp)
        return memory


def _read(answer: object, memory: _Memory, key: tuple[str, str]) -> bool:
    if isinstance(answer, bool):
        return answer
    if not isinstance(answer, Decision) or not isinstance(answer.allow, bool):
        raise TypeError(f"expected True, False or a Decision of the policy, got {type(answer).__name__}")
    if answer.cache:
        if len(memory.decisions) >= REMEMBERED:
            del memory.decisions[next(iter(memory.decisions))]
        memory.decisions[key] = answer.allow
    return answer.allow


def _enforce(allowed: bool, route: Route, principal: Principal | None) -> None:
    if not allowed:
        kind = Unauthorized if principal is None else Forbidden
        raise kind(f"{route.path}: the policy refuses")


def _broken(route: Route, fault: Exception) -> Forbidden:
    logger.error("the policy failed for %s; the message was refused", route.path, exc_info=fault)
    return Forbidden(f"{route.path}: the policy failed")
