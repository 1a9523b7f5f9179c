from __future__ import annotations

import json
from typing import Any

import pytest

from minienvoy.discovery.kubernetes.objects import SERVICES, EndpointSlice, pods, slim_slice
from minienvoy.discovery.kubernetes.reflector import LONGEST_LINE

from .conftest import Asked, Recordings, exhaust, item, line, listing


def test_lists_in_pages_and_then_watches_from_the_version_of_the_list(asked: Asked) -> None:
    assert asked.query() == {"limit": "500"}
    assert asked.answer(listing("7", item("a"), **{"continue": "next"})) == 0.0
    assert (asked.names(), asked.store.synced) == ([], False)
    assert asked.query() == {"limit": "500", "continue": "next"}
    assert asked.answer(listing("7", item("b"))) == 0.0
    assert (asked.names(), asked.store.synced) == (["a", "b"], True)
    query = asked.query()
    assert 240 <= int(query.pop("timeoutSeconds")) <= 300
    assert query == {"resourceVersion": "7", "watch": "true", "allowWatchBookmarks": "true"}


def test_selectors_are_in_every_request() -> None:
    asked = Asked(label_selector="app=web", field_selector="metadata.name=a")
    assert asked.query() == {"limit": "500", "labelSelector": "app=web", "fieldSelector": "metadata.name=a"}
    asked.answer(listing("7"))
    assert {"labelSelector", "fieldSelector"} <= asked.query().keys()


def test_the_recorded_life_of_a_service_leaves_nothing_behind(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("215"))
    seen = []
    lines = recorded.lines("watch_lifecycle_endpointslices").splitlines(keepends=True)
    asked.ask()
    asked.reflector.answered(200)
    for each in lines:
        exhaust(asked.reflector.watched(each))
        seen.append([(e.addresses[0], e.ready, e.serving, e.terminating) for s in asked.store for e in s.endpoints])  # type: ignore[attr-defined]
    assert seen[1] == [("10.1.0.10", False, False, False)]
    assert seen[2] == [("10.1.0.10", True, True, False)]
    assert [len(each) for each in seen] == [0, 1, 1, 2, 2, 2, 1, 2, 2, 2, 1, 0, 0, 0, 0]
    assert asked.names() == []
    assert (asked.stats.events, asked.stats.bookmarks, asked.stats.malformed) == (13, 2, 0)


def test_pods_and_services_come_and_go_as_recorded(recorded: Recordings) -> None:
    for name, resource in (("watch_lifecycle_pods", pods()), ("watch_lifecycle_services", SERVICES)):
        asked = Asked(resource)
        asked.answer({**listing("215"), "kind": "List"})
        asked.watch(recorded.lines(name))
        assert asked.stats.malformed == 0
        assert asked.stats.events > 2
        assert all(each.version.isdigit() for each in asked.store)


def test_250_pods_up_and_125_down_end_as_the_server_lists_them(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("667"))
    asked.watch(recorded.lines("watch_big_service_slices"))
    expected = {slim_slice(each) for each in recorded.items("list_big_service_slices_after_churn")}
    assert set(asked.store) == expected
    assert sum(len(each.endpoints) for each in expected if each is not None) == 125


def test_any_cut_of_the_bytes_gives_the_same_events(recorded: Recordings) -> None:
    lines = recorded.lines("watch_lifecycle_endpointslices")[:9000]
    whole, pieces = Asked(), Asked()
    for asked in (whole, pieces):
        asked.answer(listing("215"))
    whole.watch(lines)
    pieces.watch(*(lines[at : at + 37] for at in range(0, len(lines), 37)))
    assert list(whole.store) == list(pieces.store) != []
    assert whole.stats.events == pieces.stats.events


def test_a_selector_that_is_left_is_a_deletion(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("1"))
    asked.watch(recorded.lines("watch_labelselector_enter_leave"))
    assert asked.stats.malformed == 0
    assert asked.stats.events >= 2


def test_a_forgotten_version_lists_again_and_tells_only_what_changed(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("1", item("stays", "1"), item("goes", "1"), item("changes", "1")))
    asked.told.clear()
    asked.watch(recorded.lines("watch_410_rv_1"), lasted=0.01)
    assert asked.names() == ["stays", "goes", "changes"]
    assert asked.query() == {"limit": "500"}
    asked.answer(listing("400", item("stays", "1"), item("changes", "9"), item("comes", "8")))
    assert sorted(asked.names()) == ["changes", "comes", "stays"]
    assert len(asked.told) == 1
    assert asked.stats.relists == 1


def test_410_as_a_status_lists_again(asked: Asked) -> None:
    asked.answer(listing("1", item("a")))
    asked.answer({"kind": "Status", "code": 410, "message": "Expired"}, 410)
    assert asked.query() == {"limit": "500"}
    assert asked.names() == ["a"]


def test_pages_that_expire_are_asked_for_in_one_piece(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("7", item("a"), **{"continue": "next"}))
    asked.answer(recorded.body("list_continue_expired_410"), 410)
    assert asked.query() == {}
    asked.answer(listing("9", item("b")))
    assert asked.names() == ["b"]
    asked.watch(recorded.lines("watch_410_rv_1"), lasted=0.0)
    assert asked.query() == {"limit": "500"}


def test_recorded_pages_are_one_snapshot(recorded: Recordings, asked: Asked) -> None:
    for page in recorded.pages("list_pagination_pages_with_concurrent_change"):
        asked.answer(page)
    assert asked.store.synced
    assert asked.names() == [f"s{number}" for number in range(7)]


# -- WatchList


def test_a_watch_that_begins_with_everything_takes_one_request(recorded: Recordings) -> None:
    asked = Asked(watch_list=True)
    query = asked.query()
    assert query.pop("timeoutSeconds").isdigit()
    assert query == {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "watch": "true",
        "allowWatchBookmarks": "true",
    }
    asked.watch(recorded.lines("watchlist_initial_events"))
    assert (len(asked.names()), asked.store.synced, len(asked.told)) == (7, True, 1)
    assert asked.query()["resourceVersion"] == "304"


@pytest.mark.parametrize(
    ("name", "status"), [("watchlist_etcd34_in_stream_error_500", 200), ("watchlist_without_resourceVersionMatch", 422)]
)
def test_a_server_that_can_not_is_listed_at_once(recorded: Recordings, name: str, status: int) -> None:
    asked = Asked(watch_list=True)
    text = recorded.lines(name)
    assert (asked.watch(text, lasted=0.0) if status == 200 else asked.answer(text, status)) == 0.0
    assert asked.query() == {"limit": "500"}


def test_initial_events_that_are_cut_change_nothing(recorded: Recordings) -> None:
    asked = Asked(watch_list=True)
    half = recorded.lines("watchlist_initial_events")[:2500]
    asked.watch(half, problem="cut", lasted=0.1)
    assert (asked.names(), asked.store.synced) == ([], False)
    assert asked.query() == {"limit": "500"}


def test_what_is_deleted_meanwhile_is_not_there_in_the_end() -> None:
    asked = Asked(watch_list=True)
    end = line("BOOKMARK", version="9", annotations={"k8s.io/initial-events-end": "true"})
    asked.watch(line("ADDED", "a"), line("ADDED", "b"), line("DELETED", "a", "8"), end)
    assert asked.names() == ["b"]


# -- what is broken


def test_a_cut_goes_on_where_it_ended_once_the_server_is_known_to_be_there(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("371", item("s5"), item("s6")))
    asked.watch(recorded.lines("watch_cut_sigkill_apiserver"), problem="cut")
    assert asked.query() == {"limit": "1"}
    assert asked.answer(listing("380")) == 0.0
    assert asked.query()["resourceVersion"] == "372"
    assert asked.names() == ["s5", "s6"]  # the recorded one was of another namespace


def test_bookmarks_move_the_version(recorded: Recordings, asked: Asked) -> None:
    asked.answer(listing("300"))
    asked.watch(recorded.lines("watch_rv_current_timeout5_bookmarks"))
    assert asked.query()["resourceVersion"] == "301"


def test_a_server_that_lost_its_newest_versions_is_listed_again(asked: Asked) -> None:
    asked.answer(listing("500", item("a"), item("b")))
    asked.watch(problem="cut")
    assert asked.answer(listing("90")) == 0.0
    assert asked.names() == ["a", "b"]
    assert asked.query() == {"limit": "500"}
    asked.answer(listing("91", item("b")))
    assert asked.names() == ["b"]


@pytest.mark.parametrize("kind", ["BOOKMARK", "MODIFIED"])
def test_an_older_version_within_a_watch_is_the_same_case(asked: Asked, kind: str) -> None:
    asked.answer(listing("500", item("a")))
    asked.watch(line(kind, "a", "90"), line("ADDED", "b", "91"))
    assert asked.names() == ["a"]
    assert asked.query() == {"limit": "500"}


NONSENSE = (
    b'<html><body>502 Bad Gateway</body></html>\n\n  \nnull\n[]\n{}\n{"type":"ADDED"}\n{"type":"ADDED","object":null}\n'
)


def test_nonsense_between_events_is_skipped_and_counted(asked: Asked) -> None:
    asked.answer(listing("1"))
    asked.watch(line("ADDED", "a", "2"), NONSENSE, line("ADDED", "b", "3"), line("FUNNY", "c", "4"))
    assert asked.names() == ["a", "b"]
    assert asked.stats.malformed == 9


def test_half_a_line_at_the_end_is_no_event(asked: Asked) -> None:
    asked.answer(listing("1"))
    asked.watch(line("ADDED", "a", "2") + line("ADDED", "b", "3")[:20], problem="cut")
    assert (asked.names(), asked.stats.malformed) == (["a"], 1)
    asked.answer(listing("3"))
    assert asked.query()["resourceVersion"] == "2"


def test_nulls_in_an_object_are_nothing_special(asked: Asked) -> None:
    asked.answer(listing("1"))
    nulls = {"addressType": None, "ports": None, "endpoints": [{"addresses": None, "conditions": None}, None]}
    text = {"type": "ADDED", "object": {"metadata": {"name": "a", "labels": None, "resourceVersion": "2"}, **nulls}}
    asked.watch(json.dumps(text).encode() + b"\n")
    (found,) = asked.store
    assert isinstance(found, EndpointSlice)
    assert (found.ports, found.endpoints[0].addresses, found.endpoints[0].ready) == (None, (), True)


@pytest.mark.parametrize("body", [b"<html>", b"", b"{}", b"null", b"[]", b'{"items": []}', b'{"kind": "Status"}'])
def test_what_is_no_list_does_not_empty_the_store(asked: Asked, body: bytes) -> None:
    asked.answer(listing("1", item("a")))
    asked.answer(b"", 410)
    assert asked.answer(body) > 0
    assert asked.names() == ["a"]
    assert asked.stats.malformed == 1
    asked.answer(listing("2"))
    assert asked.names() == []


def test_a_line_without_an_end_is_given_up(asked: Asked) -> None:
    asked.answer(listing("1"))
    asked.ask()
    asked.reflector.answered(200)
    exhaust(asked.reflector.watched(b"x" * (LONGEST_LINE + 1)))
    assert asked.reflector.over
    assert "no end" in asked.reflector.problem


def test_an_object_of_three_megabytes_is_one(asked: Asked) -> None:
    asked.answer(listing("1"))
    text = line("ADDED", "a", "2", annotations={"a": "x" * 3_000_000})
    asked.watch(*(text[at : at + 65536] for at in range(0, len(text), 65536)))
    assert (asked.names(), asked.stats.malformed) == (["a"], 0)


def test_401_asks_for_other_credentials(recorded: Recordings, asked: Asked) -> None:
    assert asked.answer(recorded.body("unauth_bad_token"), 401) > 0
    assert asked.reflector.unauthorized
    asked.ask()
    assert not asked.reflector.unauthorized


def test_403_names_the_verb_and_the_resource(recorded: Recordings, asked: Asked) -> None:
    asked.answer(recorded.body("unauth_anonymous"), 403)
    assert asked.reflector.forbidden
    assert asked.reflector.problem.startswith(
        'not allowed to list endpointslices in the namespace "lab": a Role must give the verbs get, list and watch on '
        'endpointslices in the API group "discovery.k8s.io"'
    )
    asked.answer(listing("1"))
    assert (asked.reflector.forbidden, asked.reflector.problem) == (False, "")
    asked.answer({"code": 403}, 403)
    assert asked.reflector.problem.startswith("not allowed to watch endpointslices")


def test_retry_after_is_waited_for(asked: Asked) -> None:
    assert asked.answer({"code": 429}, 429, retry_after=17.0) == 17.0
    assert asked.answer({"code": 503}, 503, retry_after=100000.0) == 300.0


def test_a_version_that_is_refused_again_and_again_is_given_up(asked: Asked) -> None:
    asked.answer(listing("abc"))
    for _ in range(3):
        assert asked.query()["resourceVersion"] == "abc"
        asked.answer({"code": 500, "message": "Invalid value"}, 500)
    assert asked.query() == {"limit": "500"}


# -- how often it asks


def waits(asked: Asked, fail: Any, count: int = 200) -> list[float]:
    return [fail(asked) for _ in range(count)]


def test_failures_are_repeated_after_a_time_that_doubles_with_full_jitter(asked: Asked) -> None:
    waited = waits(asked, lambda asked: asked.refuse(), 300)
    assert all(each <= limit for each, limit in zip(waited, (0.5, 1, 2, 4, 8, 16), strict=False))
    assert max(waited) <= 30
    late = waited[10:]
    assert 12 < sum(late) / len(late) < 18
    assert min(late) < 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: asked.watch(lasted=0.0),
        lambda asked: asked.watch(NONSENSE, lasted=0.0),
        lambda asked: asked.watch(line("BOOKMARK", version="5"), lasted=0.0),
        lambda asked: asked.watch(line("ADDED", "a", "5"), lasted=0.0),
        lambda asked: asked.watch(line("ADDED", "a", "5"), lasted=0.0, problem="cut"),
        lambda asked: asked.answer(b"<html>", 500),
        lambda asked: asked.refuse(),
        lambda asked: asked.answer(b"", 410) if asked.reflector._version else asked.answer(listing("5")),
    ],
    ids=["empty", "nonsense", "a bookmark", "an event", "an event and a cut", "500", "refused", "410 for ever"],
)
def test_no_server_is_asked_more_than_once_a_second_on_average(asked: Asked, answer: Any) -> None:
    asked.answer(listing("5"))
    now, requests = 0.0, 0
    while now < 600:
        if asked.reflector._probe:
            # What the server says between its failures does not matter here.
            asked.answer(listing("5"))
            requests += 1
        now += answer(asked)
        requests += 1
    assert requests <= 601


def test_the_end_of_a_watch_that_worked_is_followed_by_the_next_at_once(asked: Asked) -> None:
    asked.answer(listing("5"))
    assert asked.watch(line("BOOKMARK", version="6"), lasted=270.0) == 0.0
    assert asked.watch(line("ADDED", "a", "7"), lasted=0.25) == 1.75
    assert asked.stats.watch_restarts == 2
