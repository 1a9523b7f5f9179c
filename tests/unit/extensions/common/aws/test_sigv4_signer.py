"""Signatures are those that Envoy has made of the same requests at the same second (`tests/data/aws`)."""

from __future__ import annotations

import calendar
import json
import re
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from minienvoy.extensions.common.aws.credential_provider import credentials_of_file
from minienvoy.extensions.common.aws.sigv4_signer import Credentials, SigV4Signer, canonical_query
from minienvoy.http.header_map import RequestHeaderMap, entry

RECORDED = json.loads(Path("tests/data/aws/signed_by_envoy.json").read_text())
"""By the name of a signer: heads of requests as they came out; the second of them was asked for as `AWKWARD`."""
AWKWARD = "/a//b/./c%20d/e~f$?x=1&b=2&a=%2F+z&c&x=0=1"
PATHS = ("/", AWKWARD, "/p/", "/q", "/z")
BODIES = {2: b"hello", 3: b"abc"}
SIGNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vpc-lattice-svcs", {}),
    "unsigned": ("vpc-lattice-svcs", {}),
    "host": ("vpc-lattice-svcs", {}),
    "s3": ("s3", {}),
    "glacier": ("glacier", {}),
    "es": ("es", {}),
    "s3express": ("s3express", {}),
    "outposts": ("s3-outposts", {}),
    "excluded": ("vpc-lattice-svcs", {"excluded": (lambda name: name.startswith(b"x-"),)}),
    "included": ("vpc-lattice-svcs", {"included": (lambda name: name.startswith(b"x-a"),)}),
    "query": ("vpc-lattice-svcs", {"expiration": 5}),
    "query60": ("s3", {"expiration": 60}),
}
OURS = {"x-amz-content-sha256", "x-amz-security-token", "x-amz-date", "authorization"}
LATER = {"x-envoy-expected-rq-timeout-ms", "transfer-encoding"}


@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("number", range(len(PATHS)))
def test_it_signs_as_envoy_does(name: str, number: int) -> None:
    service, settings = SIGNERS[name]
    in_query = "expiration" in settings
    method, path, _ = RECORDED[name][number][0].split(" ")
    said = [line.partition(":")[::2] for line in RECORDED[name][number][1:]]
    values = {name: value.strip() for name, value in said}
    date = re.search(r"X-Amz-Date=(\w+)", path)
    when = calendar.timegm(time.strptime(date[1] if date else values["x-amz-date"], "%Y%m%dT%H%M%SZ"))
    hidden = {"host", *LATER, *({"x-amz-content-sha256"} if in_query else OURS)}
    headers = RequestHeaderMap(
        method.encode(),
        PATHS[number].encode(),
        values["host"].encode(),
        [entry(each.encode(), value[1:].encode()) for each, value in said if each not in hidden],
    )
    unsigned = name == "unsigned"
    content_hash = "UNSIGNED-PAYLOAD" if unsigned else sha256(BODIES.get(number, b"")).hexdigest()
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI", "TOKEN")
    SigV4Signer(service, "us-west-2", **settings).sign(headers, content_hash, credentials, when)
    assert headers.path.decode() == path
    if not in_query:
        assert {each: (headers.get(each.encode()) or b"").decode() for each in OURS} == {
            each: values[each] for each in OURS
        }


@pytest.mark.parametrize(
    ("path", "made", "made_for_keys"),
    [
        ("//", "/", "//"),
        ("/a/.", "/a", "/a/."),
        ("/x/../y/%2e%2e/%7e", "/y/%252e%252e/%257e", "/x/../y/%252e%252e/%257e"),
        ("/%E4%BD", "/%25E4%25BD", "/%E4%BD"),
        ("/a=b&c@d!:", "/a%3Db%26c%40d%21%3A", "/a%3Db%26c%40d%21%3A"),
    ],
)
def test_paths_in_the_one_form_that_is_signed(path: str, made: str, made_for_keys: str) -> None:
    assert (SigV4Signer("es", "r").canonical_path(path), SigV4Signer("s3", "r").canonical_path(path)) == (
        made,
        made_for_keys,
    )


def test_parameters_are_decoded_sorted_and_encoded() -> None:
    asked = "q=a/b:c;d,e*f'(g)&Q=%7E&q=%zz&=v&%41=1&a%3Db=c%3Dd&p=="
    assert canonical_query(asked) == "=v&A=1&Q=~&a%3Db=c%3Dd&p=%3D&q=%25zz&q=a%2Fb%3Ac%3Bd%2Ce%2Af%27%28g%29"


def test_a_file_says_credentials_by_profile() -> None:
    text = "[other]\naws_access_key_id=no\n[mine]\n# so\nAWS_Access_Key_Id = id\naws_secret_access_key=s=1\n"
    assert credentials_of_file(text, "mine") == Credentials("id", "s=1")
    assert credentials_of_file(text, "other") is None
    assert credentials_of_file(text, "nobody") is None
