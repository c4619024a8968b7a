"""The scenarios of this folder over a bad line, and what each fault of a line does to a connection.

A line that is slow, or cuts what it carries into single bytes, must change nothing at all: the scenarios run as they
are. One that stalls, swallows, half-closes or resets ends connections; then nothing may be answered twice, every
`connect` has its one `disconnect`, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from types import ModuleType
from typing import Any

import pytest

from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.testing import FaultProxy
from tests.integration import test_broadcast, test_failing_closed, test_hostile, test_lifecycle, test_requests
from tests.integration.harness import ENGINES, FAULT, App, Client, each_engine, handshake, serving, until, within
from tests.support.names import shown

Fault = Callable[[FaultProxy], object]

TRANSPARENT: dict[str, Fault] = {
    "byte by byte": lambda line: line.split(None, 1),
    "slow": lambda line: line.delay(None, 0.002),
}

# Scenarios whose subject is not what passes over the line: the port itself, memory, time, a flood (byte by byte it
# takes minutes), the network's own buffers, which a proxy doubles, or what one read or one write does.
LOCAL = {
    "test_a_blocked_loop_does_not_kill_clients",
    "test_a_client_that_never_reads_broadcasts_is_closed_as_a_slow_consumer",
    "test_a_client_that_never_reads_its_replies_is_not_held_for_ever",
    "test_a_close_followed_by_more_frames_is_echoed_and_nothing_else_happens",
    "test_a_failed_bind_of_one_endpoint_closes_the_others",
    "test_a_fragment_flood_ends_at_the_size_of_a_message",
    "test_a_hundred_connections_that_sent_a_mebibyte_each_give_the_memory_back",
    "test_a_port_in_use_lets_the_oserror_through_and_leaves_a_clean_state",
    "test_a_reply_is_never_dropped_for_a_flood_of_broadcasts",
    "test_a_slow_peer_is_closed_by_default_and_the_others_are_not_harmed",
    "test_a_slow_peer_misses_what_the_policy_says_and_every_drop_is_counted",
    "test_an_id_that_is_none_is_refused_with_the_handshake",
    "test_an_upgrade_with_a_body_is_refused",
    "test_dispose_closes_the_port_and_build_opens_it_again",
    "test_empty_fragments_are_read_through_and_the_message_still_arrives",
    "test_five_thousand_requests_in_one_write_are_all_answered",
    "test_half_open_connections_are_capped_per_address",
    "test_start_stop_start",
    "test_unfinished_messages_share_a_budget_and_the_largest_goes_first",
    "test_who_answers_pings_stays_and_is_pinged_once_per_interval",
}


def scenarios(*modules: ModuleType) -> Iterator[Any]:
    """Every scenario that takes nothing but an engine and values of its own, with those values."""
    for module in modules:
        for name, function in vars(module).items():
            if not name.startswith("test_") or not inspect.iscoroutinefunction(function) or name in LOCAL:
                continue
            wanted = set(inspect.signature(function).parameters) - {"engine"}
            choices = [
                list(_values(mark)) for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"
            ]
            for chosen in product(*[one for one in choices if one]):
                given: dict[str, Any] = {key: value for each in chosen for key, value in each.items()}
                if set(given) == wanted:
                    label = "-".join(shown(value)[:24] for value in given.values())
                    yield pytest.param(function, given, id=f"{name}[{label}]" if label else name)
                    break  # one choice of values: the others differ in what is sent, not in how


def _values(mark: pytest.Mark) -> Iterator[dict[str, Any]]:
    names, values = mark.args[:2]
    keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    if keys == ["engine"]:
        return
    for value in values:
        each = getattr(value, "values", value) if hasattr(value, "marks") else value
        yield dict(zip(keys, each if len(keys) > 1 or hasattr(value, "marks") else (each,), strict=True))


SCENARIOS = list(scenarios(test_requests, test_lifecycle, test_broadcast, test_hostile, test_failing_closed))


@pytest.mark.parametrize(
    ("engine", "fault"), [(ENGINES[0], "byte by byte"), (ENGINES[1], "byte by byte"), (ENGINES[0], "slow")]
)
@pytest.mark.parametrize(("scenario", "given"), SCENARIOS)
async def test_a_bad_line_changes_nothing(
    engine: str, fault: str, scenario: Callable[..., Any], given: dict[str, Any]
) -> None:
    token = FAULT.set(TRANSPARENT[fault])
    try:
        await scenario(engine=engine, **given)
    finally:
        FAULT.reset(token)


def test_the_scenarios_that_stay_away_exist() -> None:
    modules = (test_requests, test_lifecycle, test_broadcast, test_hostile, test_failing_closed)
    assert {name for module in modules for name in vars(module)} >= LOCAL
    assert len(SCENARIOS) > 60


# -- faults that end connections -------------------------------------------------------------------------------


def cut(line: FaultProxy) -> None:
    line.reset()


def hang_up(line: FaultProxy) -> None:
    line.hang_up()


def half_close_up(line: FaultProxy) -> None:
    line.half_close("up")


ENDINGS: list[Fault] = [cut, hang_up, half_close_up]
each_ending = pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)


class Ledger:
    """Counts what handlers did, by the number in their request."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.ran: list[Any] = []
        self.cancelled: list[Any] = []
        self.gate = asyncio.Event()

    async def count(self, message: Any, params: Any, options: Any) -> Any:
        self.ran.append(message.body)
        return message.body

    async def wait(self, message: Any, params: Any, options: Any) -> Any:
        self.app.note("waits")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message.body)
            raise
        return message.body

    @classmethod
    def of(cls, app: App) -> Ledger:
        ledger = cls(app)
        app.record("connect", "disconnect", "error")
        app.routes.register_route("app://count", ledger.count, expose=True)
        app.routes.register_route("app://wait", ledger.wait, expose=True)
        return ledger


class FaultyApp:
    """A server with a proxy that the faults pass through, and a client that comes straight."""

    def __init__(self, app: App, line: FaultProxy) -> None:
        self.app, self.line = app, line

    def client(self) -> Any:
        """Through the bad line."""
        return _over(self.line)

    async def still_serves(self, honest: Client) -> None:
        assert (await honest.request("app://echo", "unharmed"))["data"] == "unharmed"

    async def ended(self, honest: int = 1) -> None:
        """Everything of the connections over the line is gone, and each was told of exactly once."""
        facet = self.app.facet
        await until(lambda: facet.get_connection_count() == honest)
        gone = self.app.events.count("connect") - honest
        bodies = await self.app.heard("disconnect", gone)
        ids = [body["connectionId"] for body in bodies]
        assert len(bodies) == len(set(ids)) == gone
        await until(lambda: all(facet.get_connection(each) is None for each in ids))


@asynccontextmanager
async def _over(line: FaultProxy) -> AsyncIterator[Client]:
    async with Client.socket(line.port) as client:
        await client.upgrade()
        yield client


@asynccontextmanager
async def faulty(engine: str, **settings: Any) -> AsyncIterator[tuple[FaultyApp, Ledger, Client]]:
    ledgers: list[Ledger] = []
    async with (
        serving(engine, lambda app: ledgers.append(Ledger.of(app)), **settings) as app,
        app.client() as honest,
        FaultProxy(("127.0.0.1", app.port)) as line,
    ):
        yield FaultyApp(app, line), ledgers[0], honest


@each_engine
@each_ending
async def test_an_ending_in_the_middle_of_everything(engine: str, ending: Fault) -> None:
    async with faulty(engine) as (faults, ledger, honest):
        async with faults.client(), faults.client() as waiting, faults.client() as halfway:
            await waiting.json({"path": "app://wait", "body": "w", "correlationId": 1})
            await faults.app.heard("waits")
            await halfway.write(mask_frame(Opcode.TEXT, b'{"path":"app://count","body":1}', b"mask")[:-5])
            await until(lambda: faults.line.carried("up") > 0)
            ending(faults.line)
            await faults.still_serves(honest)
            await faults.ended()
        assert ledger.cancelled == ["w"] and ledger.ran == []


@each_engine
@pytest.mark.parametrize("cut_at", [1, 2, 6, 7, 20, 60])
async def test_a_reset_at_any_byte_runs_a_request_at_most_once(engine: str, cut_at: int) -> None:
    async with faulty(engine) as (faults, ledger, honest):
        async with faults.client() as client:
            frame = mask_frame(Opcode.TEXT, b'{"path":"app://count","body":7,"correlationId":7,"metadata":{}}', b"mask")
            before = faults.line.carried("up")
            await client.write(frame[:cut_at])
            await until(lambda: faults.line.carried("up") == before + cut_at)
            faults.line.reset()
            await faults.ended()
        assert ledger.ran == []
        await faults.still_serves(honest)


@each_engine
async def test_a_stalled_client_is_let_go_by_the_heartbeat_and_its_handler_with_it(engine: str) -> None:
    beat = {"ping_interval": 0.25, "ping_timeout": 0.25}
    async with faulty(engine, connection=beat) as (faults, ledger, honest):
        honest_reader = asyncio.create_task(_keep_answering(honest))
        async with faults.client() as client:
            await client.json({"path": "app://wait", "body": "w"})
            await faults.app.heard("waits")
            faults.line.drop()
            [fault] = await faults.app.heard("error")
            assert fault["closeCode"] == 4505
            await faults.app.heard("disconnect")
        assert ledger.cancelled == ["w"]
        honest_reader.cancel()
        await asyncio.wait([honest_reader])
        assert faults.app.events.count("disconnect") == 1


async def _keep_answering(client: Client) -> None:
    while await client.frame() is not None:
        await client.send_frame(Opcode.PONG)


@each_engine
async def test_replies_held_up_by_a_stalled_line_come_when_it_flows(engine: str) -> None:
    async with faulty(engine) as (faults, ledger, honest):
        async with faults.client() as client:
            faults.line.stall("down")
            for number in range(100):
                await client.json({"path": "app://count", "body": number, "correlationId": number})
            await until(lambda: len(ledger.ran) == 100)
            await faults.still_serves(honest)
            faults.line.flow()
            assert [(await client.receive())["correlationId"] for _ in range(100)] == list(range(100))
        assert ledger.ran == list(range(100))


@each_engine
async def test_a_client_behind_a_line_that_never_flows_again_costs_no_more_than_its_outbox(engine: str) -> None:
    limits = {"outbox_bytes": 64 * 1024}
    async with faulty(engine, connection=limits) as (faults, _, honest):
        async with faults.client():
            faults.line.stall("down")
            text = "x" * 64 * 1024
            sent = 0
            while "error" not in faults.app.events:
                await faults.app.facet.broadcast({"event": "bulk", "data": text})
                assert (await honest.receive())["event"] == "bulk"
                sent += 1
                assert sent < 1000, "expected the slow consumer to be closed"
            [fault] = await faults.app.heard("error")
            assert fault["closeCode"] == 4504
            await faults.ended()
        await faults.still_serves(honest)


@each_engine
async def test_the_server_is_not_reachable_for_a_while_and_comes_back(engine: str) -> None:
    async with faulty(engine) as (faults, _, honest):
        faults.line.drop("up")
        async with Client.socket(faults.line.port) as lost:
            await lost.write(handshake())
            await until(lambda: faults.line.dropped("up") > 0)
            faults.line.flow()
            async with faults.client() as found:
                assert (await found.request("app://count", 1))["data"] == 1
            await faults.still_serves(honest)


@each_engine
async def test_a_half_close_of_what_the_client_reads_leaves_its_requests_alone(engine: str) -> None:
    async with faulty(engine) as (faults, ledger, honest):
        async with faults.client() as client:
            faults.line.half_close("down")
            assert await within(client.read()) == b""
            await client.json({"path": "app://count", "body": 1})
            await until(lambda: ledger.ran == [1])
            client.leave()
            await faults.ended()
        await faults.still_serves(honest)
