"""Tags that the configuration adds to spans."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.access_log.context import FormatterContext
from minienvoy.config.api import message_class
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.stream_info import StreamInfo
from minienvoy.tracing.custom_tag import compile_custom_tags, plain_text

TYPE = "envoy.type.tracing.v3.CustomTag"


def value(tag: dict[str, Any], context: FormatterContext | None = None) -> str | None:
    proto = load_dict({"tag": "t", **tag}, TYPE).message
    (compiled,) = compile_custom_tags([proto], "custom_tags").values()
    return compiled(context or FormatterContext(StreamInfo()))


def of_headers(*pairs: tuple[bytes, bytes]) -> FormatterContext:
    headers = RequestHeaderMap(b"GET", b"/", b"a.com")
    for name, text in pairs:
        headers.add(name, text)
    return FormatterContext(StreamInfo(), headers)


def test_a_literal_is_what_it_says() -> None:
    assert value({"literal": {"value": "größe"}}) == "größe"


def test_the_environment_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG_OF_A_TEST", "there")
    proto = load_dict({"tag": "t", "environment": {"name": "TAG_OF_A_TEST"}}, TYPE).message
    compiled = compile_custom_tags([proto], "custom_tags")["t"]
    monkeypatch.delenv("TAG_OF_A_TEST")
    assert compiled(FormatterContext(StreamInfo())) == "there"
    assert value({"environment": {"name": "TAG_OF_A_TEST"}}) is None
    assert value({"environment": {"name": "TAG_OF_A_TEST", "default_value": "d"}}) == "d"


def test_a_header_is_text_whatever_bytes_it_has() -> None:
    tag = {"request_header": {"name": "X-H", "default_value": "d"}}
    assert value(tag, of_headers((b"x-h", "é".encode()))) == "é"
    assert value(tag, of_headers((b"x-h", b"a\xe9"))) == "a\ufffd"
    assert value(tag, of_headers()) == "d"
    assert value({"request_header": {"name": "x-h"}}, of_headers()) is None


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [("request", "dynamic_metadata"), ("route", "route_metadata"), ("cluster", "cluster_metadata")],
)
def test_metadata_of_every_kind(kind: str, attribute: str) -> None:
    info = StreamInfo()
    metadata = {"k": {"a": {"b": [1.0, 2.5, True]}}}
    if attribute == "dynamic_metadata":
        info.dynamic_metadata.update(metadata)
    else:
        setattr(info, attribute, metadata)
    path = {"key": "k", "path": [{"key": "a"}, {"key": "b"}]}
    assert value({"metadata": {"kind": {kind: {}}, "metadata_key": path}}, FormatterContext(info)) == "[1,2.5,true]"


def test_metadata_of_the_host_and_of_nobody() -> None:
    info = StreamInfo()
    tag = {
        "metadata": {"kind": {"host": {}}, "metadata_key": {"key": "k", "path": [{"key": "a"}]}, "default_value": "d"}
    }
    assert value(tag, FormatterContext(info)) == "d"
    info.upstream_host = SimpleNamespace(metadata={"k": {"a": "x"}})  # type: ignore[assignment]
    assert value(tag, FormatterContext(info)) == "x"
    del tag["metadata"]["kind"]
    assert value(tag, FormatterContext(info)) == "d"


def test_a_format_is_text_and_leaves_out_what_is_missing() -> None:
    assert value({"value": "é %REQ(x)%"}, of_headers((b"x", "日".encode()))) == "é 日"
    assert value({"value": "%REQ(x)%"}, of_headers()) is None


def test_of_two_tags_of_a_name_the_first_counts() -> None:
    protos = [load_dict({"tag": "t", "literal": {"value": each}}, TYPE).message for each in ("one", "two")]
    assert compile_custom_tags(protos, "tags")["t"](FormatterContext(StreamInfo())) == "one"


def test_a_wrong_format_and_a_tag_of_no_kind_are_refused_with_their_place() -> None:
    wrong = load_dict({"tag": "t", "value": "%NOPE%"}, TYPE).message
    with pytest.raises(ConfigError) as caught:
        compile_custom_tags([wrong], "custom_tags")
    assert caught.value.path == "custom_tags[0].value"
    with pytest.raises(ConfigError) as caught:
        compile_custom_tags([message_class(TYPE)(tag="t")], "custom_tags")
    assert caught.value.path == "custom_tags[0]"


@pytest.mark.parametrize(
    ("plain", "text"),
    [("a", "a"), (7.0, "7"), (1.5, "1.5"), (True, "true"), (None, "null"), ({"b": 1.0, "a": [2.0]}, '{"a":[2],"b":1}')],
)
def test_values_as_tags_show_them(plain: Any, text: str) -> None:
    assert plain_text(plain) == text
