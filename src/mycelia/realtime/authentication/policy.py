"""The application's own say in who may call what: `routing.policy`.

It stands as a guard right inside the permission check of every route that clients reach, so whatever way a request
takes it is asked; a system without a policy has no guard. It fails closed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mycelia.errors import Forbidden, Unauthorized
from mycelia.kernel.routing.pipeline import check_rights

if TYPE_CHECKING:
    from mycelia.kernel.messages.context import Options, Principal
    from mycelia.kernel.messages.message import Message
    from mycelia.kernel.routing.router import Call, Route
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["REMEMBERED", "Decision", "Policy", "PolicyCallback"]

logger = logging.getLogger("mycelia.websocket")

REMEMBERED = 128  # decisions per connection; the oldest goes first


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a message may pass. With `cache` it holds for every message of this connection to this very path.

    It is forgotten when the connection's principal changes or is renewed. Do not let what depends on a body be kept.
    """

    allow: bool
    cache: bool = False


Verdict = bool | Decision
PolicyCallback = Callable[["Message", "Principal | None", "Route"], Verdict | Awaitable[Verdict]]
_Stamp = tuple[str, frozenset[str]] | None


class _Memory:
    __slots__ = ("decisions", "stamp")

    def __init__(self, stamp: _Stamp) -> None:
        self.stamp = stamp
        self.decisions: dict[tuple[str, str], bool] = {}


class Policy:
    """Asks `policy(message, principal, route)`, which may be async, before a client's message reaches a handler."""

    def __init__(self, callback: PolicyCallback, own: str, default_path: str) -> None:
        self._callback = callback
        self._own, self._default_path = own, default_path
        self._memories: WeakKeyDictionary[WebSocketConnection, _Memory] = WeakKeyDictionary()

    def guard(self, route: Route, call: Call) -> Call:
        """The guard of one route; `call` itself for those of the subsystem's own that no client calls."""
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
        """What was decided for this connection is to be decided anew."""
        self._memories.pop(connection, None)

    def _ask(self, route: Route, message: Message, options: Options) -> Awaitable[None] | None:
        """Returns None when the message may pass, or what to await for that; raises when it may not."""
        connection = options.connection
        try:
            principal = options.principal
            memory = self._memory(connection, principal)
            known = memory.decisions.get((route.path, message.path))
            if known is None:
                answer = self._callback(message, principal, route)
                if isawaitable(answer):
                    return self._judge_later(answer, memory, message, route, options)
                known = _read(answer, memory, (route.path, message.path))
        except (Forbidden, Unauthorized):
            raise
        except Exception as fault:
            raise _broken(route, fault) from fault
        _enforce(known, route, principal)
        return None

    async def _judge_later(
        self, answer: Awaitable[Verdict], memory: _Memory, message: Message, route: Route, options: Options
    ) -> None:
        """As `_ask`. Where the client's rights changed while the policy was thinking, everything is asked again."""
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
        """What is remembered for the rights that the connection has now; a decision made under others is void."""
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
    logger.error("the policy failed for %s, so the message was refused", route.path, exc_info=fault)
    return Forbidden(f"{route.path}: the policy failed")
