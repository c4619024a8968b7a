"""What each fuzzer holds the code to: functions from bytes that return, or raise AssertionError.

Any exception that is not a verdict of the code under test is a finding too. Nothing here knows Atheris.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Hashable
from typing import Any

from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import SERVER, Protocol

from mycelia.errors import InvalidPath, RouteError
from mycelia.kernel.routing.path import Pattern, bind, fill
from mycelia.protocol.engineio.actions import CloseWebSocket, Ended, Respond, Write
from mycelia.protocol.engineio.packets import SEPARATOR, PacketFault, PacketKind, read_payload, write_part
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.http.credentials import credentials, public_view
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import BadHandshake, Handshake, read_request
from mycelia.protocol.socketio.namespaces import (
    AckReceived,
    ConnectRequested,
    EventReceived,
    NamespaceLeft,
    NamespaceLimits,
    Namespaces,
)
from mycelia.protocol.socketio.packets import SocketKind, SocketPacket, read_packet, write_packet
from mycelia.protocol.sockjs.endpoints import find
from mycelia.protocol.sockjs.frames import (
    PayloadFault,
    is_callback,
    message_frame,
    quote,
    read_frame,
)
from mycelia.protocol.sockjs.frames import (
    read_payload as read_body,
)
from mycelia.protocol.sockjs.response_formats import style_of
from mycelia.protocol.wire.codec import CODECS, CanSkim
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request
from mycelia.protocol.wire.value import MAX_DEPTH, check_value
from mycelia.protocol.ws.assembler import Assembler, check_close
from mycelia.protocol.ws.deflate import Deflater, DeflateSettings, Inflater, negotiate
from mycelia.protocol.ws.frames import Frame, FrameFault, FrameParser, Opcode, mask_frame
from mycelia.protocol.ws.handshake import check_upgrade

__all__ = ["TARGETS"]

_MAX_BYTES = 4096
_REMOTE = ("192.0.2.1", 5)


# -- frames ------------------------------------------------------------------------------------------------


def frames(data: bytes) -> None:
    """The first byte says where to cut the rest."""
    if not data:
        return
    cut, stream = data[0], data[1:]
    whole, pieces = _parse([stream]), _parse([stream[:cut], stream[cut:]])
    assert whole == pieces, f"cut at {cut}: {pieces}, in one piece: {whole}"
    assert _parse([stream[at : at + 1] for at in range(len(stream))]) == whole
    for one in whole[0]:
        again = FrameParser(masked=one.masked).feed(_written(one))
        assert again == [one]


def _parse(pieces: list[bytes]) -> tuple[list[Frame], int]:
    parser, found = FrameParser(masked=True, max_bytes=_MAX_BYTES), []
    for piece in pieces:
        try:
            for at in range(len(piece)):
                found += parser.feed(piece[at : at + 1])
        except FrameFault as fault:
            return found, fault.close_code
    return found, 0


def _written(one: Frame) -> bytes:
    return mask_frame(one.opcode, one.payload, b"\x01\x02\x03\x04", one.fin, one.rsv)


# -- assembler ---------------------------------------------------------------------------------------------


def assembler(data: bytes) -> None:
    """The same bytes through our parser and assembler, and through the reader of `websockets`.

    Three differences are known. Theirs refuses a Close inside a fragmented message, which RFC 6455 §5.4 allows, and
    takes lengths that are not in their shortest form, which §5.2 forbids. And it judges a header before the payload has
    come, ours the whole frame: where a frame is wrong twice, or not finished, the verdicts may name different faults.
    """
    ours, code, pending = _assembled(data)
    theirs, their_code = _their_messages(data)
    if code == _LONG_FORM:
        assert theirs[: len(ours)] == ours
        return
    if code and not their_code:  # a fault that they see when the frame is all there
        theirs, their_code = _their_messages(data + bytes(_MAX_BYTES + 16))
    assert theirs == ours, f"ours: {ours}, of websockets: {theirs}"
    twice = {code, their_code} in ({1002, 1009}, {1002, 1007} if _has_close(data) else {0})
    same = code == their_code or twice or (pending and code == 0)
    assert same, f"ours: {code}, of websockets: {their_code}"


_LONG_FORM = -1


def _has_close(data: bytes) -> bool:
    return any(one.opcode == Opcode.CLOSE for one in _parse([data])[0])


def _assembled(data: bytes) -> tuple[list[tuple[bytes, bool]], int, bool]:
    """Messages, the code of the fault (0 for none), and whether a frame or a message is unfinished."""
    parser, reader = FrameParser(masked=True, max_bytes=_MAX_BYTES), Assembler(_MAX_BYTES)
    found: list[tuple[bytes, bool]] = []
    try:
        for at in range(len(data)):
            for one in parser.feed(data[at : at + 1]):
                message = reader.feed(one.opcode, one.fin, one.rsv, one.payload)
                if message is not None:
                    found.append(message)
                if one.opcode == Opcode.CLOSE:
                    check_close(one.payload)
                    return found, 0, reader.open
    except FrameFault as fault:
        long_form = "shortest" in fault.reason or "longer than 125" in fault.reason  # which a control frame's is always
        return found, _LONG_FORM if long_form else fault.close_code, False
    return found, 0, parser.pending > 0


def _their_messages(data: bytes) -> tuple[list[tuple[bytes, bool]], int]:
    reader = Protocol(SERVER, max_size=_MAX_BYTES)
    found: list[tuple[bytes, bool]] = []
    parts: list[bytes] = []
    binary = False
    for at in range(len(data)):
        reader.receive_data(data[at : at + 1])
        for event in reader.events_received():
            assert isinstance(event, TheirFrame)
            if event.opcode in (TheirOpcode.TEXT, TheirOpcode.BINARY):
                binary, parts = event.opcode is TheirOpcode.BINARY, []
            elif event.opcode is not TheirOpcode.CONT:
                continue
            parts.append(bytes(event.data))
            fault = _text_fault(b"".join(parts), event.fin) if not binary else None
            if fault is not None:
                return found, fault  # their protocol leaves text to whoever reads messages
            if event.fin:
                found.append((b"".join(parts), binary))
        if reader.parser_exc is not None:
            return found, reader.close_sent.code if reader.close_sent is not None else 1002
        if reader.close_rcvd is not None:
            return found, 0
    return found, 0


def _text_fault(text: bytes, final: bool) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return 1007 if final or error.reason != "unexpected end of data" else None
    return None


# -- handshakes --------------------------------------------------------------------------------------------


def handshake(data: bytes) -> None:
    """Never anything but a request, a refusal, or a wish for more."""
    whole = _judged(data)
    if whole is None or isinstance(whole, int):
        if whole is None:
            for at in range(0, len(data), 16):
                assert not isinstance(_judged(data[:at]), Handshake)
        return
    assert whole.path.startswith("/") and "?" not in whole.path
    for name, value in whole.headers.items():
        assert "\r" not in name + value and "\n" not in name + value and "\0" not in value
    for verdict in (check_upgrade, origin_allowed):
        try:
            verdict(whole)
        except BadHandshake as bad:
            assert 400 <= bad.reply.status < 600


def _judged(data: bytes) -> Handshake | int | None:
    try:
        found = read_request(data, _REMOTE, False)
    except BadHandshake as bad:
        assert 400 <= bad.reply.status < 600
        bad.reply.encode()
        return bad.reply.status
    if found is None:
        return None
    request, used = found
    assert data[:used].endswith(b"\n")
    return request


_MARK = "s3cr3t"


def secrets(data: bytes) -> None:
    """Any head with a token in it shows the token in one place only."""
    text = data.decode("latin-1").replace("\x00", _MARK)
    target, _, lines = text.partition("\n")
    head = f"GET /{target} HTTP/1.1\r\nHost: h\r\n" + "".join(f"{line}\r\n" for line in lines.split("\n")) + "\r\n"
    request = _judged(head.encode("latin-1", "replace"))
    if not isinstance(request, Handshake):
        return
    given = credentials(request)
    shown = public_view(request)
    assert shown["token"] == given.token
    assert (given.token is None) is (given.source is None)
    if given.token is not None and given.token == _MARK:
        everything = repr({key: value for key, value in shown.items() if key != "token"})
        if given.source == "authorization":
            everything = repr([shown["headers"]]) if request.target.find(_MARK) < 0 and _elsewhere(request) else ""
        assert _MARK not in everything or _elsewhere(request), f"{head!r} shows {everything}"
    assert _MARK not in repr(given)


def _elsewhere(request: Handshake) -> bool:
    """Whether the mark is also where no credential belongs: there it is the client's own word."""
    in_path = _MARK in request.path
    in_query = any(_MARK in name or (_MARK in value and name != "token") for name, value in request.query.items())
    ours = {"authorization", "cookie", "proxy-authorization", "sec-websocket-protocol"}
    in_headers = any(
        _MARK in name or (_MARK in value and name.lower() not in ours) for name, value in request.headers.items()
    )
    repeated = request.target.count(_MARK) > 1 or len(request.headers.lines("sec-websocket-protocol")) > 0
    return in_path or in_query or in_headers or repeated


# -- codecs ------------------------------------------------------------------------------------------------


def json_values(data: bytes) -> None:
    """Decoding agrees with the standard library wherever both know the value."""
    codec = CODECS["json"]
    try:
        value = codec.decode_value(data)
    except ProtocolFault:
        theirs = _their_json(data)
        assert theirs is _UNKNOWN or not _in_model(theirs), f"refused {data!r}, which is {theirs!r}"
    else:
        _check_model(value)
        theirs = _their_json(data)
        assert theirs is not _UNKNOWN, f"accepted {data!r} as {value!r}"
        assert _same(theirs, value), f"{data!r}: expected {theirs!r}, got {value!r}"
        assert _same(codec.decode_value(codec.encode_value(value)), value)
        _counted("json", data, value)
    _envelope("json", data)


def msgpack_values(data: bytes) -> None:
    """What is decoded is of the data model, and comes back from its own bytes."""
    codec = CODECS["msgpack"]
    try:
        value = codec.decode_value(data)
    except ProtocolFault:
        pass
    else:
        _check_model(value)
        assert _same(codec.decode_value(codec.encode_value(value)), value)
        _counted("msgpack", data, value)
    _envelope("msgpack", data)


def _envelope(name: str, data: bytes) -> None:
    codec = CODECS[name]
    assert isinstance(codec, CanSkim)
    outline = codec.skim(data)
    try:
        envelope = codec.decode(data)
    except ProtocolFault:
        return
    assert codec.decode(codec.encode(envelope)) == envelope
    if outline != Request():  # which says that nothing could be made of it, and may be too strict
        assert type(outline) is type(envelope)
        assert isinstance(outline, Event) or outline.correlation_id == envelope.correlation_id  # type: ignore[union-attr]


def _counted(name: str, data: bytes, value: Any) -> None:
    """Values are never counted too low; too high only where keys come twice."""
    codec, number = CODECS[name], _count(value)
    assert isinstance(codec, CanSkim)
    if number > 1:
        assert codec.crowded(data, number - 1)
        assert not codec.crowded(codec.encode_value(value), number)


def _count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if inner is None else 1 + (not value) + sum(map(_count, inner))


_UNKNOWN = object()


def _their_json(data: bytes) -> Any:
    """The value of a strict JSON text without duplicate keys; `_UNKNOWN` for everything else."""
    if data[:3] == b"\xef\xbb\xbf":
        return _UNKNOWN
    try:
        return json.loads(data.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _UNKNOWN


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _in_model(value: Any, room: int = MAX_DEPTH) -> bool:
    match value:
        case bool() | None:
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case str():
            return value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        case list():
            return room > 0 and all(_in_model(each, room - 1) for each in value)
        case dict():
            return room > 0 and all(_in_model(key) and _in_model(each, room - 1) for key, each in value.items())
    return False


def _check_model(value: Any) -> None:
    check_value(value)


def _same(one: Any, other: Any) -> bool:
    """Equal, with 1, 1.0 and True told apart but an integral float and its integer taken as one number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


# -- paths -------------------------------------------------------------------------------------------------


def paths(data: bytes) -> None:
    """A path, a newline, and the text that fills its parameters."""
    path, _, text = data.decode("utf-8", "replace").partition("\n")
    body = dict.fromkeys(("id", "a", "b", "name"), text)
    try:
        pattern = Pattern.parse(path)
    except RouteError:
        pattern = None
    try:
        filled, values = fill(path, body)
    except InvalidPath:
        return
    if "{" not in path and "}" not in path:
        assert filled == path and values == {}
        return
    assert filled.count("/") == path.count("/"), "a value climbed out of its segment"
    assert all(value == text for value in values.values())
    if pattern is None or pattern.rest or not pattern.names:
        return
    places = [at for at, segment in enumerate(pattern.segments) if segment is None]
    segments = filled.partition("://")[2].split("/")
    assert bind(pattern, filled, [segments[at] for at in places]) == values


# -- deflate -----------------------------------------------------------------------------------------------


def deflate(data: bytes) -> None:
    """The first byte says what is kept between messages; the rest is two messages, a payload, and an offer."""
    if not data:
        return
    context, bits, rest = bool(data[0] & 1), 9 + (data[0] >> 1) % 7, data[1:]
    half = len(rest) // 2
    inflater, theirs = Inflater(15, context), zlib.decompressobj(-15)
    for message in (rest[:half], rest[half:]):
        if not context:
            theirs = zlib.decompressobj(-15)
        try:
            expected = theirs.decompress(message + b"\x00\x00\xff\xff", _MAX_BYTES + 1)
        except zlib.error:
            expected = None
        try:
            found = inflater.inflate(message, _MAX_BYTES)
        except FrameFault as fault:
            assert fault.close_code in (1007, 1009)
            assert expected is None or theirs.eof or len(expected) > _MAX_BYTES
            break
        assert len(found) <= _MAX_BYTES
        if expected is None or theirs.eof:
            break  # what comes after a last block the reference does not read
        assert found == expected
    for context in (True, False):
        deflater, inflater = Deflater(bits, context, DeflateSettings()), Inflater(bits, context)
        for payload in (rest, b"", rest):
            assert inflater.inflate(deflater.deflate(payload), len(payload)) == payload
    try:
        agreement = negotiate((rest.decode("latin-1"),), DeflateSettings(True, True, bits))
    except BadHandshake:
        return
    assert agreement is None or 9 <= agreement.server_bits <= bits


# -- Engine.IO and Socket.IO -------------------------------------------------------------------------------


def engineio(data: bytes) -> None:
    """A body, and a life: each byte is a step, and what follows a newline is the body or frame that it brings."""
    expected = _their_packets(data)
    try:
        found = read_payload(data, _MAX_BYTES, 64)
    except PacketFault as fault:
        assert fault.error_response.status in (400, 413)
        assert expected is None or len(data) > _MAX_BYTES or len(expected) > 64
    else:
        assert found == expected
        assert read_payload(SEPARATOR.join(map(write_part, found)), 2 * _MAX_BYTES, 64) == found
    _session(data)


def _their_packets(body: bytes) -> list[Any] | None:
    """The packets in a body, read in the plainest way; None when it is none."""
    try:
        parts = body.decode().split("\x1e")
        return [
            (PacketKind.MESSAGE, base64.b64decode(each[1:], validate=True), True)
            if each[:1] == "b"
            else (PacketKind("0123456".index(each[0])), each[1:].encode(), False)
            for each in parts
        ]
    except (ValueError, IndexError):
        return None


def _session(data: bytes) -> None:
    steps, _, text = data.partition(b"\n")
    frames = text.split(b"\n")
    session = Session("sid", Settings(buffer_bytes=1000), 0.0)
    session.open_polling("open")
    now, ended = 0.0, 0
    requests: dict[Hashable, bool] = {}  # whether it is a POST
    sockets: list[Hashable] = []
    for number, step in enumerate(steps):
        post = next((key for key, bodied in requests.items() if bodied), None)
        frame = frames[number % len(frames)]
        kind, over = step % 8, session.over
        if kind < 2:
            requests[number] = kind == 1
        elif kind == 2:
            sockets.append(number)
        elif kind == 7:
            now += step
        out: list[Any] = []
        match kind:
            case 0:
                out = session.get(number, now)
            case 1:
                out = session.post(number, now)
            case 2:
                out = session.begin_upgrade(number, now)
            case 3 if post is not None:
                out = session.body(post, frame, now)
            case 4 if sockets:
                out = session.frame(sockets[-1], frame, bool(step & 8), now)
            case 5:
                out = session.send(frame, True)
            case 6 if sockets and step & 8:
                out = session.disconnected(sockets.pop(0))
            case 6 if step & 16:
                out = session.close(now)
            case 7:
                out = session.tick(now)
        for each in out:
            assert not over or isinstance(each, Respond | CloseWebSocket), each
            if isinstance(each, Respond):
                del requests[each.key]  # answered once
                assert each.status != 200 or each.body.count(b"\x1e") < 16
            elif isinstance(each, CloseWebSocket):
                sockets.remove(each.key)
            elif isinstance(each, Write):
                assert each.key in sockets
            ended += isinstance(each, Ended)
        assert ended == session.over
        assert not session.over or not (requests or sockets)
        assert session.buffered <= 1000 + _MAX_BYTES


def socketio(data: bytes) -> None:
    """Messages, one a line; a line that begins with a space is binary. The first is also read by itself."""
    lines = data.split(b"\n")
    try:
        packet = read_packet(lines[0], 4)
    except PacketFault:
        pass
    else:
        _packet(packet._replace(attachments=tuple(lines[1 : 1 + packet.awaited])))
    client = Namespaces(NamespaceLimits(packet_bytes=_MAX_BYTES, namespaces=3, attachments=4), 0.0)
    for line in lines:
        try:
            event = client.receive(line.removeprefix(b" "), line[:1] == b" ", 1.0)
        except PacketFault:
            return
        assert client.held_bytes <= _MAX_BYTES
        match event:
            case ConnectRequested():
                assert not client.is_connected(event.namespace)
                client.accept(event.namespace, "x")
            case NamespaceLeft():
                assert not client.is_connected(event.namespace)
            case EventReceived() | AckReceived():
                assert client.is_connected(event.packet.namespace)
                _packet(event.packet)


def _packet(packet: SocketPacket) -> None:
    """What a packet carries comes back from its own bytes."""
    try:
        value = packet.value()
    except (PacketFault, ProtocolFault):
        return
    assert value is None or _same(value, _their_json(packet.data)) or packet.attachments or _has_twins(packet.data)
    if packet.kind not in (SocketKind.EVENT, SocketKind.ACK) or not isinstance(packet.name, str | None):
        return
    (text, _), *pieces = write_packet(packet.kind, packet.namespace, packet.id, value)
    again = read_packet(text, len(pieces))
    assert again.awaited == len(pieces) == len(packet.attachments)
    assert again[:4] == packet[:4]
    back = again._replace(attachments=tuple(payload for payload, _ in pieces)).value()
    assert packet.attachments or _same(back, value)


def _has_twins(data: bytes) -> bool:
    return _their_json(data) is _UNKNOWN


# -- sockjs ------------------------------------------------------------------------------------------------


def sockjs(data: bytes) -> None:
    """A payload, read as a body and as a frame; as a message it comes back from its frame and stays in its script."""
    expected = _their_texts(data)
    for read in (read_body, read_frame):
        try:
            found = read(data)
        except PayloadFault as fault:
            assert (fault.status, fault.close_code) in ((500, 1007), (413, 1009))
            assert not isinstance(expected, list)
        else:
            assert found == (expected if isinstance(expected, list) else [expected] if expected is not None else [])
    text = data.decode("utf-8", "replace")
    frame = message_frame([quote(text)])
    assert json.loads(frame[1:]) == [text]
    scripted = style_of("htmlfile", "c").wrap(frame).removeprefix(b"<script>\np(").removesuffix(b");\n</script>\r\n")
    assert b"<" not in scripted and json.loads(scripted).encode() == frame
    assert not is_callback(text) or text.replace("_", "a").replace(".", "a").isalnum()
    target = find("/" + text)
    assert target is None or not target.session or (target.session in text and "/" not in target.session)


def _their_texts(body: bytes) -> list[bytes] | bytes | None:
    """The texts in a payload, read in the plainest way; None when there are none in it."""
    try:
        found = json.loads(body.decode())
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            return None
        encoded = [each.encode() for each in texts]
    except (ValueError, RecursionError):
        return None
    return encoded[0] if isinstance(found, str) else encoded


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "assembler": assembler,
    "handshake": handshake,
    "credentials": secrets,
    "deflate": deflate,
    "engineio": engineio,
    "socketio": socketio,
    "sockjs": sockjs,
    "json": json_values,
    "msgpack": msgpack_values,
    "paths": paths,
}
