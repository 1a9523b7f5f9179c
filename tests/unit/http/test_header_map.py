from __future__ import annotations

import pytest

from minienvoy.http.header_map import (
    KIND,
    ORDINARY,
    HeaderMap,
    RequestHeaderMap,
    ResponseHeaderMap,
    entry,
    join_repeated,
)


def test_headers_keep_their_order_and_their_repetitions() -> None:
    headers = HeaderMap.of([("X-A", "1"), ("via", "p"), ("x-a", "2")])
    assert headers.pairs() == [("x-a", "1"), ("via", "p"), ("x-a", "2")]
    assert (headers.get(b"x-a"), headers.get_all(b"x-a"), headers.joined(b"x-a")) == (b"1", [b"1", b"2"], b"1,2")
    assert (len(headers), [item[0] for item in headers]) == (3, [b"x-a", b"via", b"x-a"])


@pytest.mark.parametrize("name", [b"x-custom", b"via"])
def test_a_header_that_is_not_there(name: bytes) -> None:
    headers = HeaderMap.of([("x-a", "1")])
    assert (headers.get(name), headers.get_all(name), headers.joined(name)) == (None, [], None)
    assert (headers.has(name), headers.remove(name)) == (False, False)


@pytest.mark.parametrize("name", ["x-custom", "via"])
def test_setting_replaces_the_first_where_it_stands_and_drops_the_others(name: str) -> None:
    headers = HeaderMap.of([(name, "1"), ("x-b", "2"), (name, "3")])
    headers[name] = "new"
    assert headers.pairs() == [(name, "new"), ("x-b", "2")]
    headers["x-c"] = "appended"
    assert headers.pairs()[-1] == ("x-c", "appended")


@pytest.mark.parametrize("name", ["x-custom", "via"])
def test_removing_drops_every_repetition(name: str) -> None:
    headers = HeaderMap.of([(name, "1"), ("x-b", "2"), (name, "3")])
    del headers[name]
    assert headers.pairs() == [("x-b", "2")]
    with pytest.raises(KeyError):
        del headers[name]
    headers.add(name.encode(), b"again")
    assert headers[name] == "again"


def test_removing_by_prefix_and_by_kind() -> None:
    headers = HeaderMap.of([("x-envoy-a", "1"), ("via", "2"), ("server", "3"), ("x-b", "4")])
    headers.remove_prefix(b"x-envoy-")
    headers.remove_kinds(entry(b"via", b"")[3] | entry(b"server", b"")[3])
    assert headers.pairs() == [("x-b", "4")]


def test_text_survives_as_bytes() -> None:
    headers = HeaderMap()
    headers["x"] = "\xff"
    assert headers.get(b"x") == b"\xff"
    assert headers["X"] == "\xff"
    assert "X" in headers
    assert 1 not in headers
    with pytest.raises(KeyError):
        headers["y"]


def test_the_size_is_that_of_names_and_values() -> None:
    assert HeaderMap.of([("ab", "cde"), ("f", "")]).byte_size() == 6


def test_pseudo_headers_are_looked_up_like_others() -> None:
    request = RequestHeaderMap(b"GET", b"/p", b"h", [entry(b"x", b"1")])
    names = (b":method", b":path", b":authority", b":scheme", b"host", b":nope", b"x")
    assert [request.get(name) for name in names] == [b"GET", b"/p", b"h", b"http", b"h", None, b"1"]
    assert (request.get_all(b"host"), request.get_all(b":nope"), request.get_all(b"x")) == ([b"h"], [], [b"1"])
    assert request.pairs()[0] == (":authority", "h")
    response = ResponseHeaderMap(204)
    assert (response.get(b":status"), response.pairs()) == (b"204", [(":status", "204")])


def test_a_copy_is_independent() -> None:
    request = RequestHeaderMap(b"GET", b"/p", b"h", [entry(b"x", b"1")], scheme=b"https")
    copy = request.copy()
    copy["x"] = "2"
    copy.path = b"/q"
    assert (request["x"], request.path, copy.scheme) == ("1", b"/p", b"https")


def test_what_a_request_has_once_is_joined() -> None:
    request = RequestHeaderMap(b"GET", b"/", b"h", [entry(b"accept", b"a")])
    request.append_entry(entry(b"accept", b"b"))
    request.append_entry(entry(b"vary", b"c"))
    request.append_entry(entry(b"vary", b"d"))
    assert request.pairs()[4:] == [("accept", "a,b"), ("vary", "c"), ("vary", "d")]


def test_what_a_response_has_once_is_joined() -> None:
    response = ResponseHeaderMap(200, [entry(b"accept", b"a"), entry(b"vary", b"c")])
    response.append_entry(entry(b"accept", b"b"))
    response.append_entry(entry(b"vary", b"d"))
    assert response.pairs()[1:] == [("accept", "a"), ("vary", "c,d"), ("accept", "b")]


def test_repetitions_are_joined_where_the_first_stands() -> None:
    entries = [entry(b"via", b"1"), entry(b"x", b"2"), entry(b"via", b"3"), entry(b"server", b"4")]
    joined = join_repeated(entries, entry(b"via", b"")[3])
    assert [(item[0], item[1]) for item in joined] == [(b"via", b"1,3"), (b"x", b"2"), (b"server", b"4")]


def test_a_map_shows_what_it_holds() -> None:
    assert repr(HeaderMap.of([("a", "b")])) == "HeaderMap([('a', 'b')])"


def test_ordinary_kinds_are_those_of_the_least_bits_and_fit_into_one_digit() -> None:
    kinds = list(KIND.values())
    ordinary = [kind for kind in kinds if kind <= ORDINARY]
    assert kinds == sorted(kinds)
    assert sum(ordinary) == ORDINARY < 2**30
    assert {b"content-length", b"x-request-id"} <= {name for name, kind in KIND.items() if kind <= ORDINARY}
    assert not any(KIND[name] <= ORDINARY for name in (b"connection", b"transfer-encoding", b"x-forwarded-for", b"te"))
