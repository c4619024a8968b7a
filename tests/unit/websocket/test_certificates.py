from __future__ import annotations

import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mycelia.errors import ConfigError
from mycelia.websocket.certificates import Certificates, TlsConfig
from mycelia.websocket.config import ServerConfig
from tests.support.certificates import issue


def test_the_defaults_are_safe(tmp_path: Path) -> None:
    made = TlsConfig(**issue(tmp_path).config).context()
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.options & ssl.OP_NO_RENEGOTIATION and made.options & ssl.OP_NO_COMPRESSION
    assert made.verify_mode == ssl.CERT_NONE
    assert made.keylog_filename is None


def test_a_certificate_and_its_key_may_share_a_file(tmp_path: Path) -> None:
    issued, both = issue(tmp_path), tmp_path / "both.pem"
    both.write_bytes(Path(issued.key).read_bytes() + Path(issued.certificate).read_bytes())
    assert TlsConfig(str(both)).context().cert_store_stats()["x509"] == 0


def test_a_key_with_a_password(tmp_path: Path) -> None:
    issued = issue(tmp_path, password="open sesame")
    config = TlsConfig(**issued.config, password="open sesame")
    assert "sesame" not in repr(config)
    with pytest.raises(ConfigError, match=r"websocket\.tls\.password: expected the password of the key, which is"):
        TlsConfig(**issued.config)
    with pytest.raises(ConfigError, match=r"websocket\.tls\.password: expected the password of the key$") as caught:
        TlsConfig(**issued.config, password="wrong")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "key", "complaint"),
    [
        ({"certificate": None}, "certificate", "got nothing"),
        ({"certificate": 5}, "certificate", "got 5"),
        ({"certificate": "{folder}/absent.pem"}, "certificate", "cannot read '.*absent.pem': No such file"),
        ({"certificate": "{folder}"}, "certificate", "cannot read .*: Is a directory"),
        ({"key": "{folder}/absent.key"}, "key", "cannot read '.*absent.key': No such file"),
        ({"key": "{other}"}, "key", "do not fit"),
        ({"key": None}, "key", "expected a PEM file with a private key"),
        ({"certificate": "{other}"}, "certificate", "expected a PEM file with a certificate"),
        ({"certificate": "{broken}"}, "certificate", "expected a certificate and its key in PEM"),
        ({"client_ca": "{other}"}, "client_ca", "expected a PEM file with a certificate"),
        ({"client_ca": "{folder}/absent.pem"}, "client_ca", "No such file"),
        ({"client_ca": "{broken}"}, "client_ca", "expected certificates in PEM"),
        ({"password": 5}, "password", "expected a text"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], key: str, complaint: str, tmp_path: Path) -> None:
    issued, other = issue(tmp_path), issue(tmp_path, "other")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    places = {"folder": tmp_path, "other": other.key, "broken": broken}
    given = {
        name: value.format(**places) if isinstance(value, str) else value
        for name, value in {**issued.config, **changed}.items()
    }
    with pytest.raises(ConfigError, match=complaint) as caught:
        TlsConfig(**given)
    assert caught.value.key == f"websocket.tls.{key}"


def test_a_renewal_is_all_or_none(tmp_path: Path) -> None:
    first, second = issue(tmp_path, "a"), issue(tmp_path, "b")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain = ServerConfig()
    servers = [ServerConfig(tls=TlsConfig(**first.config)), plain, ServerConfig(tls=TlsConfig(**second.config))]
    servers.append(replace(plain, tls=own))
    certificates = Certificates(servers)
    sources = [certificates.source(server) for server in servers]
    assert sources[1] is None
    before = [source() for source in sources if source is not None]
    assert before[2] is own
    issue(tmp_path, "a")
    os.unlink(second.certificate)
    with pytest.raises(ConfigError, match=r"cannot read '.*b\.pem'"):
        certificates.reload()
    assert [source() for source in sources if source is not None] == before
    issue(tmp_path, "b")
    certificates.reload()
    after = [source() for source in sources if source is not None]
    assert after[0] is not before[0] and after[1] is not before[1] and after[2] is own
