"""Keys, tokens and an issuer's HTTP server, for the tests of this folder."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["NOW", "SECRET", "Issuer", "forged", "jwk", "pem", "private", "serve", "token"]

NOW = 1_800_000_000.0
SECRET = "a secret of more than sixty-four bytes, so that it is long enough for HS512 as well"


@cache
def private(name: str) -> Any:
    """A private key by a name such as `rsa`, `rsa-2`, `p256`, `ed`; the same at every call."""
    match name.partition("-")[0]:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "weak":
            return rsa.generate_private_key(65537, 1024)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def pem(name: str) -> bytes:
    """The public key in PEM."""
    found: bytes = private(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


_ALGORITHMS = {"rsa": "RS256", "weak": "RS256", "p256": "ES256", "p384": "ES384", "ed": "EdDSA"}


def jwk(name: str, kid: str | None = None, **extra: Any) -> dict[str, Any]:
    """The public key as a JWK."""
    algorithm = jwt.PyJWS().get_algorithm_by_name(_ALGORITHMS[name.partition("-")[0]])
    made: dict[str, Any] = json.loads(algorithm.to_jwk(private(name).public_key()))
    made.pop("key_ops", None)
    return {**made, **({} if kid is None else {"kid": kid}), **extra}


def token(key: Any, algorithm: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token for `ada` that is good for a minute, unless the claims say otherwise; a claim of None is left out."""
    given = {"sub": "ada", "exp": int(NOW) + 60, **claims}
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers)


def forged(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """A token signed with HS256 by hand, as no library would."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), hashlib.sha256)) if key else ''}"


class Issuer:
    """What the server answers, and how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.called = asyncio.Event()  # somebody has asked
        self.raw: bytes | None = None
        self.gate: asyncio.Event | None = None  # held back until it is set
        self.chunked = False
        self.url = ""

    def answer(self) -> bytes:
        if self.raw is not None:
            return self.raw
        body = json.dumps({"keys": self.keys}).encode()
        if self.chunked:
            parts = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@asynccontextmanager
async def serve(issuer: Issuer) -> AsyncIterator[Issuer]:
    """The issuer on a port of this machine."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            issuer.asked += 1
            issuer.called.set()
            if issuer.gate is not None:
                await issuer.gate.wait()
            writer.write(issuer.answer())
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?v=1"
    try:
        yield issuer
    finally:
        if issuer.gate is not None:
            issuer.gate.set()
        server.close()
        await server.wait_closed()
