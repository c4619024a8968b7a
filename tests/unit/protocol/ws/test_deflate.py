"""Both halves of permessage-deflate against zlib and against the `websockets` library."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

from mycelia.protocol.http.request import BadHandshake
from mycelia.protocol.ws.deflate import Agreement, Deflater, DeflateSettings, Inflater, negotiate, parse_extensions
from mycelia.protocol.ws.frames import FrameFault

LIMIT = 1024 * 1024
NOTHING_KEPT = "server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("lines", "offers"),
    [
        ([], []),
        ([""], []),
        ([",", " , \t,", ",a", "a,,b", ", a ,\t, b,"], [("a", ()), ("a", ()), ("b", ()), ("a", ()), ("b", ())]),
        (["permessage-deflate"], [("permessage-deflate", ())]),
        (
            ["permessage-deflate; client_max_window_bits, x ;a= b;c", 'y;d="10";e="\\1\\2"'],
            [
                ("permessage-deflate", (("client_max_window_bits", None),)),
                ("x", (("a", "b"), ("c", None))),
                ("y", (("d", "10"), ("e", "12"))),
            ],
        ),
    ],
)
def test_a_list_of_extensions(lines: list[str], offers: list[Any]) -> None:
    assert parse_extensions(lines) == offers


@pytest.mark.parametrize(
    "line",
    [
        ";",
        "a;",
        "a;=1",
        "a;b=",
        'a;b="',
        'a;b="x y"',
        'a;b=""',
        "a b",
        "a;b c",
        "a=1",
        "(a)",
        ",;a",
        "a,,;b",
        "x," * 17,
    ],
)
def test_what_is_no_list_of_extensions(line: str) -> None:
    with pytest.raises(BadHandshake) as caught:
        parse_extensions([line])
    assert caught.value.reply.status == 400


@given(st.text(max_size=60))
def test_any_text_is_a_list_or_is_refused(line: str) -> None:
    try:
        parse_extensions([line])
    except BadHandshake as refusal:
        assert refusal.reply.status == 400


@pytest.mark.parametrize(
    ("offer", "response"),
    [
        ("permessage-deflate", NOTHING_KEPT),
        ("permessage-deflate; server_no_context_takeover", NOTHING_KEPT),
        ("permessage-deflate; client_max_window_bits", NOTHING_KEPT),
        ("permessage-deflate; client_max_window_bits=10", f"{NOTHING_KEPT}; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=8", f"{NOTHING_KEPT}; client_max_window_bits=8"),
        ("permessage-deflate; server_max_window_bits=9", f"{NOTHING_KEPT}; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", f"{NOTHING_KEPT}; server_max_window_bits=15"),
        ('permessage-deflate; server_max_window_bits="11"', f"{NOTHING_KEPT}; server_max_window_bits=11"),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", NOTHING_KEPT),
        ("x-other, permessage-deflate; unknown, permessage-deflate", NOTHING_KEPT),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=ten", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; unknown", None),
        ("x-webkit-deflate-frame", None),
    ],
)
def test_the_first_offer_that_can_be_kept_is_answered(offer: str, response: str | None) -> None:
    agreement = negotiate((offer,), DeflateSettings())
    assert (agreement.response if agreement else None) == (f"permessage-deflate; {response}" if response else None)


@pytest.mark.parametrize(
    ("settings", "offer", "agreement"),
    [
        (
            DeflateSettings(True, True),
            "permessage-deflate",
            Agreement(True, True, 15, 15, "permessage-deflate"),
        ),
        (
            DeflateSettings(True, True, 12, 11),
            "permessage-deflate; client_max_window_bits",
            Agreement(True, True, 12, 11, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11"),
        ),
        (
            DeflateSettings(True, True, 12, 11),  # who does not say so cannot have its window made smaller
            "permessage-deflate; server_max_window_bits=14",
            Agreement(True, True, 12, 15, "permessage-deflate; server_max_window_bits=12"),
        ),
        (
            DeflateSettings(True, True),
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            Agreement(False, False, 15, 15, f"permessage-deflate; {NOTHING_KEPT}"),
        ),
    ],
)
def test_what_each_side_may_keep(settings: DeflateSettings, offer: str, agreement: Agreement) -> None:
    assert negotiate((offer,), settings) == agreement


bits = st.integers(9, 15)
BLOCKS = [b"", b"a" * 100_000, bytes(range(256)) * 300]
messages = st.lists(st.binary(max_size=300) | st.sampled_from(BLOCKS), max_size=6)


@given(payloads=messages, size=bits, context=st.booleans())
def test_messages_come_back(payloads: list[bytes], size: int, context: bool) -> None:
    deflater, inflater = Deflater(size, context, DeflateSettings()), Inflater(size, context)
    for payload in payloads:
        assert inflater.inflate(deflater.deflate(payload), LIMIT) == payload


@given(payloads=messages, size=bits)
def test_without_context_every_message_stands_alone(payloads: list[bytes], size: int) -> None:
    deflater = Deflater(size, False, DeflateSettings())
    packed = [deflater.deflate(payload) for payload in payloads]
    for payload, each in zip(reversed(payloads), reversed(packed), strict=True):
        assert Inflater(size, False).inflate(each, LIMIT) == payload


@given(
    payloads=messages,
    settings=st.builds(DeflateSettings, st.booleans(), st.booleans(), bits, bits),
    server_bits=st.none() | bits,
    client_bits=st.none() | st.just(True) | bits,
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_an_independent_client_understands_and_is_understood(
    payloads: list[bytes], settings: DeflateSettings, server_bits: Any, client_bits: Any, flags: tuple[bool, bool]
) -> None:
    factory = ClientPerMessageDeflateFactory(*flags, server_bits, client_bits)
    offer = build_extension([(ExtensionName("permessage-deflate"), factory.get_request_params())])
    agreement = negotiate((offer,), settings)
    assert agreement is not None
    [(_, parameters)] = parse_extension(agreement.response)
    theirs = factory.process_response_params(parameters, [])
    assert isinstance(theirs, PerMessageDeflate)
    deflater = Deflater(agreement.server_bits, agreement.server_context, settings)
    inflater = Inflater(agreement.client_bits, agreement.client_context)
    for payload in payloads:
        sent = Frame(Opcode.BINARY, deflater.deflate(payload), rsv1=True)
        assert bytes(theirs.decode(sent).data) == payload
        came = theirs.encode(Frame(Opcode.BINARY, payload))
        assert inflater.inflate(bytes(came.data), LIMIT) == payload


@pytest.mark.parametrize("context", [True, False])
def test_a_message_may_be_as_large_as_the_limit_and_no_larger(context: bool) -> None:
    deflater, inflater = Deflater(15, context, DeflateSettings()), Inflater(15, context)
    packed = deflater.deflate(b"a" * 100_000)
    assert len(inflater.inflate(packed, 100_000)) == 100_000
    with pytest.raises(FrameFault) as caught:
        inflater.inflate(deflater.deflate(b"a" * 100_001), 100_000)
    assert caught.value.close_code == 1009


def test_a_bomb_never_takes_more_than_the_limit() -> None:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b"\x00" * LIMIT
    bomb = b"".join(made.compress(block) for _ in range(512)) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < LIMIT
    inflater = Inflater(15, False)
    tracemalloc.start()
    try:
        with pytest.raises(FrameFault):
            inflater.inflate(bomb, LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LIMIT / 2  # what is large already is first looked through


@pytest.mark.parametrize("last_block", [False, True])
def test_to_be_looked_through_first_changes_no_context(last_block: bool) -> None:
    made, noise = zlib.compressobj(6, zlib.DEFLATED, -15), random.Random(2).randbytes(LIMIT // 2)
    inflater = Inflater(15, True)
    for number in range(3):
        packed = made.compress(noise) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]
        assert (len(packed) > LIMIT // 4) or number
        assert inflater.inflate(packed, LIMIT) == noise
    if last_block:
        ended = zlib.compressobj(0, zlib.DEFLATED, -15)
        packed = ended.compress(noise) + ended.flush(zlib.Z_FINISH) + b"\x00"
        assert inflater.inflate(packed, LIMIT) == noise
        made = zlib.compressobj(6, zlib.DEFLATED, -15, zdict=noise[-32768:])
        packed = made.compress(noise[-30_000:]) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]
        assert len(packed) < 1000
        assert inflater.inflate(packed, LIMIT) == noise[-30_000:]


def test_a_message_that_cannot_be_compressed_is_not_copied_again_and_again() -> None:
    made, noise = zlib.compressobj(0, zlib.DEFLATED, -15), random.Random(1).randbytes(8 * LIMIT)
    packed = made.compress(noise) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]
    tracemalloc.start()
    try:
        assert Inflater(15, False).inflate(packed, len(noise)) == noise
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.1 * len(noise)


@given(payload=st.binary(max_size=100), context=st.booleans())
def test_anything_is_a_message_or_is_refused(payload: bytes, context: bool) -> None:
    try:
        assert len(Inflater(15, context).inflate(payload, 10_000)) <= 10_000
    except FrameFault as fault:
        assert fault.close_code in (1007, 1009)


def test_blocks_that_say_they_are_the_last() -> None:
    """RFC 7692 §7.2.3.5, and what an attacker would make of it."""
    hello = bytes.fromhex("f348cdc9c9070000")
    kept = Inflater(15, True)
    for _ in range(3):
        assert kept.inflate(hello, LIMIT) == b"Hello"
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = last.compress(b"abc") + last.flush()
    assert Inflater(15, False).inflate(once * 2, LIMIT) == b"abcabc"
    with pytest.raises(FrameFault) as caught:
        Inflater(15, False).inflate(once * 1000, LIMIT)
    assert caught.value.close_code == 1007


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("f248cdc9c90700", b"Hello"),  # the examples of RFC 7692 §7.2.3
        ("00050 0faff48656c6c6f00".replace(" ", ""), b"Hello"),
        ("f24805 00 00 00 ff ff cac9c90700".replace(" ", ""), b"Hello"),
        ("00", b""),
    ],
)
def test_the_examples_of_the_standard(payload: str, message: bytes) -> None:
    assert Inflater(15, False).inflate(bytes.fromhex(payload), LIMIT) == message
