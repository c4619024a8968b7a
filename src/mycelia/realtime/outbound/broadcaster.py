"""Broadcasts: one message to many connections, encoded once for each encoder in use.

A recipient costs one write, no task and no copy. A recipient that cannot take the packet now has it queued or dropped,
or is closed, by the broadcast's policy. The sender learns how many recipients met each outcome.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from mycelia.errors import InvalidMessage
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.encoder import Encoder
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.connection.send_queue import Overflow, SendResult

__all__ = ["BroadcastResult", "Broadcaster", "Filter"]

logger = logging.getLogger("mycelia.websocket")

Filter = Callable[[WebSocketConnection], object] | Mapping[str, Any]
"""Select recipients: a predicate, or a mapping whose every entry equals an entry of the connection's metadata."""


class BroadcastResult(msgspec.Struct, frozen=True, gc=False):
    """The number of recipients for which a broadcast was written, queued or dropped.

    A slow recipient that was closed counts as dropped.
    """

    written: int = 0
    queued: int = 0
    dropped: int = 0


class _Broadcast:
    """A broadcast that has not been delivered. `recipients` None means all links that are open at delivery."""

    __slots__ = (
        "data", "done", "dropped", "key", "overflow", "packets", "payloads", "queued", "recipients", "written",
    )  # fmt: skip

    def __init__(self, data: Any, recipients: list[Link] | None, overflow: Overflow, key: str | None) -> None:
        self.data, self.recipients, self.overflow, self.key = data, recipients, overflow, key
        self.payloads: dict[str, bytes] = {}  # by the name of the codec
        self.packets: dict[Encoder, bytes] = {}
        self.written = self.queued = self.dropped = 0
        self.done: asyncio.Future[BroadcastResult] = asyncio.get_running_loop().create_future()

    def payload(self, encoder: Encoder) -> bytes:
        """Return the encoded message, which all encoders of one codec share."""
        payload = self.payloads.get(encoder.codec.name)
        if payload is None:
            payload = self.payloads[encoder.codec.name] = encoder.codec.encode_value(self.data)
        return payload

    def packet(self, encoder: Encoder) -> bytes:
        """Return the packet for an encoder. It is made when the first recipient needs it."""
        packet = self.packets.get(encoder)
        if packet is None:
            packet = self.packets[encoder] = encoder.wrap(self.payload(encoder))
        return packet


class Broadcaster:
    """Writes to the open connections of one subsystem.

    Broadcasts to all connections that are sent in one iteration of the event loop leave together: each recipient gets
    one write. This helps most when handlers of several requests broadcast at once. A single broadcast waits for the
    end of the iteration and costs nothing more.
    """

    def __init__(self, registry: ConnectionRegistry) -> None:
        self._registry = registry
        self._waiting: list[_Broadcast] = []

    async def broadcast(
        self,
        data: Any,
        chosen: Filter | None = None,
        overflow: Overflow = Overflow.DISCONNECT,
        key: str | None = None,
    ) -> BroadcastResult:
        """Send `data` to all open connections that `chosen` selects. Broadcasts leave in the order of the calls.

        Args:
            data: A value that every codec in use can encode.
            chosen: The filter; None for all connections.
            overflow: What happens at a recipient whose send queue is full.
            key: With LATEST, only the newest packet of each key is kept.

        Returns:
            The number of recipients by outcome.

        Raises:
            InvalidMessage: The data cannot be encoded for a codec in use, or `chosen` is no filter. Nothing was sent.
            MessageTooLarge: The encoded data exceeds `limits.outbound_bytes`. Nothing was sent.
        """
        recipients = None if chosen is None else self.select(chosen)
        broadcast = _Broadcast(data, recipients, overflow, key)
        for encoder in self._encoders(recipients):
            encoder.check_size(broadcast.payload(encoder))
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._waiting.append(broadcast)
        return await broadcast.done

    def select(self, chosen: Filter) -> list[Link]:
        """Return the open links that a filter selects.

        Raises:
            InvalidMessage: `chosen` is neither a plain function nor a mapping.
        """
        if callable(chosen):
            if inspect.iscoroutinefunction(chosen):
                raise InvalidMessage("filter: expected a plain function, got an async one, which is always true")
            return self._select_by(chosen)
        if not isinstance(chosen, Mapping):
            raise InvalidMessage(f"filter: expected an object or a function, got {type(chosen).__name__}")
        wanted = list(chosen.items())
        return [link for link in self._registry.open_links() if _matches(link.session, wanted)]

    def _encoders(self, recipients: list[Link] | None) -> Iterable[Encoder]:
        """Return the encoders that a broadcast needs now."""
        if recipients is None:
            return self._registry.encoders()
        return {link.encoder for link in recipients}

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        for to_all, run in groupby(waiting, lambda broadcast: broadcast.recipients is None):
            if to_all:
                self._send(list(run), self._registry.open_by_encoder())
            else:
                for broadcast in run:
                    self._send([broadcast], _by_encoder(broadcast.recipients or []))

    def _send(self, run: list[_Broadcast], recipients: list[tuple[Encoder, list[Link]]]) -> None:
        written = 0
        for encoder, links in recipients:
            try:
                packets = [broadcast.packet(encoder) for broadcast in run]
            except Exception:
                logger.exception("a broadcast could not be encoded for %d connections", len(links))
                for broadcast in run:
                    broadcast.dropped += len(links)
                continue
            if encoder.framed and len(packets) > 1:
                packets = [b"".join(packets)]
            written += self._send_to(links, packets, run)
        for broadcast in run:
            if not broadcast.done.done():
                result = BroadcastResult(broadcast.written + written, broadcast.queued, broadcast.dropped)
                broadcast.done.set_result(result)

    def _send_to(self, links: list[Link], packets: list[bytes], run: list[_Broadcast]) -> int:
        """Send to the links of one encoder; return how many packets were written directly."""
        written = 0
        for link in links:
            try:
                if link.can_write_directly:
                    for packet in packets:
                        link.write(packet)
                    written += 1
                else:
                    self._push(run, link)
            except Exception:
                logger.exception("a broadcast could not be written to connection %s", link.id)
                for broadcast in run:
                    broadcast.dropped += 1
        return written

    def _push(self, run: list[_Broadcast], link: Link) -> None:
        for broadcast in run:
            before = link.dropped
            result = link.push(broadcast.packet(link.encoder), broadcast.overflow, broadcast.key)
            broadcast.dropped += link.dropped - before  # this packet, or older packets that it displaced
            broadcast.queued += result is SendResult.QUEUED
            broadcast.written += result is None

    def _select_by(self, predicate: Callable[[WebSocketConnection], object]) -> list[Link]:
        """Return the links for which the predicate is true. Log and skip those for which it raises."""
        chosen: list[Link] = []
        failed: list[Exception] = []
        for link in self._registry.open_links():
            try:
                if predicate(link.session):
                    chosen.append(link)
            except Exception as error:
                failed.append(error)
        if failed:
            logger.warning("a filter raised for %d connections, which are left out", len(failed), exc_info=failed[0])
        return chosen


def _by_encoder(links: list[Link]) -> list[tuple[Encoder, list[Link]]]:
    grouped: dict[Encoder, list[Link]] = {}
    for link in links:
        grouped.setdefault(link.encoder, []).append(link)
    return list(grouped.items())


_ABSENT = object()


def _matches(connection: WebSocketConnection, wanted: list[tuple[str, Any]]) -> bool:
    metadata = connection.metadata if connection.has_metadata else {}
    for name, value in wanted:
        held = metadata.get(name, _ABSENT)
        if held is _ABSENT or held != value or isinstance(held, bool) is not isinstance(value, bool):
            return False
    return True
