"""A configuration of production runs where its certificates are not."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.errors import ConfigError, UsageError
from minienvoy.network.x509 import DNS, URI, certificates_of
from minienvoy.testing import ca
from minienvoy.testing.fake_upstream import FakeUpstream

TYPES = "type.googleapis.com/envoy.extensions"
SDS = {"path_config_source": {"path": "/nowhere/sds.yaml"}}


def tls(kind: str, common: dict[str, Any], **settings: Any) -> dict[str, Any]:
    typed = {"@type": f"{TYPES}.transport_sockets.tls.v3.{kind}TlsContext", "common_tls_context": common, **settings}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def production(downstream: dict[str, Any], upstream: dict[str, Any] | None = None, **chain: Any) -> dict[str, Any]:
    hcm = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "users",
                    "domains": ["users.prod.test", "*.users.prod.test", "prod.test:443"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "users"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    cluster: dict[str, Any] = {"name": "users", "type": "STRICT_DNS"}
    if upstream is not None:
        cluster["transport_socket"] = upstream
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}]
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 443}},
                    "filter_chains": [{"filters": filters, "transport_socket": downstream, **chain}],
                }
            ],
            "clusters": [cluster],
        }
    }


FILES = {
    "tls_certificates": [
        {
            "certificate_chain": {"filename": "/nowhere/tls.crt"},
            "private_key": {"filename": "/nowhere/tls.key"},
            "password": {"filename": "/nowhere/password"},
        }
    ]
}


async def ask(proxy: Proxy, context: ssl.SSLContext, name: str = "users.prod.test") -> tuple[bytes, ssl.SSLObject]:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=context, server_hostname=name)
        writer.write(f"GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        session = writer.get_extra_info("ssl_object")
        writer.close()
        return answer, session


@pytest.mark.asyncio
async def test_files_that_are_not_there_are_an_error_until_they_are_generated():
    config = production(tls("Downstream", FILES))
    with pytest.raises(ConfigError, match=r"unable to read file: /nowhere/tls\.crt"):
        async with Proxy.from_dict(config):
            pass
    async with (
        FakeUpstream("hello") as users,
        Proxy.from_dict(config, endpoints={"users": [users.address]}, certificates="generated") as proxy,
    ):
        assert proxy.url().startswith("https://127.0.0.1:")
        # The client checks the chain and the name, as a client does.
        answer, _ = await ask(proxy, proxy.ca.client_context())
        assert answer.endswith(b"hello")
        answer, _ = await ask(proxy, proxy.ca.client_context(), "eu.users.prod.test")
        assert answer.endswith(b"hello")
        answer, _ = await ask(proxy, proxy.ca.client_context(), "prod.test")
        assert answer.startswith(b"HTTP/1.1 404"), "the port is no part of a certificate's name"
        answer, _ = await ask(proxy, proxy.ca.client_context(), "localhost")
        assert answer.startswith(b"HTTP/1.1 404"), "its certificate is for this machine, too"
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(proxy, proxy.ca.client_context(), "other.test")


@pytest.mark.asyncio
async def test_the_names_that_a_filter_chain_matches_are_those_of_its_certificate():
    config = production(tls("Downstream", FILES), filter_chain_match={"server_names": ["*.sni.test"]})
    config["static_resources"]["listeners"][0]["listener_filters"] = [
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": f"{TYPES}.filters.listener.tls_inspector.v3.TlsInspector"},
        }
    ]
    async with Proxy.from_dict(config, endpoints={"users": ["127.0.0.1:1"]}, certificates="generated") as proxy:
        _, session = await ask(proxy, proxy.ca.client_context(), "a.sni.test")
        (shown,) = certificates_of(ssl.DER_cert_to_PEM_cert(session.getpeercert(True)).encode())
        assert shown.names(DNS) == ("*.sni.test", "localhost")


@pytest.mark.asyncio
async def test_both_ends_of_mutual_tls_are_of_one_authority_that_the_test_has():
    authority = ca()
    common = {
        **FILES,
        "validation_context": {
            "trusted_ca": {"filename": "/nowhere/ca.crt"},
            "crl": {"filename": "/nowhere/crl.pem"},
            "verify_certificate_hash": ["00" * 32],
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://prod/"}}],
        },
    }
    config = production(
        tls("Downstream", common, require_client_certificate=True),
        tls("Upstream", {**FILES, "validation_context": {"trusted_ca": {"filename": "/nowhere/ca.crt"}}}, sni="u.test"),
    )
    upstream = authority.issue("u.test").server_context(clients=authority)
    async with (
        FakeUpstream("hello", tls=upstream) as users,
        Proxy.from_dict(config, endpoints={"users": [users.address]}, certificates=authority) as proxy,
    ):
        assert proxy.ca is authority
        answer, _ = await ask(proxy, authority.issue("spiffe://prod/ns/web").client_context())
        assert answer.endswith(b"hello")
        for stranger in (authority.issue("spiffe://other/web"), ca().issue("spiffe://prod/web")):
            context = stranger.client_context()
            context.load_verify_locations(cadata=authority.certificate.decode())
            try:
                answer, _ = await ask(proxy, context)
            except OSError:
                answer = b""
            assert answer == b"", "names are checked as configured, and other authorities are not trusted"


@pytest.mark.asyncio
@pytest.mark.parametrize("sds", [SDS, {"ads": {}}, {"api_config_source": {"api_type": "GRPC"}}])
async def test_secrets_are_generated_wherever_they_would_come_from(sds):
    common = {
        "tls_certificate_sds_secret_configs": [{"name": "server", "sds_config": sds}],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://a"}}]
            },
            "validation_context_sds_secret_config": {"name": "ca", "sds_config": sds},
        },
    }
    async with (
        FakeUpstream("hello") as users,
        Proxy.from_dict(
            production(tls("Downstream", common, require_client_certificate=True)),
            endpoints={"users": [users.address]},
            certificates="generated",
        ) as proxy,
    ):
        answer, _ = await ask(proxy, proxy.ca.issue("spiffe://a").client_context())
        assert answer.endswith(b"hello")


@pytest.mark.asyncio
async def test_what_stands_in_the_configuration_itself_stays():
    own = ca().issue("users.prod.test", key="rsa")
    inline = {
        "certificate_chain": {"inline_string": own.certificate.decode()},
        "private_key": {"inline_string": own.private_key.decode()},
    }
    config = production(tls("Downstream", {"tls_certificates": [inline]}))
    async with (
        FakeUpstream("hello") as users,
        Proxy.from_dict(config, endpoints={"users": [users.address]}, certificates="generated") as proxy,
    ):
        answer, _ = await ask(proxy, own.authority.client_context())
        assert answer.endswith(b"hello")


def test_a_word_that_means_nothing_is_refused():
    with pytest.raises(UsageError, match="certificates='yes'"):
        Proxy.from_dict({}, certificates="yes")


def test_what_is_issued_says_whom_it_is_for_and_never_shows_its_key(tmp_path):
    leaf = ca("mine").issue("a.test", "10.1.2.3", "spiffe://a/b", "me@a.test", common_name="someone", key="rsa")
    (read,) = certificates_of(leaf.certificate)
    assert (read.subject, read.issuer) == ("CN=someone", "CN=mine")
    assert read.names(DNS) == ("a.test",)
    assert read.names(URI) == ("spiffe://a/b",)
    assert "PRIVATE" not in repr(leaf)
    certificate, key = leaf.write(tmp_path, "x")
    assert certificate.read_bytes() == leaf.certificate
    assert key.stat().st_mode & 0o077 == 0
    assert key.read_bytes() == leaf.private_key
    with pytest.raises(UsageError, match="no keys of kind 'dsa'"):
        ca().issue("a", key="dsa")


def test_an_expired_one_is_refused_by_who_checks():
    authority = ca()
    server, client = (
        authority.issue("a.test", expired=True).server_context(),
        authority.client_context(),
    )
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(into, out, server_hostname="a.test")
    right = server.wrap_bio(out, into, server_side=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        for each in (left, right, left):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
