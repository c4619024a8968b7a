"""Certificates for tests: for 127.0.0.1, ::1 and localhost, written as PEM files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

__all__ = ["Issued", "issue"]


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, on disk."""

    certificate: str
    key: str
    serial: int

    @property
    def config(self) -> dict[str, str]:
        """For `websocket.tls`."""
        return {"certificate": self.certificate, "key": self.key}

    def trusting(self) -> ssl.SSLContext:
        """A client's context that knows this certificate and no other."""
        return ssl.create_default_context(cafile=self.certificate)


def issue(
    folder: Path, name: str = "localhost", password: str | None = None, authority: Issued | None = None
) -> Issued:
    """A new certificate under the same file names: whoever reads them again has the new one.

    It signs itself, unless another one is its authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(each)) for each in ("127.0.0.1", "::1"))]
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(Path(authority.certificate).read_bytes()).subject
        loaded = load_pem_private_key(Path(authority.key).read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    constraints = x509.BasicConstraints(authority is None, 0 if authority is None else None)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(constraints, critical=True)
        .sign(signer, hashes.SHA256())
    )
    lock = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    return Issued(str(files[0]), str(files[1]), certificate.serial_number)
