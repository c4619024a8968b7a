"""Records of TLS 1.3 as no library sends them: those of a client, made from the secrets that its handshake has left."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.certificates import Issued

__all__ = ["Records"]

_HASH, _HASH_BYTES = "sha384", 48
_SUITE = "TLS_AES_256_GCM_SHA384"
_ALERT, _HANDSHAKE, _APPLICATION = 21, 22, 23


class Records:
    """The sending half of a connection whose handshake it does itself, by functions that send and receive."""

    def __init__(
        self, issued: Issued, folder: Path, send: Callable[[bytes], object], receive: Callable[[], bytes]
    ) -> None:
        log, context = folder / "secrets", issued.trusting()
        context.keylog_filename = str(log)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                send(outgoing.read())
                incoming.write(receive())
        send(outgoing.read())
        cipher = client.cipher()
        assert cipher is not None and cipher[0] == _SUITE
        found = [line for line in log.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
        self._secret = bytes.fromhex(found[-1].split()[2])
        self._renew()

    def data(self, payload: bytes) -> bytes:
        """Application data."""
        return self._record(payload, _APPLICATION)

    def close_notify(self) -> bytes:
        """The end of what is sent (RFC 8446 §6.1)."""
        return self._record(b"\x01\x00", _ALERT)

    def key_update(self) -> bytes:
        """New keys here, and a request for new ones there (RFC 8446 §4.6.3)."""
        record = self._record(b"\x18\x00\x00\x01\x01", _HANDSHAKE)
        self._secret = self._expand(b"traffic upd", _HASH_BYTES)
        self._renew()
        return record

    def _renew(self) -> None:
        self._key, self._sent = AESGCM(self._expand(b"key", 32)), 0
        self._iv = int.from_bytes(self._expand(b"iv", 12))

    def _record(self, payload: bytes, kind: int) -> bytes:
        inner = payload + bytes([kind])
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce, self._sent = (self._iv ^ self._sent).to_bytes(12), self._sent + 1
        return head + self._key.encrypt(nonce, inner, head)

    def _expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label without a context (RFC 8446 §7.1), of no more than one hash."""
        full = b"tls13 " + label
        info = length.to_bytes(2) + bytes([len(full)]) + full + b"\x00"
        return hmac.digest(self._secret, info + b"\x01", _HASH)[:length]
