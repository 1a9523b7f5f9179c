"""Keys, passwords and tickets are in no output of a process: not in its log, not in what it tells of itself, not in the
error of a configuration that is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from minienvoy.cli import main
from minienvoy.errors import ConfigError, hide_keys
from minienvoy.extensions.transport_sockets.tls.ticket_keys import _key
from minienvoy.network.certificate_authority import CertificateAuthority

TYPES = "type.googleapis.com/envoy.extensions"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
PASSWORD = "correct-horse-battery-staple"
TICKET_KEY = b"ticket-key-of-eighty-bytes/" + b"0123456789abcdefghij" * 2 + b"-and-thirteen"
OTHER_TICKET_KEY = TICKET_KEY[::-1]
TOKEN = "a-generic-secret-that-nobody-tells"


class Secrets:
    """Everything that must not be told, and the forms that it could be told in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = CertificateAuthority()
        leaf, other = (self.authority.issue(name, key="rsa") for name in ("a.test", "b.test"))
        self.certificate, self.key = leaf.certificate.decode(), leaf.private_key.decode()
        self.other_key = other.private_key.decode()
        private = load_pem_private_key(leaf.private_key, None)
        encryption = BestAvailableEncryption(PASSWORD.encode())
        self.encrypted_key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
        own = load_pem_x509_certificate(leaf.certificate)
        self.pkcs12 = pkcs12.serialize_key_and_certificates(b"x", private, own, None, encryption)
        self._forms: dict[bytes, str] = {}
        for pem in (self.key, self.other_key, self.encrypted_key):
            lines = pem.splitlines()[1:-1]
            der = base64.b64decode("".join(lines))
            # Parts of lines, too: what is cut off is told all the same.
            for line in lines:
                self._forms |= {line[at : at + 24].encode(): "a line of a key" for at in (0, 20, 40) if line[at + 23 :]}
            self._add(der[len(der) // 2 :][:24], "a key")
        self._add(PASSWORD.encode(), "the password")
        self._add(TOKEN.encode(), "the generic secret")
        for key in (TICKET_KEY, OTHER_TICKET_KEY):
            assert len(key) == 80
            self._add(key[30:60], "a ticket key")
        self._add(self.pkcs12[len(self.pkcs12) // 2 :][:24], "the PKCS#12 file")

    def _add(self, secret: bytes, name: str) -> None:
        forms = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
        forms.add(urllib.parse.quote(secret).encode())
        forms.add(json.dumps(secret.decode("latin-1"))[1:-1].encode())
        for skipped in range(3):
            text = base64.b64encode(b"\0" * skipped + secret)
            forms.add(text[4 if skipped else 0 : -4])
        self._forms |= dict.fromkeys(forms, name)

    def told_in(self, output: bytes) -> list[str]:
        return sorted({f"{name}: {form!r}" for form, name in self._forms.items() if form in output})

    def file(self, name: str, content: str | bytes) -> str:
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    return Secrets(tmp_path_factory.mktemp("secrets"))


def test_the_forms_of_a_secret_are_found(secrets):
    for told in (
        secrets.key,
        json.dumps(secrets.key),
        PASSWORD,
        repr(TICKET_KEY),
        TOKEN,
        secrets.key.splitlines()[4][:48],
    ):
        assert secrets.told_in(told.encode())
    assert secrets.told_in(base64.b64encode(b"xx" + PASSWORD.encode() + b"yy"))
    assert not secrets.told_in(secrets.certificate.encode())


def inline(value: str) -> dict[str, str]:
    return {"inline_string": value}


def inline_bytes(value: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(value).decode()}


def configuration(common: dict[str, Any], **settings: Any) -> dict[str, Any]:
    echo = {"name": "envoy.filters.network.echo", "typed_config": {"@type": f"{TYPES}.filters.network.echo.v3.Echo"}}
    context = {"@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
    chain = {"filters": [echo], "transport_socket": {"name": "tls", "typed_config": context | settings}}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"static_resources": {"listeners": [{"name": "main", "address": address, "filter_chains": [chain]}]}}


def _certificates(*certificates: dict[str, Any], **common: Any) -> dict[str, Any]:
    return {"tls_certificates": list(certificates), **common}


def _broken(key: Any = None, password: Any = None) -> Callable[[Secrets], dict[str, Any]]:
    """A configuration with `key(secrets)` for a private key."""

    def made(secrets: Secrets) -> dict[str, Any]:
        shown: dict[str, Any] = {"certificate_chain": inline(secrets.certificate), "private_key": key(secrets)}
        if password is not None:
            shown["password"] = password
        return configuration(_certificates(shown))

    return made


def _beside(**settings: Any) -> Callable[[Secrets], dict[str, Any]]:
    """A good certificate, and something that is wrong beside it."""

    def made(secrets: Secrets) -> dict[str, Any]:
        shown = {"certificate_chain": inline(secrets.certificate), "private_key": inline(secrets.key)}
        return configuration(_certificates(shown), **{name: value(secrets) for name, value in settings.items()})

    return made


def _common(**settings: Any) -> Callable[[Secrets], dict[str, Any]]:
    def made(secrets: Secrets) -> dict[str, Any]:
        shown = {"certificate_chain": inline(secrets.certificate), "private_key": inline(secrets.key)}
        return configuration(_certificates(shown, **{name: value(secrets) for name, value in settings.items()}))

    return made


def _pkcs12(**settings: Any) -> Callable[[Secrets], dict[str, Any]]:
    return lambda secrets: configuration(_certificates({name: value(secrets) for name, value in settings.items()}))


WRONG: dict[str, Callable[[Secrets], Any]] = {
    "a wrong password": _broken(lambda s: inline(s.encrypted_key), inline(PASSWORD + "r")),
    "no password": _broken(lambda s: inline(s.encrypted_key)),
    "a password that is no data source": _broken(lambda s: inline(s.encrypted_key), PASSWORD),
    "a line of the key that is turned round": _broken(lambda s: inline(_with_line_reversed(s.key))),
    "half of a key": _broken(lambda s: inline(s.key[:500])),
    "the key of another certificate": _broken(lambda s: inline(s.other_key)),
    "a key that is no data source": _broken(lambda s: s.key),
    "a key in a list": _broken(lambda s: [s.key]),
    "a key in a list of strings": _broken(lambda s: {"inline_string": [s.key]}),
    "a key in an object": _broken(lambda s: {"inline_string": {"key": s.key}}),
    "a field that is not there": _broken(lambda s: {"inline_strin": s.key}),
    "a key for the name of a field": _broken(lambda s: {s.key: "inline_string"}),
    "a key that is not base64": _broken(lambda s: {"inline_bytes": s.key}),
    "a key twice": _broken(lambda s: {"inline_string": s.key, "inline_bytes": s.key}),
    "a key for the name of a file": _broken(lambda s: {"filename": s.key}),
    "a key for the name of a variable": _broken(lambda s: {"environment_variable": s.key}),
    "a key for the certificate": lambda s: configuration(
        _certificates({"certificate_chain": inline(s.key), "private_key": inline(s.certificate)})
    ),
    "a key for an authority": _common(validation_context=lambda s: {"trusted_ca": inline(s.key)}),
    "a key for a protocol": _common(alpn_protocols=lambda s: [s.key]),
    "a key for a hash": _common(validation_context=lambda s: {"verify_certificate_hash": [s.key]}),
    "a key for a cipher suite": _common(tls_params=lambda s: {"cipher_suites": [s.key]}),
    "a key for a curve": _common(tls_params=lambda s: {"ecdh_curves": [s.key]}),
    "a ticket key that is too short": _beside(session_ticket_keys=lambda s: {"keys": [inline_bytes(TICKET_KEY[:79])]}),
    "a ticket key that is no data source": _beside(session_ticket_keys=lambda s: {"keys": [TICKET_KEY.decode()]}),
    "a ticket key that is not base64": _beside(
        session_ticket_keys=lambda s: {"keys": [{"inline_bytes": TICKET_KEY.decode()}]}
    ),
    "an unknown field beside a key": _beside(nothing_of_the_kind=lambda s: True),
    "a PKCS#12 file and the wrong password": _pkcs12(
        pkcs12=lambda s: inline_bytes(s.pkcs12), password=lambda s: inline(PASSWORD + "r")
    ),
    "a PKCS#12 file that is a key": _pkcs12(pkcs12=lambda s: inline_bytes(s.key.encode())),
    "a PKCS#12 file beside a key": _pkcs12(
        pkcs12=lambda s: inline_bytes(s.pkcs12), private_key=lambda s: inline(s.key)
    ),
    "a provider of keys": _pkcs12(
        private_key_provider=lambda s: {
            "provider_name": "x",
            "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": PASSWORD},
        }
    ),
    "a key for a generic secret": lambda s: {
        "static_resources": {"secrets": [{"name": "x", "generic_secret": {"secret": TOKEN}}]}
    },
}


def _with_line_reversed(pem: str) -> str:
    lines = pem.splitlines()
    lines[3] = lines[3][::-1]
    return "\n".join(lines) + "\n"


@pytest.fixture
def validate(secrets: Secrets, capfd: pytest.CaptureFixture[str]) -> Callable[[str, str], bytes]:
    """Everything that `--mode validate` says of a text that is wrong, at the level of the log that says most."""

    def validate(text: str, suffix: str) -> bytes:
        file = secrets.file(f"wrong.{suffix}", text)
        assert main(["minienvoy", "-c", file, "--mode", "validate", "-l", "trace"]) == 1
        assert main(["minienvoy", "explain", "-c", file, "http://a.test/"]) == 1
        if suffix == "yaml":
            assert main(["minienvoy", "--config-yaml", text, "--mode", "validate", "-l", "trace"]) == 1
        shown = capfd.readouterr()
        return (shown.out + shown.err).encode()

    return validate


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    from minienvoy import logger

    before = logger.get("config").level
    yield
    logger.set_level(before)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("what", WRONG)
def test_the_error_of_a_configuration_tells_no_secret(what, suffix, secrets, validate):
    config = WRONG[what](secrets)
    said = validate(json.dumps(config, indent=1) if suffix == "json" else yaml.safe_dump(config), suffix)
    assert said
    assert secrets.told_in(said) == []


BROKEN_TEXTS: dict[str, Callable[[Secrets, str], str]] = {
    "cut off": lambda s, good: good[:-20],
    "a tab": lambda s, good: good.replace("inline_string", "\tinline_string"),
    "words before": lambda s, good: "@ : : {\n" + good,
    "a key and nothing else": lambda s, good: s.key,
    "an encrypted key and nothing else": lambda s, good: s.encrypted_key,
    "an open quotation mark": lambda s, good: f'a: "{s.key}',
    "a line of a key as an alias": lambda s, good: f"a: *{s.key.splitlines()[3]}",
    "a line of a key as a value": lambda s, good: f"static_resources: {s.key.splitlines()[2]}",
    "a line of a key as a name": lambda s, good: f"{s.key.splitlines()[2]}: x",
    "brackets that stay open": lambda s, good: "a: {b: [" + s.key,
}


@pytest.mark.parametrize("suffix", ["json", "yaml", "pb_text", "pb"])
@pytest.mark.parametrize("what", BROKEN_TEXTS)
def test_the_error_of_a_text_tells_no_secret(what, suffix, secrets, validate):
    good = _broken(lambda s: inline(s.key))(secrets)
    text = BROKEN_TEXTS[what](secrets, yaml.dump(good, default_style="|") if suffix == "yaml" else json.dumps(good))
    assert secrets.told_in(validate(text, suffix)) == []


def test_keys_are_hidden_and_nothing_else():
    authority = CertificateAuthority()
    key = authority.issue("a").private_key.decode()
    assert hide_keys(f"no file {key}!") == "no file -----BEGIN PRIVATE KEY-----[redacted]\n!"
    assert str(ConfigError("wrong", f"a.{key[:80]}")).endswith("-----BEGIN PRIVATE KEY-----[redacted]: wrong")
    for harmless in (
        authority.certificate.decode().splitlines()[0],
        "/a/path/with/many/parts/that/has/no/capitals/and/digits/and/goes/on/and/on/file",
        "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ):
        assert hide_keys(harmless) == harmless


def test_what_is_printed_of_keys_in_memory(secrets):
    assert repr(_key(TICKET_KEY)) == "<ticket key>"


# -- a server


def everything(secrets: Secrets) -> dict[str, Any]:
    """Secrets in every form that there is."""
    directory = secrets.directory
    chain = inline(secrets.certificate)
    forms: dict[str, dict[str, Any]] = {
        "string": {"private_key": inline(secrets.key)},
        "bytes": {"private_key": inline_bytes(secrets.key.encode())},
        "encrypted": {"private_key": inline(secrets.encrypted_key), "password": inline(PASSWORD)},
        "file": {"private_key": {"filename": secrets.file("key.pem", secrets.key)}},
        "variable": {
            "private_key": {"environment_variable": "KEY_OF_THE_TEST"},
            "password": {"environment_variable": "PASSWORD_OF_THE_TEST"},
        },
    }
    certificates = [{"certificate_chain": chain, **form} for form in forms.values()]
    certificates.append({"pkcs12": inline_bytes(secrets.pkcs12), "password": inline(PASSWORD)})
    tickets = {"keys": [inline_bytes(TICKET_KEY), {"filename": secrets.file("ticket.key", OTHER_TICKET_KEY)}]}
    config = configuration(_certificates(*certificates), session_ticket_keys=tickets)
    (listener,) = config["static_resources"]["listeners"]
    by_secret = configuration(
        {
            "tls_certificate_sds_secret_configs": [
                {"name": "static"},
                {"name": "of_file", "sds_config": {"path_config_source": {"path": f"{directory}/sds.yaml"}}},
            ]
        },
        session_ticket_keys_sds_secret_config={"name": "tickets"},
    )
    (second,) = by_secret["static_resources"]["listeners"]
    http = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [
                {"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
        ],
        "access_log": [{"name": "log", "typed_config": {"@type": f"{TYPES}.access_loggers.stream.v3.StdoutAccessLog"}}],
    }
    third = json.loads(json.dumps(listener))
    third["filter_chains"][0]["filters"] = [{"name": "http", "typed_config": http}]
    for name, each in (("first", listener), ("second", second), ("third", third)):
        each["name"] = name
    upstream = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _certificates({"certificate_chain": chain, **forms["encrypted"]}),
    }
    config["static_resources"] = {
        "listeners": [listener, second, third],
        "clusters": [
            {"name": "up", "type": "STATIC", "transport_socket": {"name": "tls", "typed_config": upstream}},
        ],
        "secrets": [
            {"name": "static", "tls_certificate": {"certificate_chain": chain, **forms["encrypted"]}},
            {"name": "tickets", "session_ticket_keys": {"keys": [inline_bytes(TICKET_KEY)]}},
        ],
    }
    config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    config["node"] = {"id": "me", "cluster": "us"}
    return config


def sds_file(secrets: Secrets, key: str) -> None:
    resource = {
        "@type": f"type.googleapis.com/{SECRET}",
        "name": "of_file",
        "tls_certificate": {"certificate_chain": inline(secrets.certificate), "private_key": inline(key)},
    }
    new = secrets.directory / "new.yaml"
    new.write_text(yaml.safe_dump({"resources": [resource], "version_info": "1"}))
    new.replace(secrets.directory / "sds.yaml")


ASKED = (
    "/",
    "/help",
    "/certs",
    "/clusters",
    "/clusters?format=json",
    "/config_dump",
    "/config_dump?include_eds",
    "/config_dump?resource=static_listeners",
    "/config_dump?resource=static_clusters",
    "/config_dump?resource=static_secrets",
    "/config_dump?resource=dynamic_active_secrets",
    "/config_dump?mask=bootstrap",
    "/config_dump?mask=bootstrap.static_resources",
    "/config_dump?resource=bootstrap",
    "/init_dump",
    "/listeners",
    "/listeners?format=json",
    "/memory",
    "/runtime",
    "/server_info",
    "/stats",
    "/stats?format=json",
    "/stats?format=html",
    "/stats/prometheus",
    "/minienvoy/explain",
    "/minienvoy/faults",
    "/minienvoy/kubernetes",
    "/minienvoy/unsupported",
)


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def shake_hands(port: int) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="a.test")
        writer.write(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        await reader.read(1)
        writer.close()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"this is no TLS at all\r\n\r\n")
    writer.close()


async def _until(condition: Callable[[], Any]) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it took too long")


@pytest.mark.asyncio
@pytest.mark.parametrize("by", ["file", "command line"])
async def test_a_server_tells_no_secret(by, secrets, monkeypatch):
    monkeypatch.setenv("KEY_OF_THE_TEST", secrets.encrypted_key)
    monkeypatch.setenv("PASSWORD_OF_THE_TEST", PASSWORD)
    sds_file(secrets, secrets.key)
    text = yaml.safe_dump(everything(secrets))
    given = ["-c", secrets.file("good.yaml", text)] if by == "file" else ["--config-yaml", text]
    output, admin = secrets.directory / f"output {by}", secrets.directory / f"admin {by}"
    # A pipe would have to be read all the time.
    with output.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "minienvoy", *given, "-l", "trace", "--explain"),
            *("--admin-address-path", str(admin)),
            stdout=sink,
            stderr=sink,
        )
    try:
        await _until(lambda: process.returncode is not None or (admin.exists() and admin.read_text()))
        assert process.returncode is None, output.read_text()[-2000:]
        port = int(admin.read_text().rpartition(":")[2])
        told = {path: await get(port, path) for path in ASKED}
        ports = [int(each) for each in re.findall(rb"127\.0\.0\.1:(\d+)", told["/listeners"])]
        assert len(ports) == 3
        for each in ports:
            await shake_hands(each)
        # A secret that can not be used, and a whole file that can not.
        sds_file(secrets, secrets.other_key)
        await _until(lambda: b"a TLS context stays as it is" in output.read_bytes())
        told |= {f"{path} then": await get(port, path) for path in ASKED}
        for path, answer in told.items():
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 404")), path
            assert secrets.told_in(answer) == [], path
        assert b"[redacted]" in told["/config_dump"]
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0
    said = output.read_bytes()
    assert b"a TLS context stays as it is" in said and b"GET / HTTP/1.1" in said
    assert secrets.told_in(said) == []


def test_explanations_tell_no_secret(secrets, monkeypatch, capfd):
    monkeypatch.setenv("KEY_OF_THE_TEST", secrets.encrypted_key)
    monkeypatch.setenv("PASSWORD_OF_THE_TEST", PASSWORD)
    sds_file(secrets, secrets.key)
    file = secrets.file("good.yaml", yaml.safe_dump(everything(secrets)))
    for form in ("text", "json"):
        assert (
            main(["minienvoy", "explain", "-c", file, "--listener", "third", "--format", form, "https://a.test/"]) == 0
        )
    shown = capfd.readouterr()
    assert shown.out
    assert secrets.told_in((shown.out + shown.err).encode()) == []


def test_a_server_that_does_not_start_does_not_repeat_its_command_line(secrets, capfd):
    config = _broken(lambda s: inline(s.encrypted_key), inline(PASSWORD + "r"))(secrets)
    assert main(["minienvoy", "--config-yaml", yaml.safe_dump(config)]) == 1
    shown = capfd.readouterr()
    assert "Failed to load private key" in shown.err
    assert secrets.told_in((shown.out + shown.err).encode()) == []
