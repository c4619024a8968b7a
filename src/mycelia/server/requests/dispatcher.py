"""Request → Message → handler → reply: the only place of this room where HTTP and the kernel are both known.

Judged in this order, so that nobody is asked for more than is needed: Host, path, room, Origin, credential, body, the
door of the route, the target. What is not found and what nobody registered look the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from mycelia.asgi.scope import Event, Receive, Scope, Send, checked_path, parting, read_scope
from mycelia.errors import Forbidden, InvalidMessage, NoRoute, RequestTimeout
from mycelia.kernel.messages.context import CURRENT, Options
from mycelia.kernel.routing.path import fill
from mycelia.kernel.routing.router import NO_PARAMS, Route
from mycelia.net.address import Proxies, address_key
from mycelia.net.client import ClientInfo
from mycelia.observability.error_log import RECORDING
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault, ProtocolFault
from mycelia.protocol.ws.handshake import BadHandshake, Handshake, check_query, host_allowed
from mycelia.server.content.static import FileReply
from mycelia.server.requests.body import ClientLeft, SlowBody, merge, query_of, read_body
from mycelia.server.requests.disconnect_watch import Attendance
from mycelia.server.requests.http_request import HttpMessage, HttpRequest, trace_of
from mycelia.server.requests.reply import Reply, fault_reply, response_reply
from mycelia.server.requests.router import HttpRoute, NoMethod
from mycelia.serving.error_responses import apology, fault_of, outcome_response, plain_fault

if TYPE_CHECKING:
    from mycelia.server.core import Runtime

__all__ = ["Dispatch"]

_READING = ("GET", "HEAD", "OPTIONS")  # what a file can be asked with
_CODES = {403: Code.FORBIDDEN, 421: Code.FORBIDDEN}


class Dispatch:
    """Answers the HTTP requests of one subsystem."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._limits = limits = runtime.config.limits
        self._proxies = Proxies(limits.trusted_proxies, limits.proxy_headers)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; who leaves before is not answered."""
        recording = RECORDING.set(self._runtime.errors)
        send = _timely(send, self._limits.send_timeout)
        try:
            request = self._proxies.unveil(read_scope(scope))
            trace_id = trace_of(request)
            await self._serve(scope, request, trace_id, receive, send)
        except BadHandshake as bad:
            await _told(bad, "-").send(send, head_only=scope["method"] == "HEAD")
        except ClientLeft:
            pass
        finally:
            RECORDING.reset(recording)

    async def _serve(self, scope: Scope, request: Handshake, trace_id: str, receive: Receive, send: Send) -> None:
        runtime, head_only = self._runtime, request.method == "HEAD"
        extra = (("x-trace-id", trace_id), *runtime.origins.headers(request))
        try:
            path = self._admitted(scope, request)
            kind = runtime.probes.paths.get(path) if request.method in ("GET", "HEAD") else None
            if kind is not None:
                async with Attendance(receive) as attendance:
                    reply: Reply | FileReply = await runtime.probes.reply(kind, trace_id)
                if attendance.left:
                    return
            else:
                with runtime.room(address_key(request.remote[0] if request.remote else None)):
                    reply = await self._answer(request, path, trace_id, receive)
                    if isinstance(reply, FileReply):
                        async with Attendance(receive):
                            await reply.send(send, head_only=head_only, extra=extra)
                    else:
                        extra = (*extra, *parting(scope, reply.status))
                        await reply.send(send, head_only=head_only, extra=extra)
                    return
        except ClientLeft:
            raise
        except Exception as error:
            reply = _told(error, trace_id)
        await reply.send(send, head_only=head_only, extra=extra)

    # -- before the handler ----------------------------------------------------------------------------

    def _admitted(self, scope: Scope, request: Handshake) -> str:
        """The path in its one spelling, asked of a host that is served here."""
        hosts = self._runtime.config.server.allowed_hosts
        if hosts and not host_allowed(request, hosts):
            raise BadHandshake(421, "this Host is not served here; see server.allowedHosts")
        return checked_path(scope)

    async def _answer(self, request: Handshake, path: str, trace_id: str, receive: Receive) -> Reply | FileReply:
        """Whatever becomes of a request whose client stays. Raises ClientLeft."""
        try:
            return await self._route(request, path, trace_id, receive)
        except ClientLeft:
            raise
        except Exception as error:
            return _told(error, trace_id)
        except asyncio.CancelledError:
            if not self._runtime.closing:
                raise
            task = asyncio.current_task()
            while task is not None and task.uncancel():
                pass
            return fault_reply(plain_fault(Code.CANCELLED, retryable=True), trace_id)

    async def _route(self, request: Handshake, path: str, trace_id: str, receive: Receive) -> Reply | FileReply:
        runtime = self._runtime
        if request.method == "OPTIONS" and not runtime.router.has("OPTIONS", path):
            known = runtime.router.methods(path) or (_READING if runtime.static.holds(path) else ())
            if known:
                return runtime.origins.options(request, known)
        found = runtime.router.match(request.method, path)
        if found is not None:
            return await self._message(request, found, trace_id, receive)
        if not runtime.static.holds(path):
            raise NoRoute(path)
        if request.method not in _READING:
            raise NoMethod(path, _READING)
        file = await runtime.static.find(path, request)
        if file is None:
            raise NoRoute(path)
        return file

    async def _message(
        self, request: Handshake, found: tuple[HttpRoute, Mapping[str, str]], trace_id: str, receive: Receive
    ) -> Reply:
        runtime, server = self._runtime, self._runtime.config.server
        http, params = found
        if runtime.origins.forbids(request):
            raise Forbidden("a page of another origin asks for a change; see server.allowedOrigins")
        served_by = "asgi" if runtime.subsystem.hosted else server.type
        asking = HttpRequest(request, ClientInfo.of(request, served_by, None, server.keep_headers), trace_id)
        identity = await runtime.authentication.identify(request, asking.client.network)
        check_query(request, self._limits.query_parameters)
        body = merge(await read_body(request, receive, self._limits), query_of(request), params)
        return await self._run(http, params, body, asking.options(identity), receive)

    # -- the handler -----------------------------------------------------------------------------------

    async def _run(
        self, http: HttpRoute, params: Mapping[str, str], body: Any, options: Options, receive: Receive
    ) -> Reply:
        asking: HttpRequest = options.connection
        target: Route | None = None
        try:
            path, _ = fill(http.target, body if isinstance(body, dict) else dict(params))
            message = HttpMessage(path, body, options)
            http.door.call(message, NO_PARAMS, options)
            target, values = self._runtime.system.resolve(path)
            value = await self._call(http, target, message, values, receive)
            response = outcome_response(value, None, asking.trace_id)
            if response.error is not None:
                target.failed += 1
                return fault_reply(response.error, asking.trace_id, None, http.statuses)
            reply = response_reply(response, http.status)
            target.handled += 1
            return reply
        except ClientLeft:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            fault = plain_fault(Code.CANCELLED)  # of the handler's own making
        except InvalidMessage as error:
            what = f"the answer of {http.target} cannot be encoded"
            fault = apology(what, asking.id, error, trace_id=asking.trace_id, path=http.target)
        except Exception as error:
            fault = fault_of(error, target, asking.id, asking.trace_id)
        return fault_reply(fault, asking.trace_id, None, http.statuses)

    async def _call(
        self, http: HttpRoute, target: Route, message: HttpMessage, params: Mapping[str, str], receive: Receive
    ) -> Any:
        """What the handler returns. Raises RequestTimeout in time, and ClientLeft when nobody waits any more."""
        token = CURRENT.set((target, message, message.options))
        try:
            value = target.call(message, params, message.options)
            if not isawaitable(value):
                return value
            seconds = min((each for each in (http.door.timeout, self._limits.handler_timeout) if each), default=None)
            attendance, deadline = Attendance(receive), asyncio.timeout(seconds)
            try:
                async with attendance, deadline:
                    return await (asyncio.create_task(_finish(value)) if target.isolated else value)
            except TimeoutError:
                if seconds is not None and deadline.expired():
                    raise RequestTimeout(target.path, seconds) from None
                raise
            except Exception:
                if not attendance.left:
                    raise
            raise ClientLeft
        finally:
            CURRENT.reset(token)


async def _finish(value: Any) -> Any:
    return await value


def _timely(send: Send, seconds: float) -> Send:
    """As `send`, which raises TimeoutError (an OSError, as for a client that left) when the client does not read."""

    async def timely(event: Event) -> None:
        async with asyncio.timeout(seconds):
            await send(event)

    return timely


def _told(error: Exception, trace_id: str) -> Reply:
    """The reply to what was wrong before a handler ran."""
    match error:
        case SlowBody():
            return fault_reply(plain_fault(Code.TIMEOUT, retryable=True), trace_id, 408)
        case BadHandshake():
            status = error.reply.status
            code = _CODES.get(status, Code.INVALID_MESSAGE)
            return fault_reply(Fault(code, error.reply.body.decode().strip()), trace_id, status)
        case NoMethod():
            fault = Fault(Code.METHOD_NOT_ALLOWED, "not with this method", {"allowed": list(error.allowed)})
            reply = fault_reply(fault, trace_id)
            return Reply(reply.status, reply.body, (*reply.headers, ("allow", ", ".join(error.allowed))))
        case ProtocolFault():
            return fault_reply(Fault(error.code, error.message, error.details), trace_id)
        case _:
            return fault_reply(fault_of(error, None, "-", trace_id), trace_id)
