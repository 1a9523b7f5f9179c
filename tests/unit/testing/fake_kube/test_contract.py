"""Exchanges with a real API server (1.36), made again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minienvoy.testing.fake_kube import FakeKube
from minienvoy.testing.fake_kube.request import Request
from minienvoy.testing.fake_kube.resource_types import NAMESPACES, SERVICES
from minienvoy.testing.fake_kube.store import Key

from .conftest import put_as_recorded, recorded, recorded_watch

OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "clusterIP", "clusterIPs")
"""Members that differ between two servers that do the same."""


def asked(kube: FakeKube, request: dict[str, Any]) -> tuple[int, str, Any]:
    body = request.get("body")
    answer = kube.api.handle(
        Request(
            request["method"],
            request["path"],
            request["query"],
            {name.lower(): value for name, value in request["headers"].items()},
            b"" if body is None else json.dumps(body).encode(),
        )
    )
    text = answer.body.decode()
    return (
        answer.status,
        answer.content_type,
        json.loads(text) if answer.content_type.startswith("application/json") else text,
    )


def without(value: Any, *names: str) -> Any:
    if isinstance(value, dict):
        return {name: without(each, *names) for name, each in value.items() if name not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("list_endpointslices_7", 300),
        ("list_limit3", 308),
        ("list_limit3_rv0", 308),
        ("list_rv_0", 306),
        ("list_rv_exact", 308),
        ("list_rv_future_notolder", 308),
        ("list_match_without_rv", 308),
        ("list_sendInitialEvents_without_watch", 308),
        ("list_bad_limit", 308),
        ("list_labelselector", 308),
        ("list_labelselector_bad", 308),
        ("list_fieldselector_name", 308),
        ("list_fieldselector_unsupported", 308),
        ("list_continue_garbage", 308),
        ("list_continue_with_rv", 308),
        ("list_unknown_namespace", 310),
        ("list_accept_unsupported_406", 308),
        ("create_exists_409", 308),
        ("create_in_missing_namespace_404", 308),
        ("create_invalid_422", 308),
        ("create_loopback_address", 308),
        ("create_linklocal_address", 308),
        ("get_404", 308),
        ("unknown_resource_404", 308),
        ("unknown_group_404", 308),
    ],
)
def test_lists_and_refusals_are_those_of_a_real_server(seven: FakeKube, name: str, version: int) -> None:
    exchange = recorded(name)
    seven.store.version = version
    response = exchange["response"]
    assert asked(seven, exchange["request"]) == (
        response["status"],
        response["headers"]["Content-Type"],
        response["body"],
    )


@pytest.mark.parametrize("name", ["create_fqdn_slice", "create_ipv6_slice", "create_service", "create_pod"])
def test_what_is_created_is_completed_as_by_a_real_server(seven: FakeKube, name: str) -> None:
    seven.registry.create(NAMESPACES, "", {"metadata": {"name": "lab"}})
    exchange = recorded(name)
    status, content_type, body = asked(seven, exchange["request"])
    response = exchange["response"]
    assert (status, content_type) == (response["status"], response["headers"]["Content-Type"])
    differs = DIFFERENCES.get(name, ())
    assert without(body, *OF_THE_SERVER, *differs) == without(response["body"], *OF_THE_SERVER, *differs)
    assert list(body) == list(response["body"])


DIFFERENCES = {
    # Defaults of containers and security that discovery does not see; the node of the recording has a zone.
    "create_pod": ("containers", "enableServiceLinks", "securityContext", "labels", "priority", "preemptionPolicy",
                   "serviceAccount", "serviceAccountName", "volumes", "tolerations"),
}  # fmt: skip
"""Members that are not compared, each with a reason."""


def test_pages_are_of_one_version_whatever_happens_in_between(seven: FakeKube) -> None:
    pages = recorded("list_pagination_pages_with_concurrent_change")
    seven.store.version = 308
    request = recorded("list_limit3")["request"]
    token = ""
    for page in pages:
        query = {"limit": "3", **({"continue": token} if token else {})}
        status, _, body = asked(seven, {**request, "query": query})
        assert (status, body) == (200, page)
        token = body["metadata"].get("continue", "")
        seven.apply(slice_named("s6", changed="yes"))
        seven.apply(slice_named("s9"))


def slice_named(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "lab3", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.0.1"]}],
        "ports": [],
    }


def test_a_page_of_a_compacted_version_is_410_with_a_token_for_the_rest(kube: FakeKube) -> None:
    expired = recorded("list_continue_expired_410")
    rest = recorded("list_continue_inconsistent_after_410")
    first = rest["response"]["body"]["items"][0]
    for number, version in enumerate((371, 347, 348, 349, 350)):
        metadata = {**first["metadata"], "name": f"s{number}", "resourceVersion": str(version)}
        put_as_recorded(kube, [{**first, "metadata": metadata}])
    kube.store.version = 377
    kube.compact()
    assert asked(kube, expired["request"])[::2] == (410, expired["response"]["body"])
    _, _, body = asked(kube, rest["request"])
    assert body["metadata"] == rest["response"]["body"]["metadata"]
    assert [each["metadata"]["name"] for each in body["items"]] == ["s2", "s3"]


def test_an_exact_version_that_is_compacted_is_410(seven: FakeKube) -> None:
    exchange = recorded("list_rv_exact_expired_410")
    seven.store.version = 377
    seven.compact()
    assert asked(seven, exchange["request"])[::2] == (410, exchange["response"]["body"])


def test_before_everything_there_is_nothing(seven: FakeKube) -> None:
    exchange = recorded("list_rv_exact_old")
    assert asked(seven, exchange["request"])[::2] == (200, exchange["response"]["body"])


def test_who_writes_over_a_change_that_he_has_not_seen_is_refused(seven: FakeKube) -> None:
    exchange = recorded("update_conflict_409")
    seven.apply(slice_named("s1"))
    assert asked(seven, exchange["request"])[::2] == (409, exchange["response"]["body"])


def test_a_deletion_is_answered_with_what_was_deleted(seven: FakeKube) -> None:
    exchange = recorded("delete_endpointslice_200")
    seven.apply(slice_named("new"))
    _, _, body = asked(seven, exchange["request"])
    assert without(body, "uid") == without(exchange["response"]["body"], "uid")


@pytest.mark.parametrize("name", ["list_as_table", "list_as_partialobjectmetadata"])
def test_forms_are_negotiated(seven: FakeKube, name: str) -> None:
    exchange = recorded(name)
    _, content_type, body = asked(seven, exchange["request"])
    theirs = exchange["response"]["body"]
    assert content_type == exchange["response"]["headers"]["Content-Type"]
    assert (body["kind"], body["apiVersion"], list(body)) == (theirs["kind"], theirs["apiVersion"], list(theirs))
    if name == "list_as_table":
        columns = [(each["name"], each["format"]) for each in theirs["columnDefinitions"]]
        assert [(each["name"], each["format"]) for each in body["columnDefinitions"]] == columns
        cells = {each["cells"][0]: each["cells"][:4] for each in theirs["rows"]}
        ours = {each["cells"][0]: each["cells"][:4] for each in body["rows"]}
        unchanged = ("s0", "s2", "s3", "s4", "s5")
        assert [ours[each] for each in unchanged] == [cells[each] for each in unchanged]
    else:
        found = {each["metadata"]["name"]: each for each in body["items"]}
        there = {each["metadata"]["name"]: each for each in theirs["items"]}
        assert (found["s0"], found["s2"]) == (there["s0"], there["s2"])


def test_documents_of_discovery(kube: FakeKube) -> None:
    version = recorded("discovery_version")
    _, _, body = asked(kube, version["request"])
    compared = ("major", "minor", "gitVersion", "platform", "emulationMajor", "minCompatibilityMinor")
    assert {name: body[name] for name in compared} == {name: version["response"]["body"][name] for name in compared}
    for name in ("discovery_readyz", "discovery_apis_discovery_group"):
        exchange = recorded(name)
        assert asked(kube, exchange["request"])[::2] == (200, exchange["response"]["body"])


# -- watches


def lines_of(kube: FakeKube, request: dict[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    headers = {name.lower(): value for name, value in request["headers"].items()}
    answer = kube.api.handle(Request(request["method"], request["path"], request["query"], headers))
    if answer.watch is None:
        return [json.loads(answer.body)], answer
    return [json.loads(line) for line in answer.watch.lines], answer


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("watch_rv_unset_timeout3", 300),
        ("watch_rv_0_timeout3", 300),
        ("watch_rv_future", 300),
        ("watch_rv_garbage", 300),
        ("watchlist_initial_events", 304),
        ("watchlist_initial_events_rv0", 304),
        ("watchlist_no_bookmarks_flag", 304),
        ("watchlist_without_resourceVersionMatch", 304),
    ],
)
def test_watches_begin_as_those_of_a_real_server(seven: FakeKube, name: str, version: int) -> None:
    asked_for, lines = recorded_watch(name)
    seven.store.version = version
    found, answer = lines_of(seven, asked_for["request"])
    assert (answer.status, found) == (asked_for["response"]["status"], lines)


def test_a_watch_of_an_old_version_is_told_in_its_stream(kube: FakeKube) -> None:
    asked_for, lines = recorded_watch("watch_410_rv_1")
    kube.store.version = 373
    kube.compact()
    found, answer = lines_of(kube, asked_for["request"])
    assert (answer.status, found, answer.watch.over) == (200, lines, True)


@pytest.mark.parametrize("name", ["watch_rv_current_timeout5_bookmarks", "watchlist_sendInitialEvents_false"])
def test_bookmarks(seven: FakeKube, name: str) -> None:
    asked_for, lines = recorded_watch(name)
    seven.store.version = 300
    found, answer = lines_of(seven, asked_for["request"])
    assert found == []
    seven.store.version = int(lines[-1]["object"]["metadata"]["resourceVersion"])
    answer.watch.bookmark()
    assert [json.loads(line) for line in answer.watch.lines] == lines[-1:]


def test_what_enters_and_leaves_a_selector_is_added_and_deleted(seven: FakeKube) -> None:
    asked_for, lines = recorded_watch("watch_labelselector_enter_leave")
    seven.store.version = 315
    found, answer = lines_of(seven, asked_for["request"])
    assert found == []
    s2 = seven.get("EndpointSlice", "lab3/s2")
    labels = s2["metadata"]["labels"]
    seven.apply({**s2, "metadata": {**s2["metadata"], "labels": {**labels, "tier": "z"}}})
    seven.apply({**s2, "metadata": {**s2["metadata"], "labels": labels}})
    seven.apply(slice_named("new", tier="x"))
    seven.delete("EndpointSlice", "lab3/new")
    assert told(answer) == [
        (each["type"], each["object"]["metadata"]["name"], each["object"]["metadata"]["resourceVersion"])
        for each in lines
    ]
    assert json.loads(answer.watch.lines[0])["object"]["metadata"]["labels"] == lines[0]["object"]["metadata"]["labels"]


def told(answer: Any) -> list[tuple[str, str, str]]:
    found = []
    for line in answer.watch.lines:
        event = json.loads(line)
        metadata = event["object"]["metadata"]
        found.append((event["type"], metadata["name"], metadata["resourceVersion"]))
    return found


def test_a_collection_is_deleted_one_by_one(seven: FakeKube) -> None:
    asked_for, lines = recorded_watch("watch_deletecollection")
    _, answer = lines_of(seven, {**asked_for["request"], "query": {"watch": "true", "resourceVersion": "0"}})
    request = recorded("deletecollection")["request"]
    _, _, body = asked(seven, request)
    assert body["kind"] == recorded("deletecollection")["response"]["body"]["kind"]
    kinds = [kind for kind, _, _ in told(answer)]
    assert kinds == ["ADDED"] * 7 + ["DELETED"] * 7
    assert {each["type"] for each in lines} == {"ADDED", "DELETED"}


# -- the life of a service, step by step

POD = {"kind": "Pod", "apiVersion": "v1"}


class Life:
    """The recorded steps."""

    def __init__(self, kube: FakeKube, settle: Any) -> None:
        self.kube = kube
        self.settle = settle
        kube.registry.create(NAMESPACES, "", {"metadata": {"name": "lab"}})
        kube.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": zone("eu-1a")}})
        kube.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-b", "labels": zone("eu-1b")}})
        settle()
        self.answers = {}
        for name in ("pods", "services", "endpoints", "endpointslices"):
            request = recorded_watch(f"watch_lifecycle_{name}")[0]["request"]
            query = {"watch": "true", "resourceVersion": str(kube.store.version)}
            self.answers[name] = lines_of(kube, {**request, "query": query})[1]

    def create(self, exchange_name: str, name: str = "", node: str = "") -> None:
        exchange = recorded(exchange_name)["request"]
        body = exchange["body"]
        if name:
            metadata, spec = {**body["metadata"], "name": name}, {**body["spec"], "nodeName": node}
            body = {**body, "metadata": metadata, "spec": spec}
        assert asked(self.kube, {**exchange, "body": body})[0] == 201
        self.settle()

    def ready(self, pod: str, ready: bool, address: str) -> None:
        self.kube.set_ready(f"lab/{pod}", ready, address)
        self.settle()

    def label(self, pod: str, app: str) -> None:
        each = self.kube.get("Pod", f"lab/{pod}")
        self.kube.apply(
            {**each, "metadata": {**each["metadata"], "labels": {**each["metadata"]["labels"], "app": app}}}
        )
        self.settle()

    def delete(self, pod: str, grace: int) -> None:
        self.kube.delete("Pod", f"lab/{pod}", grace=grace)
        self.settle()

    def fail(self, pod: str) -> None:
        key = self.kube._key("Pod", f"lab/{pod}")
        each = self.kube.get("Pod", f"lab/{pod}")
        self.kube.registry.update(key, {**each, "status": {**each["status"], "phase": "Failed"}})
        self.settle()

    def seen(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.answers[name].watch.lines]


def zone(name: str) -> dict[str, str]:
    return {"topology.kubernetes.io/zone": name, "topology.kubernetes.io/region": "eu-1"}


@pytest.fixture
def life(kube: FakeKube, settle: Any) -> Life:
    life = Life(kube, settle)
    life.create("create_service")
    life.create("create_pod")
    life.ready("web-0", False, "10.1.0.10")
    life.ready("web-0", True, "10.1.0.10")
    life.create("create_pod", name="web-1", node="node-b")
    life.ready("web-1", True, "10.1.1.11")
    life.ready("web-1", False, "10.1.1.11")
    life.ready("web-1", True, "10.1.1.11")
    life.label("web-1", "other")
    life.label("web-1", "web")
    life.delete("web-1", 30)
    life.ready("web-1", False, "10.1.1.11")
    life.delete("web-1", 0)
    life.fail("web-0")
    life.delete("web-0", 0)
    service = kube.get("Service", "lab/web")
    ports = [{**service["spec"]["ports"][0], "port": 81}]
    kube.registry.update(Key(SERVICES, "lab", "web"), {**service, "spec": {**service["spec"], "ports": ports}})
    life.settle()
    kube.delete("Service", "lab/web")
    life.settle()
    return life


def events_of(name: str) -> list[dict[str, Any]]:
    return [each for each in recorded_watch(f"watch_lifecycle_{name}")[1] if each["type"] != "BOOKMARK"]


def test_the_life_of_a_pod_has_the_same_events(life: Life) -> None:
    def summary(events: list[dict[str, Any]]) -> list[Any]:
        return [
            (
                each["type"],
                each["object"]["metadata"]["name"],
                each["object"]["metadata"]["generation"],
                each["object"]["metadata"].get("deletionGracePeriodSeconds"),
                each["object"]["status"]["phase"],
                each["object"]["metadata"]["labels"],
            )
            for each in events
        ]

    assert summary(life.seen("pods")) == summary(events_of("pods"))


def test_the_slice_of_a_service_goes_the_same_way(life: Life) -> None:
    def summary(events: list[dict[str, Any]]) -> list[Any]:
        return [
            (
                each["type"],
                each["object"]["metadata"]["generation"],
                without(each["object"]["endpoints"], "uid"),
                each["object"]["ports"],
                each["object"]["addressType"],
                each["object"]["metadata"]["labels"],
                [owner["kind"] for owner in each["object"]["metadata"]["ownerReferences"]],
            )
            for each in events
        ]

    assert summary(life.seen("endpointslices")) == summary(events_of("endpointslices"))


def test_the_service_and_its_endpoints_have_the_same_events(life: Life) -> None:
    services = [each["type"] for each in life.seen("services")]
    assert services == [each["type"] for each in events_of("services")]

    def summary(events: list[dict[str, Any]]) -> list[Any]:
        return [(each["type"], without(each["object"].get("subsets"), "uid")) for each in events]

    assert summary(life.seen("endpoints")) == summary(events_of("endpoints"))
