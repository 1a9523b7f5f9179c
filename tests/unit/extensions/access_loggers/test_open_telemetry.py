"""Access logs by OTLP; what Envoy sends is in tests/conformance/scenarios/otel_access_log.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.access_log.access_log import AccessLog
from minienvoy.config.api import message_class
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.extensions.access_loggers import open_telemetry
from minienvoy.extensions.access_loggers.open_telemetry import CONFIG_TYPE, create_open_telemetry_access_log
from minienvoy.server.factory_context import FactoryContext
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
REQUEST = message_class("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest")
RESPONSE = message_class("opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse")
HTTP = {"http_uri": {"uri": "http://logs.test/v1/logs", "cluster": "a", "timeout": "1s"}}
TEXT = {"string_value": "%REQ(:PATH)% %REQ(none)%"}


class Exporter:
    """In place of one that tells somebody."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: list[Any] = []

    def export(self, request: bytes, on_answer: Any) -> None:
        self.requests.append(REQUEST.FromString(request))
        self.answers.append(on_answer)

    def records(self) -> list[Any]:
        return [each for one in self.requests for each in one.resource_logs[0].scope_logs[0].log_records]

    def resource(self) -> dict[str, str]:
        attributes = self.requests[0].resource_logs[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}


@pytest.fixture
def logged(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> Any:
    exporter = Exporter()
    monkeypatch.setattr(open_telemetry, "_exporter", lambda config, server: exporter)

    def make(**config: Any) -> tuple[Bench, Exporter]:
        register_catalogue()
        b = bench()
        scope = b.store.scope("")
        context: Any = FactoryContext(b.server, scope, scope, lambda: False)
        emits = [
            create_open_telemetry_access_log(
                load_dict({"http_service": HTTP, **each}, CONFIG_TYPE).message, context, ""
            )
            for each in config.pop("several", [config])
        ]
        b.config.access_logs = tuple(AccessLog(emit) for emit in emits)
        return b, exporter

    return make


def ask(b: Bench, request: bytes = GET) -> None:
    b.client().send(request)
    b.upstream.send(OK)


def test_a_line_is_sent_when_its_time_has_come(logged: Any) -> None:
    b, exporter = logged(body=TEXT)
    ask(b)
    b.advance(0.9)
    assert not exporter.requests
    b.advance(0.2)
    assert [each.body.string_value for each in exporter.records()] == ["/ -"]
    b.advance(10)
    assert len(exporter.requests) == 1


def test_lines_are_sent_when_there_are_enough_of_them(logged: Any) -> None:
    b, exporter = logged(body=TEXT, buffer_size_bytes=25)
    ask(b)
    assert not exporter.requests
    ask(b)
    assert len(exporter.records()) == 2
    b.advance(5)
    assert len(exporter.requests) == 1


def test_logs_of_the_same_configuration_share_what_waits(logged: Any) -> None:
    b, exporter = logged(several=[{"body": TEXT}, {"body": TEXT}, {"body": {"string_value": "other"}}])
    ask(b)
    b.advance(1.1)
    assert sorted(len(one.resource_logs[0].scope_logs[0].log_records) for one in exporter.requests) == [1, 2]


def test_bodies_and_attributes_are_trees_in_their_order(logged: Any) -> None:
    body = {
        "kvlist_value": {
            "values": [
                {"key": "z", "value": {"string_value": "%RESPONSE_CODE%"}},
                {"key": "a", "value": {"array_value": {"values": [{"string_value": "é"}, {"kvlist_value": {}}]}}},
            ]
        }
    }
    b, exporter = logged(body=body, attributes={"values": [{"key": "b", "value": TEXT}]}, buffer_size_bytes=1)
    ask(b)
    (record,) = exporter.records()
    first, second = record.body.kvlist_value.values
    assert (first.key, first.value.string_value) == ("z", "200")
    assert [each.WhichOneof("value") for each in second.value.array_value.values] == ["string_value", "kvlist_value"]
    assert second.value.array_value.values[0].string_value == "é"
    assert [(each.key, each.value.string_value) for each in record.attributes] == [("b", "/ -")]
    assert record.time_unix_nano % 1000 == 0


def test_who_tells_is_the_node_and_what_the_configuration_says_over_what_detectors_find(logged: Any) -> None:
    found = {
        "name": "s",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3."
            "StaticConfigResourceDetectorConfig",
            "attributes": {"k": "found", "f": "it"},
        },
    }
    own = {"values": [{"key": "k", "value": {"string_value": "mine"}}]}
    b, exporter = logged(log_name="l", resource_detectors=[found], resource_attributes=own, buffer_size_bytes=0)
    ask(b)
    assert exporter.resource() == {
        "log_name": "l",
        "zone_name": "",
        "cluster_name": "",
        "node_name": "node",
        "f": "it",
        "k": "mine",
    }


def test_custom_tags_are_attributes(logged: Any) -> None:
    tags = [{"tag": "t", "literal": {"value": "v"}}, {"tag": "none", "request_header": {"name": "none"}}]
    b, exporter = logged(custom_tags=tags, buffer_size_bytes=0)
    ask(b)
    assert [(each.key, each.value.string_value) for each in exporter.records()[0].attributes] == [("t", "v")]


@pytest.mark.parametrize(
    ("answer", "written", "dropped"),
    [
        (b"", 2, 0),
        (None, 0, 2),
        (RESPONSE(partial_success={"rejected_log_records": 1}).SerializeToString(), 1, 1),
        (RESPONSE(partial_success={"rejected_log_records": 9}).SerializeToString(), 0, 2),
        (b"\xff", 0, 2),
    ],
)
def test_what_was_taken_is_counted(logged: Any, answer: bytes | None, written: int, dropped: int) -> None:
    b, exporter = logged(body=TEXT)
    ask(b)
    ask(b)
    b.advance(1.1)
    exporter.answers[0](answer)
    prefix = "access_logs.open_telemetry_access_log"
    assert b.stats(f"{prefix}.logs_written", f"{prefix}.logs_dropped") == [written, dropped]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({}, "log.grpc_service"),
        ({"http_service": HTTP, "grpc_service": {"envoy_grpc": {"cluster_name": "a"}}}, "log.grpc_service"),
        ({"http_service": HTTP, "body": {"int_value": 7}}, "log.body"),
        ({"http_service": HTTP, "attributes": {"values": [{"key": "a"}]}}, "log.attributes.values[0].value"),
        (
            {
                "common_config": {
                    "log_name": "l",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "a"}},
                    "transport_api_version": "V2",
                }
            },
            "log.common_config.transport_api_version",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_its_place(bench: MakeBench, config: dict[str, Any], path: str) -> None:
    b = bench()
    scope = b.store.scope("")
    context: Any = FactoryContext(b.server, scope, scope, lambda: False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        create_open_telemetry_access_log(load_dict(config, CONFIG_TYPE).message, context, "log")
    assert caught.value.path == path
