"""Packets that wait for a GET."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.engineio.packet_queue import PacketQueue
from mycelia.protocol.engineio.packets import Packet, PacketKind, read_payload

MESSAGE = PacketKind.MESSAGE
MOST = 1_000_000

safe_texts = st.text().map(lambda text: text.replace("\x1e", "").encode())


def packets(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Packet]:
    plain = st.builds(Packet, st.sampled_from(PacketKind), payloads, st.just(False))
    return plain | st.builds(Packet, st.just(MESSAGE), st.binary(), st.just(True))


@given(st.lists(packets(safe_texts)), st.integers(1, 20), st.integers(1, 60))
def test_responses_hold_everything_once_and_in_order(given_packets: list[Packet], most: int, max_bytes: int) -> None:
    waiting = PacketQueue()
    for packet in given_packets:
        waiting.put(packet)
    found: list[Packet] = []
    while waiting:
        body = waiting.response(most, max_bytes)
        read = read_payload(body, MOST, most)
        assert len(body) <= max_bytes or len(read) == 1
        found += read
    assert found == given_packets
    assert waiting.size_bytes == 0


def test_what_waits_is_bounded_but_for_a_single_packet() -> None:
    waiting = PacketQueue()
    assert waiting.fits(bytes(1000), 100)
    waiting.put(Packet(MESSAGE, b"a"))
    assert waiting.fits(b"b", 200)
    assert not waiting.fits(bytes(200), 200)
    waiting.put(Packet(PacketKind.PING), first=True)
    assert [packet.kind for packet in waiting.take()] == [PacketKind.PING, MESSAGE]
    assert waiting.size_bytes == 0
