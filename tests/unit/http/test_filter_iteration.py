"""Transcripts: `1:H` filter 1 saw headers, `H.` with the end of stream; `D(abc)` data, `T` trailers; `>` the sink."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.http.filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from minienvoy.http.filter_iteration import FilterIteration
from minienvoy.http.header_map import HeaderMap

GO, DONT_END = FilterHeadersStatus.CONTINUE, FilterHeadersStatus.CONTINUE_AND_DONT_END_STREAM
STOP = FilterHeadersStatus.STOP_ITERATION
STOP_ALL = FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER
STOP_ALL_WATERMARK = FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK
PASS, BUFFER = FilterDataStatus.CONTINUE, FilterDataStatus.STOP_ITERATION_AND_BUFFER
WATERMARK, NO_BUFFER = FilterDataStatus.STOP_ITERATION_AND_WATERMARK, FilterDataStatus.STOP_ITERATION_NO_BUFFER
ON, HALT = FilterTrailersStatus.CONTINUE, FilterTrailersStatus.STOP_ITERATION


class Chain:
    """Filters that answer what `statuses` says, one list of statuses (or calls that return one) for each.

    A status is used up by the first hook that is of its kind; a filter that has none left lets things pass.
    """

    def __init__(self, *statuses: list[Any], limit: int = 0) -> None:
        self.heard: list[str] = []
        self.over = False
        self.statuses = statuses
        count = range(len(statuses))
        self.iteration = FilterIteration(
            [self._hook(at, "H", GO) for at in count],
            [self._hook(at, "D", PASS) for at in count],
            [self._trailers_hook(at) for at in count],
            lambda headers, end: self.heard.append(f">H{'.' if end else ''}"),
            lambda data, end: self.heard.append(f">D({data.decode()}){'.' if end else ''}"),
            lambda trailers: self.heard.append(">T"),
            lambda: self.over,
            limit,
            lambda: self.heard.append("overflow"),
            lambda high: self.heard.append("high" if high else "low"),
        )

    def _hook(self, at: int, kind: str, default: Any) -> Any:
        def hook(what: Any, end_stream: bool) -> Any:
            content = f"({what.decode()})" if kind == "D" else ""
            self.heard.append(f"{at}:{kind}{content}{'.' if end_stream else ''}")
            return self._status(at, default)

        return hook

    def _trailers_hook(self, at: int) -> Any:
        def hook(trailers: HeaderMap) -> Any:
            self.heard.append(f"{at}:T")
            return self._status(at, ON)

        return hook

    def _status(self, at: int, default: Any) -> Any:
        mine = self.statuses[at]
        if mine and (callable(mine[0]) or type(mine[0]) is type(default)):
            status = mine.pop(0)
            return status(self.iteration) if callable(status) else status
        return default

    def headers(self, end_stream: bool = False) -> str:
        return self._after(lambda: self.iteration.headers("headers", end_stream))

    def data(self, data: str, end_stream: bool = False) -> str:
        return self._after(lambda: self.iteration.data(data.encode(), end_stream))

    def trailers(self) -> str:
        return self._after(lambda: self.iteration.trailers(HeaderMap()))

    def resume(self, at: int) -> str:
        return self._after(lambda: self.iteration.resume(at))

    def add(self, at: int, data: str) -> str:
        return self._after(lambda: self.iteration.add_data(at, data.encode()))

    def inject(self, at: int, data: str, end_stream: bool = False) -> str:
        return self._after(lambda: self.iteration.inject_data(at, data.encode(), end_stream))

    def _after(self, act: Any) -> str:
        self.heard.clear()
        act()
        return " ".join(self.heard)


def test_everything_passes_through_every_filter_in_order() -> None:
    chain = Chain([], [])
    assert chain.headers() == "0:H 1:H >H"
    assert chain.data("ab") == "0:D(ab) 1:D(ab) >D(ab)"
    assert chain.data("", True) == "0:D(). 1:D(). >D()."


def test_headers_alone_end_the_stream() -> None:
    assert Chain([], []).headers(True) == "0:H. 1:H. >H."


def test_trailers_end_the_stream() -> None:
    chain = Chain([], [])
    chain.headers()
    chain.data("a")
    assert chain.trailers() == "0:T 1:T >T"


# -- headers that are stopped


def test_stopped_headers_go_on_when_the_filter_resumes() -> None:
    chain = Chain([], [STOP], [])
    assert chain.headers(True) == "0:H. 1:H."
    assert chain.resume(1) == "2:H. >H."


def test_stopped_headers_go_on_when_the_filter_lets_data_pass() -> None:
    chain = Chain([STOP], [])
    assert chain.headers() == "0:H"
    assert chain.data("ab") == "0:D(ab) 1:H >H 1:D(ab) >D(ab)"
    assert chain.data("c", True) == "0:D(c). 1:D(c). >D(c)."


def test_stopped_headers_go_on_with_trailers_that_the_filter_lets_pass() -> None:
    chain = Chain([STOP, BUFFER], [])
    chain.headers()
    assert chain.data("ab") == "0:D(ab)"
    assert chain.trailers() == "0:T 1:H >H 1:D(ab) >D(ab) 1:T >T"


def test_a_filter_without_a_data_hook_lets_data_pass_and_with_it_the_headers_it_had_stopped() -> None:
    chain = Chain([STOP])
    chain.iteration._data_hooks = [None]
    chain.headers()
    assert chain.data("a") == ">H >D(a)"


def test_a_filter_without_a_trailers_hook_lets_trailers_pass_and_with_them_all_that_it_holds() -> None:
    chain = Chain([STOP, BUFFER])
    chain.iteration._trailers_hooks = [None]
    chain.headers()
    chain.data("a")
    assert chain.trailers() == ">H >D(a) >T"


def test_resumed_headers_do_not_end_the_stream_when_data_is_held() -> None:
    chain = Chain([STOP, BUFFER], [])
    chain.headers()
    chain.data("ab", True)
    assert chain.resume(0) == "1:H >H 1:D(ab). >D(ab)."


def test_the_next_filter_may_stop_what_was_resumed() -> None:
    chain = Chain([STOP, BUFFER], [STOP, BUFFER], [])
    chain.headers()
    chain.data("ab")
    assert chain.resume(0) == "1:H 1:D(ab)"
    assert chain.data("c", True) == "0:D(c). 1:D(c). 2:H >H 2:D(abc). >D(abc)."


def test_a_filter_that_stops_everything_after_a_resumed_one_gets_the_data_when_it_resumes() -> None:
    chain = Chain([STOP, BUFFER], [STOP_ALL], [])
    chain.headers()
    chain.data("ab", True)
    assert chain.resume(0) == "1:H"
    assert chain.resume(1) == "2:H >H 1:D(ab). 2:D(ab). >D(ab)."


@pytest.mark.parametrize("status", [STOP_ALL, STOP_ALL_WATERMARK])
def test_a_filter_that_stops_everything_sees_nothing_until_it_resumes(status: FilterHeadersStatus) -> None:
    chain = Chain([], [status], [])
    assert chain.headers() == "0:H 1:H"
    assert chain.data("a") == "0:D(a)"
    assert chain.data("b") == "0:D(b)"
    assert chain.trailers() == "0:T"
    assert chain.resume(1) == "2:H >H 1:D(ab) 2:D(ab) >D(ab) 1:T 2:T >T"


def test_stopping_everything_holds_headers_that_end_the_stream() -> None:
    chain = Chain([STOP_ALL], [])
    chain.headers(True)
    assert chain.resume(0) == "1:H. >H."


def test_stopping_everything_holds_an_empty_end_of_stream() -> None:
    chain = Chain([STOP_ALL], [])
    chain.headers()
    assert chain.data("", True) == ""
    assert chain.resume(0) == "1:H >H 0:D(). 1:D(). >D()."


def test_resuming_a_filter_that_stopped_nothing_does_nothing() -> None:
    chain = Chain([], [])
    chain.headers()
    assert chain.resume(0) == ""
    assert chain.data("a") == "0:D(a) 1:D(a) >D(a)"


# -- data that is stopped


@pytest.mark.parametrize("status", [BUFFER, WATERMARK])
def test_data_that_is_held_goes_on_in_one_piece_with_the_next_that_passes(status: FilterDataStatus) -> None:
    chain = Chain([status, status], [])
    assert chain.headers() == "0:H 1:H >H"
    assert chain.data("a") == "0:D(a)"
    assert chain.data("b") == "0:D(b)"
    assert chain.data("c", True) == "0:D(c). 1:D(abc). >D(abc)."


def test_data_that_is_held_goes_on_when_the_filter_resumes() -> None:
    chain = Chain([BUFFER], [])
    chain.headers()
    chain.data("ab", True)
    assert chain.resume(0) == "1:D(ab). >D(ab)."


def test_data_that_is_not_buffered_is_gone() -> None:
    chain = Chain([NO_BUFFER], [])
    chain.headers()
    assert chain.data("a") == "0:D(a)"
    assert chain.data("b", True) == "0:D(b). 1:D(b). >D(b)."


def test_the_end_of_the_stream_is_not_gone_with_data_that_is_not_buffered() -> None:
    chain = Chain([NO_BUFFER], [])
    chain.headers()
    chain.data("a", True)
    assert chain.resume(0) == "1:D(). >D()."


def test_data_that_is_not_buffered_leaves_held_trailers() -> None:
    chain = Chain([NO_BUFFER, HALT], [])
    chain.headers()
    chain.data("a")
    assert chain.trailers() == "0:T"
    assert chain.resume(0) == "1:T >T"


def test_held_trailers_follow_held_data() -> None:
    chain = Chain([BUFFER, HALT], [])
    chain.headers()
    chain.data("a")
    assert chain.trailers() == "0:T"
    assert chain.resume(0) == "1:D(a) >D(a) 1:T >T"


def test_trailers_alone_may_be_held() -> None:
    chain = Chain([HALT], [])
    chain.headers()
    assert chain.data("a") == "0:D(a) 1:D(a) >D(a)"
    assert chain.trailers() == "0:T"
    assert chain.resume(0) == "1:T >T"


def test_two_filters_hold_one_after_the_other() -> None:
    chain = Chain([BUFFER], [BUFFER], [])
    chain.headers()
    chain.data("a", True)
    assert chain.resume(0) == "1:D(a)."
    assert chain.resume(1) == "2:D(a). >D(a)."


# -- adding and injecting


def test_a_body_added_to_headers_that_were_all_there_was() -> None:
    def add(iteration: FilterIteration) -> FilterHeadersStatus:
        iteration.add_data(1, b"body")
        return GO

    chain = Chain([], [add], [])
    assert chain.headers(True) == "0:H. 1:H. 2:H >H 2:D(body). >D(body)."


def test_an_added_body_waits_with_a_filter_that_stops() -> None:
    def add(iteration: FilterIteration) -> FilterHeadersStatus:
        iteration.add_data(0, b"body")
        return GO

    chain = Chain([add], [STOP, BUFFER], [])
    assert chain.headers(True) == "0:H. 1:H 1:D(body)."
    assert chain.resume(1) == "2:H >H 2:D(body). >D(body)."


@pytest.mark.parametrize("status", [STOP, STOP_ALL])
def test_a_body_added_while_headers_are_stopped(status: FilterHeadersStatus) -> None:
    chain = Chain([status], [])
    chain.headers(True)
    assert chain.add(0, "body") == ""
    assert chain.resume(0) == "1:H >H 1:D(body). >D(body)."


def test_data_added_to_what_is_held() -> None:
    chain = Chain([BUFFER], [])
    chain.headers()
    chain.data("a", True)
    chain.add(0, "b")
    assert chain.iteration.buffer == b"ab"
    assert chain.resume(0) == "1:D(ab). >D(ab)."


def test_data_added_with_trailers_comes_before_them() -> None:
    def add(iteration: FilterIteration) -> FilterTrailersStatus:
        iteration.add_data(0, b"last")
        return ON

    chain = Chain([PASS, add], [])
    chain.headers()
    chain.data("a")
    assert chain.trailers() == "0:T 1:D(last) >D(last) 1:T >T"


def test_a_filter_changes_a_body_by_injecting_another() -> None:
    chain = Chain([NO_BUFFER, NO_BUFFER], [])
    chain.headers()
    chain.data("a")
    assert chain.inject(0, "A") == "1:D(A) >D(A)"
    chain.data("b", True)
    assert chain.inject(0, "B", True) == "1:D(B). >D(B)."


def test_injecting_takes_stopped_headers_along() -> None:
    chain = Chain([STOP], [])
    chain.headers(True)
    assert chain.inject(0, "a", True) == "1:H >H 1:D(a). >D(a)."


def test_headers_that_must_not_end_the_stream_are_followed_by_what_is_injected() -> None:
    chain = Chain([DONT_END], [])
    assert chain.headers(True) == "0:H. 1:H >H"
    assert chain.inject(0, "a") == "1:D(a) >D(a)"
    assert chain.inject(0, "", True) == "1:D(). >D()."


def test_headers_that_must_not_end_the_stream_may_be_stopped_further_down() -> None:
    chain = Chain([DONT_END], [STOP], [])
    assert chain.headers(True) == "0:H. 1:H"
    assert chain.resume(1) == "2:H >H"


# -- resuming from inside a hook


@pytest.mark.parametrize("status", [STOP, STOP_ALL, STOP_ALL_WATERMARK])
def test_a_filter_that_resumes_before_it_says_stop_has_stopped_nothing(status: FilterHeadersStatus) -> None:
    def hook(iteration: FilterIteration) -> FilterHeadersStatus:
        iteration.resume(0)
        return status

    chain = Chain([hook], [])
    assert chain.headers(True) == "0:H. 1:H. >H."


def test_data_may_be_resumed_inside_its_hook() -> None:
    def hook(iteration: FilterIteration) -> FilterDataStatus:
        iteration.resume(0)
        return BUFFER

    chain = Chain([GO, hook], [])
    chain.headers()
    assert chain.data("a", True) == "0:D(a). 1:D(a). >D(a)."


def test_what_was_held_goes_on_from_inside_a_later_hook() -> None:
    def hook(iteration: FilterIteration) -> FilterDataStatus:
        iteration.resume(0)
        return PASS

    chain = Chain([STOP, BUFFER, hook], [])
    chain.headers()
    chain.data("a")
    assert chain.data("b", True) == "0:D(b). 1:H >H 1:D(ab). >D(ab)."


def test_trailers_may_be_resumed_inside_their_hook() -> None:
    def hook(iteration: FilterIteration) -> FilterTrailersStatus:
        iteration.resume(0)
        return HALT

    chain = Chain([BUFFER, hook], [])
    chain.headers()
    chain.data("a")
    assert chain.trailers() == "0:T 1:D(a) >D(a) 1:T >T"


# -- limits


def test_a_buffering_filter_overflows() -> None:
    chain = Chain([BUFFER, BUFFER], limit=3)
    chain.headers()
    assert chain.data("abc") == "0:D(abc)"
    assert chain.data("d") == "0:D(d) overflow"


def test_stopping_everything_and_buffering_overflows() -> None:
    chain = Chain([STOP_ALL], limit=3)
    chain.headers()
    assert chain.data("abcd") == "overflow"


def test_a_filter_that_lets_the_sender_wait_does_not_overflow() -> None:
    chain = Chain([WATERMARK, WATERMARK, WATERMARK], [], limit=3)
    chain.headers()
    assert chain.data("ab") == "0:D(ab)"
    assert chain.data("cd") == "0:D(cd) high"
    assert chain.data("e") == "0:D(e)"
    assert chain.resume(0) == "low 1:D(abcde) >D(abcde)"


def test_stopping_everything_and_letting_the_sender_wait() -> None:
    chain = Chain([STOP_ALL_WATERMARK], limit=3)
    chain.headers()
    assert chain.data("abcd") == "high"
    assert chain.resume(0) == ">H low 0:D(abcd) >D(abcd)"


def test_the_sender_need_not_wait_when_the_stream_is_over() -> None:
    chain = Chain([STOP_ALL_WATERMARK], limit=3)
    chain.headers()
    chain.data("abcd")
    chain.heard.clear()
    chain.iteration.close()
    chain.iteration.close()
    assert chain.heard == ["low"]


def test_what_is_held_again_by_the_next_filter_makes_the_sender_wait_again() -> None:
    chain = Chain([WATERMARK], [WATERMARK], limit=3)
    chain.headers()
    assert chain.data("abcd") == "0:D(abcd) high"
    assert chain.resume(0) == "low 1:D(abcd) high"
    assert chain.resume(1) == "low >D(abcd)"


# -- the stream ends meanwhile


@pytest.mark.parametrize("status", [GO, DONT_END, STOP, STOP_ALL])
def test_nothing_moves_after_a_headers_hook_that_ended_the_stream(status: FilterHeadersStatus) -> None:
    chain = Chain([], [], [])
    chain.statuses[1].append(lambda iteration: _end(chain, status))
    assert chain.headers(True) == "0:H. 1:H."
    assert chain.resume(1) == ""


@pytest.mark.parametrize("status", [PASS, BUFFER, WATERMARK, NO_BUFFER])
def test_nothing_moves_after_a_data_hook_that_ended_the_stream(status: FilterDataStatus) -> None:
    chain = Chain([STOP], [])
    chain.headers()
    chain.statuses[0].append(lambda iteration: _end(chain, status))
    assert chain.data("a", True) == "0:D(a)."
    assert chain.resume(0) == ""


@pytest.mark.parametrize("status", [ON, HALT])
def test_nothing_moves_after_a_trailers_hook_that_ended_the_stream(status: FilterTrailersStatus) -> None:
    chain = Chain([], [])
    chain.headers()
    chain.statuses[0].append(lambda iteration: _end(chain, status))
    assert chain.trailers() == "0:T"


def test_held_data_and_trailers_stay_where_they_are_when_resumed_headers_end_the_stream() -> None:
    chain = Chain([STOP, BUFFER, HALT], [])
    chain.headers()
    chain.data("a")
    chain.trailers()
    chain.statuses[1].append(lambda iteration: _end(chain, GO))
    assert chain.resume(0) == "1:H"


def test_held_trailers_stay_when_resumed_data_ends_the_stream() -> None:
    chain = Chain([BUFFER, HALT], [])
    chain.headers()
    chain.data("a")
    chain.trailers()
    chain.statuses[1].append(lambda iteration: _end(chain, PASS))
    assert chain.resume(0) == "1:D(a)"


def _end(chain: Chain, status: Any) -> Any:
    chain.over = True
    return status


def test_trailers_that_a_filter_adds_go_to_the_filters_after_it() -> None:
    saw: list[str] = []
    trailers = HeaderMap.of([("x", "y")])

    def add(data: bytes, end_stream: bool) -> FilterDataStatus:
        saw.append(f"first {data.decode()} {end_stream}")
        iteration.add_trailers(trailers)
        return FilterDataStatus.CONTINUE

    def look(data: bytes, end_stream: bool) -> FilterDataStatus:
        saw.append(f"second {data.decode()} {end_stream}")
        return FilterDataStatus.CONTINUE

    def never(given: HeaderMap) -> FilterTrailersStatus:
        raise AssertionError("the filter that adds trailers does not see them")

    iteration = FilterIteration(
        [None, None],
        [add, look],
        [never, None],
        lambda headers, end: saw.append("headers"),
        lambda data, end: saw.append(f"sink {data.decode()} {end}"),
        lambda given: saw.append(f"trailers {given is trailers}"),
        lambda: False,
        0,
        lambda: None,
        lambda high: None,
    )
    iteration.headers(HeaderMap(), False)
    iteration.data(b"a", True)
    assert saw == ["headers", "first a True", "second a False", "sink a False", "trailers True"]


def test_data_that_a_later_filter_holds_goes_on_with_the_trailers_that_were_added() -> None:
    def add(iteration: FilterIteration) -> FilterDataStatus:
        iteration.add_trailers(HeaderMap())
        return PASS

    chain = Chain([GO, add], [BUFFER], [])
    chain.headers()
    assert chain.data("ab", True) == "0:D(ab). 1:D(ab) 1:T 2:D(ab) >D(ab) 2:T >T"


# -- data that a filter replaces


def xyz(status: FilterDataStatus) -> Any:
    """Puts other bytes in place of those it is given, once."""

    def hook(iteration: FilterIteration) -> FilterDataStatus:
        iteration.replace_data(b"xyz")
        return status

    return hook


def test_the_next_filter_sees_what_a_filter_put_in_place() -> None:
    chain = Chain([xyz(PASS)], [])
    chain.statuses[0].insert(0, GO)
    chain.headers()
    assert chain.data("abc") == "0:D(abc) 1:D(xyz) >D(xyz)"
    assert chain.data("abc") == "0:D(abc) 1:D(abc) >D(abc)"


def test_what_is_held_is_what_a_filter_put_in_place() -> None:
    chain = Chain([STOP, xyz(BUFFER)], [])
    chain.headers()
    assert chain.data("abc") == "0:D(abc)"
    assert chain.resume(0) == "1:H >H 1:D(xyz) >D(xyz)"
