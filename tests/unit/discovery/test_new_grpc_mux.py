"""The incremental protocol: what is asked when, and who is told what."""

from __future__ import annotations

from .grpc_bench import CLUSTER, EDS, ControlPlane, Subscriber, resource, wrapped


def test_what_is_accepted_is_answered_with_its_nonce() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", "a", "b")
    plane.send(CLUSTER, "2", "n2", "c", removed=["a", "x"])
    assert plane.asked() == ["CDS", "CDS n1", "CDS n2"]
    assert clusters.told == ["1: +a@1 +b@1", "2: +c@2 -a -x"]


def test_what_is_refused_is_answered_with_the_reason() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    clusters.refuse = "no"
    plane.send(CLUSTER, "1", "n1", "a")
    plane.send(CLUSTER, "2", "n2", "a", "a")
    plane.send(CLUSTER, "3", "n3", "a", removed=["a"])
    assert plane.asked() == [
        "CDS",
        "CDS n1 refused: no",
        "CDS n2 refused: duplicate name a found among added/updated resources",
        "CDS n3 refused: duplicate name a found in the union of added+removed resources",
    ]


def test_names_come_and_go() -> None:
    plane, one, two = ControlPlane(delta=True), Subscriber(), Subscriber()
    plane.mux.start()
    first = plane.mux.add_watch(EDS, ("a",), one)
    second = plane.mux.add_watch(EDS, ("a", "b"), two)
    plane.send(EDS, "1", "n1", "a", "b", "x")
    first.remove()
    second.update(("b", "c"))
    second.remove()
    assert (one.told, two.told) == (["1: +a@1"], ["1: +a@1 +b@1"])
    assert plane.asked() == ["EDS +a", "EDS +b", "EDS n1", "EDS +c -a", "EDS -b -c"]


def test_a_new_stream_is_told_what_is_here() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.mux.add_watch(EDS, ("a", "b"), Subscriber())
    plane.send(CLUSTER, "1", "n1", "a", "b")
    plane.send(CLUSTER, "2", "n2", removed=["b"])
    plane.send(EDS, "7", "n3", "a")
    plane.calls[0].callbacks.on_remote_close(14, "")
    plane.dispatcher.advance(1.1)
    assert plane.asked() == ["CDS has a=1", "EDS +a +b has a=7"]


def test_what_nobody_wants_is_not_kept() -> None:
    plane = ControlPlane(delta=True)
    plane.mux.start()
    plane.mux.add_watch(EDS, ("a",), Subscriber())
    plane.send(EDS, "1", "n1", *(f"x{number}" for number in range(100)))
    plane.calls[0].callbacks.on_remote_close(14, "")
    plane.dispatcher.advance(1.1)
    assert plane.asked() == ["EDS +a"]


def test_while_a_type_is_paused_nothing_is_asked_or_answered_for_it() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    resume = plane.mux.pause((CLUSTER, EDS))
    plane.send(CLUSTER, "1", "n1", "a")
    plane.mux.add_watch(EDS, ("a",), Subscriber())
    plane.mux.add_watch(EDS, ("b",), Subscriber())
    assert plane.asked() == ["CDS"]
    resume()
    assert plane.asked() == ["CDS", "CDS n1", "EDS +a +b"]


def test_a_resource_without_one_goes_on_if_its_version_is_the_one_that_is_here() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", wrapped(CLUSTER, resource(CLUSTER, "a"), "5", ttl=5))
    plane.dispatcher.advance(4)
    plane.send(CLUSTER, "2", "n2", wrapped(CLUSTER, "a", "5", ttl=5))
    plane.dispatcher.advance(4)
    assert clusters.told == ["1: +a@5", "2: "]
    plane.dispatcher.advance(2)
    assert clusters.told == ["1: +a@5", "2: ", ": -a"]
    plane.send(CLUSTER, "3", "n3", wrapped(CLUSTER, "a", "6"))
    assert plane.asked()[-1].startswith("CDS n3 refused: type URL  embedded in an individual Any does not match")


def test_answers_of_a_server_that_does_not_read_are_bounded() -> None:
    plane, clusters = ControlPlane(delta=True), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.calls[0].stream.above_watermark(True)
    for number in range(3000):
        plane.send(CLUSTER, str(number), f"n{number}")
    assert plane.store.value("control_plane.pending_requests") == 1000
    plane.calls[0].stream.above_watermark(False)
    assert plane.asked()[-1] == "CDS n2999"


def test_a_type_that_nobody_asked_for_is_not_answered() -> None:
    plane = ControlPlane(delta=True)
    plane.mux.start()
    plane.send(EDS, "1", "n1", "a")
    assert plane.asked() == []


def test_the_node_is_in_every_request_or_in_the_first_one_of_a_stream() -> None:
    for once in (False, True):
        plane = ControlPlane(delta=True, node_in_first_message_only=once)
        plane.mux.start()
        plane.mux.add_watch(CLUSTER, (), Subscriber())
        plane.send(CLUSTER, "1", "n1")
        assert [each.HasField("node") for each in plane.calls[0].requests] == [True, not once]
