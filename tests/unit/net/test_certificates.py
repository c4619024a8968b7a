from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mycelia.errors import ConfigError
from mycelia.net.certificates import Certificates, TlsConfig, read_tls
from mycelia.realtime.config.endpoint import ServerConfig
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
    with pytest.raises(ConfigError, match=r"tls\.password: expected the password of the key, which is"):
        TlsConfig(**issued.config)
    with pytest.raises(ConfigError, match=r"tls\.password: expected the password of the key$") as caught:
        TlsConfig(**issued.config, password="wrong")
    assert "wrong" not in str(caught.value)
    for unfit in ("x" * 1025, "\udc80"):
        with pytest.raises(ConfigError, match=r"tls\.password: expected at most 1024 bytes of UTF-8$"):
            TlsConfig(**issued.config, password=unfit)


@pytest.mark.parametrize(
    ("changed", "key", "complaint"),
    [
        ({"certificate": None}, "certificate", "got nothing"),
        ({"certificate": 5}, "certificate", "got 5"),
        ({"certificate": "{folder}/absent.pem"}, "certificate", "cannot read '.*absent.pem': No such file"),
        ({"certificate": "{folder}"}, "certificate", "cannot read .*: Is a directory"),
        ({"key": "{folder}/absent.key"}, "key", "cannot read '.*absent.key': No such file"),
        ({"key": "{other}"}, "key", "do not fit"),
        ({"key": "a\0b"}, "key", "expected the path of a PEM file, got 'a.x00b'"),
        ({"certificate": "\udc80\ud800"}, "certificate", "expected the path of a PEM file"),
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
    assert caught.value.key == f"tls.{key}"


def test_a_renewal_is_all_or_none(tmp_path: Path) -> None:
    first, second = issue(tmp_path, "a"), issue(tmp_path, "b")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain = ServerConfig()
    servers = [ServerConfig(tls=TlsConfig(**first.config)), plain, ServerConfig(tls=TlsConfig(**second.config))]
    servers.append(replace(plain, tls=own))
    certificates = Certificates("websocket", servers)
    sources = [certificates.source(server) for server in servers]
    assert sources[1] is None
    before = [source() for source in sources if source is not None]
    assert before[2] is own
    issue(tmp_path, "a")
    os.unlink(second.certificate)
    with pytest.raises(ConfigError, match=r"websocket\.tls\.certificate: cannot read '.*b\.pem'"):
        certificates.reload()
    assert [source() for source in sources if source is not None] == before
    issue(tmp_path, "b")
    certificates.reload()
    after = [source() for source in sources if source is not None]
    assert after[0] is not before[0] and after[1] is not before[1] and after[2] is own


class Vanishing(os.PathLike[str]):
    """The path of a file that is there when it is looked at, and gone when it is used."""

    def __init__(self, path: str, left: int) -> None:
        self.path, self.left = path, left

    def __fspath__(self) -> str:
        self.left -= 1
        if self.left < 0:
            Path(self.path).unlink(missing_ok=True)
        return self.path


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
def test_a_file_that_vanishes_before_it_is_loaded_is_named(key: str, tmp_path: Path) -> None:
    issued, member = issue(tmp_path), issue(tmp_path, "member")
    given: dict[str, Any] = {**issued.config, "client_ca": member.certificate}
    with pytest.raises(ConfigError, match=r"cannot read '.*': No such file") as caught:
        TlsConfig(**{**given, key: Vanishing(given[key], 1)})
    assert caught.value.key == f"tls.{key}" and caught.value.__suppress_context__


def shaken(context: ssl.SSLContext, trusting: ssl.SSLContext, name: str | None) -> ssl.SSLObject:
    """The client's side of a handshake, with a name in it (SNI) or without."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting.check_hostname = name is not None
    client = trusting.wrap_bio(back, there, server_hostname=name)
    server = context.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.getpeercert()
    return client


@pytest.mark.parametrize("name", ["localhost", None], ids=["by name", "without a name"])
def test_one_context_that_lasts_has_the_newest_certificate(name: str | None, tmp_path: Path) -> None:
    first = issue(tmp_path)
    server = ServerConfig(tls=TlsConfig(**first.config))
    certificates = Certificates("server", (server,), ("h2", "http/1.1"))
    lasting = certificates.lasting(server)
    assert lasting is not None
    trusts_first = first.trusting()
    early = shaken(lasting, trusts_first, name)
    second = issue(tmp_path)
    certificates.reload()
    asking = second.trusting()
    asking.set_alpn_protocols(["h2"])
    late = shaken(lasting, asking, name)
    assert [_serial(each) for each in (early, late)] == [first.serial, second.serial]
    assert (early.selected_alpn_protocol(), late.selected_alpn_protocol()) == (None, "h2")
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(lasting, trusts_first, name)
    Path(second.key).unlink()
    with pytest.raises(ConfigError, match=r"server\.tls\.key"):
        certificates.reload()
    assert _serial(shaken(lasting, second.trusting(), name)) == second.serial


def test_the_end_of_a_connection_waits_for_nobody(tmp_path: Path) -> None:
    issued = issue(tmp_path)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(issued.certificate, issued.key)
    for tls in (own, TlsConfig(**issued.config)):
        server = ServerConfig(tls=tls)
        lasting = Certificates("server", (server,)).lasting(server)
        assert lasting is not None
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = issued.trusting().wrap_bio(back, there, server_hostname="localhost")
        ending = lasting.wrap_bio(there, back, server_side=True)
        for side in (client, ending, client, ending):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        ending.unwrap()
        assert client.read(1) == b""  # it has said close_notify
        assert own.sslobject_class is ssl.SSLObject


def _serial(side: ssl.SSLObject) -> int:
    shown: Any = side.getpeercert()
    return int(shown["serialNumber"], 16)


def test_what_tls_of_a_section_may_be(tmp_path: Path) -> None:
    own, files = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), issue(tmp_path).config
    made = TlsConfig(**files)
    assert [read_tls(each) for each in (None, own, made, files)] == [None, own, made, made]
    for wrong in ("a.pem", 5, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)):
        with pytest.raises(ConfigError, match=r"^tls: expected a "):
            read_tls(wrong)
    with pytest.raises(ConfigError, match=r"tls\.certificates: unknown key"):
        read_tls({"certificates": "a.pem"})
