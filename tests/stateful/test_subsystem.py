"""Random lives of many clients, and what must be true whatever they do."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.ws.frames import Opcode
from mycelia.transports.memory.socket import HandshakeRefused
from tests.stateful.stage import LIMITS, MAX_BYTES, PATHS, Client, Stage
from tests.support.links import link_of

NEVER_RUN = {"OVERLOADED", "NOT_FOUND", "INVALID_MESSAGE", "INVALID_JSON", "UNSUPPORTED_DATA"}

# Frames that no client may send, and the code of the Close that answers each.
BROKEN: dict[str, tuple[int, bytes, bool, int, int]] = {
    "reserved bits": (Opcode.TEXT, b"{}", True, 4, 1002),
    "an unknown opcode": (5, b"", True, 0, 1002),
    "a continuation of nothing": (Opcode.CONTINUATION, b"x", True, 0, 1002),
    "a long ping": (Opcode.PING, b"x" * 126, True, 0, 1002),
    "a ping in pieces": (Opcode.PING, b"x", False, 0, 1002),
    "text that is none": (Opcode.TEXT, b"\xff\xfe", True, 0, 1007),
    "too much": (Opcode.BINARY, b"x" * (MAX_BYTES + 1), True, 0, 1009),
    "a Close that is none": (Opcode.CLOSE, b"\x03", True, 0, 1002),
}


class Lives(RuleBasedStateMachine):
    """Clients come, ask, misbehave and go; the server must keep every promise to the rest."""

    clients = Bundle("clients")

    @initialize(target=clients)
    def begin(self) -> Any:
        self.stage = Stage()
        self.count = 0
        return multiple(*[self.connect(None) for _ in range(3)])

    # -- coming and going ----------------------------------------------------------------------------

    @rule(target=clients, verdict=st.sampled_from([None, None, None, "refuse", "raise", "hang", "cancel"]))
    def connect(self, verdict: str | None) -> Any:
        self.count += 1
        name = f"client-{self.count}"
        self.stage.verdict = verdict
        try:
            socket, _ = self.stage.do(self.stage.engine.open("ws://memory/ws", {"x-name": name}))
        except HandshakeRefused as refused:
            assert refused.status == 503 and self.living() >= LIMITS["max_connections"]
            self.stage.verdict = None
            return multiple()
        client = Client(self.count, socket)
        self.stage.clients.append(client)
        self.stage.settle()
        if verdict in ("refuse", "raise", "cancel"):
            assert client.close_code == (4401 if verdict == "refuse" else 1011)
        return client

    def living(self) -> int:
        facet = self.stage.sockets.websocket
        return sum(facet.get_connection(client.name) is not None for client in self.stage.clients)

    @rule(client=consumes(clients), code=st.sampled_from([1000, 1001, 3000, 4999]))
    def close(self, client: Client, code: int) -> None:
        self.send(client, Opcode.CLOSE, close_payload(code, "bye"))
        client.gone = True
        self.stage.settle()

    @rule(client=consumes(clients))
    def hang_up(self, client: Client) -> None:
        client.socket.hang_up()
        client.gone = True
        self.stage.settle()

    @rule(client=clients, settle=st.booleans())
    def closed_by_the_server(self, client: Client, settle: bool) -> None:
        facet = self.stage.sockets.websocket
        if facet.get_connection(client.name) is not None:
            facet.close_connection(client.name, 4000, "enough")
            client.gone = True
        if settle:
            self.stage.settle()

    @rule()
    def restart(self) -> None:
        facet = self.stage.sockets.websocket
        self.stage.do(facet.stop())
        self.stage.settle()
        assert facet.get_connection_count() == 0
        for client in self.stage.clients:
            client.gone = True
        self.stage.do(facet.start())

    # -- what clients send ---------------------------------------------------------------------------

    def send(self, client: Client, opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> bool:
        """Whether it was sent; else the server does not read, or the connection has ended."""
        return self.stage.attempt(client.socket.send(opcode, payload, fin=fin, rsv=rsv)) is None

    def request(self, client: Client, path: str, size: int = 0, **metadata: Any) -> bytes:
        self.count += 1
        key = f"{self.count}"
        if metadata.get("noReply") is not True and not client.gone:
            client.sent.append(key)
            if path in ("beside", "missing"):
                client.unordered.add(key)
        envelope: dict[str, Any] = {"path": f"app://{path}", "correlationId": key, "body": "x" * size}
        if metadata:
            envelope["metadata"] = metadata
        return json.dumps(envelope).encode()

    def give_up(self, client: Client, sent: bool) -> None:
        """A request that could not be sent is not owed an answer; its client leaves."""
        if not sent:
            client.gone = True
            client.socket.hang_up()

    @rule(
        client=clients,
        paths=st.lists(st.sampled_from((*PATHS, "missing")), min_size=1, max_size=12),
        size=st.sampled_from([0, 0, 10, 1500]),
        quiet=st.booleans(),
    )
    def ask(self, client: Client, paths: list[str], size: int, quiet: bool) -> None:
        if client.fragment is None:
            for path in paths:
                metadata = {"noReply": True} if quiet and len(paths) % 2 else {}
                self.give_up(client, self.send(client, Opcode.TEXT, self.request(client, path, size, **metadata)))
                if client.gone:
                    break
        self.stage.settle()

    @rule(client=clients, timeout=st.sampled_from([1, 50, 3000]))
    def ask_with_a_deadline(self, client: Client, timeout: int) -> None:
        if client.fragment is None:
            payload = self.request(client, "hang", timeoutMs=timeout)
            self.give_up(client, self.send(client, Opcode.TEXT, payload))
        self.stage.settle()

    @rule(
        client=clients, path=st.sampled_from(PATHS), cuts=st.lists(st.integers(0, 60), max_size=4), pings=st.booleans()
    )
    def ask_in_fragments(self, client: Client, path: str, cuts: list[int], pings: bool) -> None:
        if client.fragment is None:
            payload = self.request(client, path)
            edges = [0, *sorted(cuts), len(payload)]
            for number, (start, end) in enumerate(pairwise(edges)):
                opcode = Opcode.CONTINUATION if number else Opcode.TEXT
                sent = self.send(client, opcode, payload[start:end], fin=end == edges[-1] and number == len(edges) - 2)
                if sent and pings:
                    self.send(client, Opcode.PING, b"%d" % number)
                self.give_up(client, sent)
                if client.gone:
                    break
        self.stage.settle()

    @rule(client=clients)
    def begin_and_stop(self, client: Client) -> None:
        if client.fragment is None and self.send(client, Opcode.TEXT, b'{"pa', fin=False):
            client.fragment = Opcode.TEXT
        self.stage.settle()

    @rule(client=clients, opcode=st.sampled_from([Opcode.PING, Opcode.PONG]), payload=st.binary(max_size=125))
    def control(self, client: Client, opcode: int, payload: bytes) -> None:
        self.send(client, opcode, payload)
        self.stage.settle()

    @rule(
        client=clients,
        payload=st.one_of(
            st.binary(max_size=64),
            st.text(max_size=32).map(str.encode),
            st.sampled_from([b"[" * 100, b'{"success":true}', b'{"event":"x"}', b'{"path":1}', b"{}", b"null"]),
        ),
        binary=st.booleans(),
    )
    def nonsense(self, client: Client, payload: bytes, binary: bool) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError:
            binary = True
        if client.fragment is None:
            self.send(client, Opcode.BINARY if binary else Opcode.TEXT, payload)
        self.stage.settle()

    @rule(client=consumes(clients), name=st.sampled_from(sorted(BROKEN)))
    def break_the_protocol(self, client: Client, name: str) -> None:
        opcode, payload, fin, rsv, code = BROKEN[name]
        whole = client.whole and client.fragment is None and client.name not in self.stage.hanging
        open_before = self.stage.sockets.websocket.get_connection(client.name)
        self.give_up(client, self.send(client, opcode, payload, fin, rsv))
        self.stage.settle()
        if whole and not client.gone and open_before is not None and not link_of(open_before).paused:
            assert client.close_code == code
        client.gone = True

    # -- what clients read, what the server sends ----------------------------------------------------

    @rule(client=clients)
    def stop_reading(self, client: Client) -> None:
        client.reading = False

    @rule(client=clients)
    def read_again(self, client: Client) -> None:
        client.reading = True
        self.stage.settle()

    @rule(
        size=st.sampled_from([10, 2000, 8000]), overflow=st.sampled_from(["disconnect", "drop_oldest", "drop_newest"])
    )
    def broadcast(self, size: int, overflow: str) -> None:
        facet = self.stage.sockets.websocket
        before = facet.get_connection_count()
        event = {"event": "news", "data": "x" * size}
        result = self.stage.do(facet.broadcast(event, overflow=overflow))
        if overflow == "disconnect":
            assert result.written + result.queued + result.dropped == before
        else:
            assert result.written + result.queued + result.dropped >= before
        self.stage.settle()

    # -- time and handlers ---------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 15.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @rule()
    def handlers_go_on(self) -> None:
        self.stage.release()
        self.stage.settle()

    # -- what must always hold -----------------------------------------------------------------------

    @invariant()
    def nothing_is_answered_twice_or_unasked(self) -> None:
        for client in self.living_clients():
            ours = [key for key, _ in client.replies if key is not None]
            assert len(ours) == len(set(ours)) and set(ours) <= set(client.sent)

    @invariant()
    def order_is_kept(self) -> None:
        for client in self.living_clients():
            place = {key: number for number, key in enumerate(client.sent)}
            came = [
                place[key]
                for key, outcome in client.replies
                if key in place and key not in client.unordered and outcome not in NEVER_RUN
            ]
            assert came == sorted(came)
            ran = [place[key] for name, key in self.stage.ran if name == client.name and key in place]
            ordered = [number for number in ran if client.sent[number] not in client.unordered]
            assert ordered == sorted(ordered) and len(set(ran)) == len(ran)

    @invariant()
    def connect_comes_first_and_disconnect_once(self) -> None:
        for events in self.living_stage().told.values():
            assert events in (
                ["connect"],
                ["connect", "disconnect"],
                ["connect", "error"],
                ["connect", "error", "disconnect"],
            )

    @invariant()
    def nothing_went_unnoticed(self) -> None:
        assert self.living_stage().unhandled == []

    def living_stage(self) -> Stage:
        return self.stage

    def living_clients(self) -> list[Client]:
        return self.stage.clients

    def teardown(self) -> None:
        stage = getattr(self, "stage", None)
        if stage is None:
            return
        for client in stage.clients:
            client.reading = True
        for _ in range(20):  # those that wait behind a handler that hangs come one after another
            stage.release()
            stage.settle()
            stage.pass_time(LIMITS["pause_timeout"])
        waiting = {client.name: client.sent for client in stage.clients if client.whole and client.fragment is None}
        answered = {client.name: {key for key, _ in client.replies} for client in stage.clients}
        stage.finish()
        for name, keys in waiting.items():
            assert [key for key in keys if key not in answered[name]] == [], f"{name} was not answered"
        for name, events in stage.told.items():
            assert events[-1] == "disconnect", f"{name} was told of {events}"


QUICK = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """Lets an example find what it left behind: quickly, and without what only the capture of logs holds on to."""
    gc.collect()
    gc.freeze()  # what is in memory already need not be walked each time; tests/conftest.py thaws it
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_lives() -> None:
    run_state_machine_as_test(Lives, settings=QUICK)


def test_the_same_steps_lead_to_the_same_end() -> None:
    assert _script() == _script()


def _script() -> list[Any]:
    lives = Lives()
    lives.begin()
    first, second, _ = lives.stage.clients
    lives.ask(first, ["value", "beside", "hang", "raise"], 10, False)
    lives.ask(second, ["cancel", "alone", "error", "value"], 0, False)
    lives.stop_reading(second)
    lives.broadcast(2000, "drop_oldest")
    lives.wait(3.0)
    lives.handlers_go_on()
    lives.hang_up(first)
    seen = [(client.replies, client.close_code) for client in (first, second)]
    ran, told = lives.stage.ran.copy(), dict(lives.stage.told)
    lives.teardown()
    return [seen, ran, told]


def test_the_loop_of_the_stage_knows_what_is_left() -> None:
    stage = Stage()
    handle = stage.loop.call_later(5.0, lambda: None)
    assert handle in stage.loop.timers
    stage.pass_time(6.0)
    assert handle not in stage.loop.timers
    assert isinstance(stage.attempt(asyncio.Event().wait()), TimeoutError)
    stage.finish()
