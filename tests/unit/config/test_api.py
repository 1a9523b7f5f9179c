from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config import api, loader
from minienvoy.errors import ConfigError

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def any_of(value: dict[str, Any]) -> Any:
    extension = loader.load_dict({"name": "x", "typed_config": value}, "envoy.config.core.v3.TypedExtensionConfig")
    return extension.message.typed_config


def typed_struct(kind: str, type_name: str, **value: Any) -> Any:
    return any_of({"@type": f"t/{kind}", "type_url": f"type.googleapis.com/{type_name}", "value": value})


def test_payload_comes_out_of_an_any() -> None:
    packed = any_of({"@type": f"type.googleapis.com/{TCP_PROXY}", "stat_prefix": "a"})
    assert api.type_of(packed) == TCP_PROXY
    assert api.unpack(packed).stat_prefix == "a"


@pytest.mark.parametrize("kind", api.TYPED_STRUCTS)
def test_typed_struct_becomes_the_message_it_names(kind: str) -> None:
    packed = typed_struct(kind, TCP_PROXY, stat_prefix="a", idle_timeout="2s", max_connect_attempts=3)
    assert api.type_of(packed) == TCP_PROXY
    message = api.unpack(packed)
    assert message.DESCRIPTOR.full_name == TCP_PROXY
    assert (message.idle_timeout.seconds, message.max_connect_attempts.value) == (2, 3)


def test_typed_struct_of_a_type_without_proto_stays_one() -> None:
    packed = typed_struct("xds.type.v3.TypedStruct", "example.Mine", colour="red")
    assert api.type_of(packed) == "example.Mine"
    assert api.struct_to_dict(api.unpack(packed).value) == {"colour": "red"}


def test_field_that_a_typed_struct_must_not_have_is_named_with_its_path() -> None:
    packed = typed_struct("xds.type.v3.TypedStruct", TCP_PROXY, stat_prefx="a")
    with pytest.raises(ConfigError, match=r"no such field: 'stat_prefx'.*did you mean 'stat_prefix'") as caught:
        api.unpack(packed, "filters[0].typed_config")
    assert caught.value.path == "filters[0].typed_config.value.stat_prefx"


def test_constraints_of_a_payload_are_checked_when_asked_for() -> None:
    packed = any_of({"@type": f"type.googleapis.com/{TCP_PROXY}", "cluster": "a"})
    assert api.unpack(packed).cluster == "a"
    with pytest.raises(
        ConfigError, match=r"TcpProxyValidationError\.StatPrefix: value length must be at least 1"
    ) as caught:
        api.unpack(packed, "x.typed_config", validate=True)
    assert caught.value.path == "x.typed_config.stat_prefix"


def test_unknown_type_is_an_error_with_the_nearest_type() -> None:
    packed = api.message_class("google.protobuf.Any")(type_url=f"type.googleapis.com/{TCP_PROXY}y")
    with pytest.raises(ConfigError, match=f"could not find @type '.*TcpProxyy'.*did you mean '{TCP_PROXY}'"):
        api.unpack(packed)


def test_bytes_of_another_type_are_an_error() -> None:
    packed = api.message_class("google.protobuf.Any")(type_url=f"type.googleapis.com/{TCP_PROXY}", value=b"\xff\xff")
    with pytest.raises(ConfigError, match=f"Unable to unpack as {TCP_PROXY}"):
        api.unpack(packed, "here")
