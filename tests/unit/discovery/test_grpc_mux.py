"""The state-of-the-world protocol: what is asked when, and who is told what."""

from __future__ import annotations

from minienvoy.config.schema import message_class

from .grpc_bench import CLUSTER, DISCOVERY, EDS, URL, ControlPlane, Subscriber, resource, wrapped


def test_what_is_accepted_is_answered_with_its_version_and_nonce() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", "a", "b")
    assert plane.asked() == ["CDS v", "CDS v1 n1"]
    assert clusters.told == ["1: a b"]


def test_what_is_refused_is_answered_with_the_old_version_and_the_reason_once() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", "a")
    clusters.refuse = "no"
    plane.send(CLUSTER, "2", "n2", "b")
    clusters.refuse = ""
    plane.send(CLUSTER, "3", "n3", "c")
    assert plane.asked() == ["CDS v", "CDS v1 n1", "CDS v1 n2 refused: no", "CDS v3 n3"]
    assert clusters.told == ["1: a", "rejected: no", "3: c"]


def test_each_is_told_of_the_names_it_wants_and_of_nothing_if_there_are_none_of_them() -> None:
    plane, one, two = ControlPlane(), Subscriber(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(EDS, ("a",), one)
    plane.mux.add_watch(EDS, ("b", "c"), two)
    plane.send(EDS, "1", "n1", "b", "x")
    plane.send(EDS, "2", "n2", "y")
    assert (one.told, two.told) == ([], ["1: b"])
    assert plane.asked()[-1] == "EDS v2 b c a n2"


def test_while_a_type_is_paused_it_is_asked_for_once_afterwards() -> None:
    plane = ControlPlane()
    plane.mux.start()
    resume = plane.mux.pause((EDS, CLUSTER))
    again = plane.mux.pause((EDS,))
    for name in ("a", "b"):
        plane.mux.add_watch(EDS, (name,), Subscriber())
    resume()
    assert plane.asked() == []
    again()
    assert plane.asked() == ["EDS v b a"]


def test_who_is_gone_is_not_told_and_its_names_are_not_asked_for_any_more() -> None:
    plane, one, two = ControlPlane(), Subscriber(), Subscriber()
    plane.mux.start()
    watch = plane.mux.add_watch(EDS, ("a",), one)
    plane.mux.add_watch(EDS, ("b",), two)
    watch.remove()
    watch.remove()
    plane.send(EDS, "1", "n1", "a", "b")
    assert (one.told, two.told) == ([], ["1: b"])
    assert plane.asked() == ["EDS v a", "EDS v b a", "EDS v b", "EDS v1 b n1"]


def test_who_is_removed_by_another_that_hears_first_is_not_told() -> None:
    plane, old = ControlPlane(), Subscriber()
    plane.mux.start()
    watch = plane.mux.add_watch(EDS, ("a",), old)

    class Replacing(Subscriber):
        def on_config_update(self, resources: object, version: str) -> None:
            watch.remove()

    plane.mux.add_watch(EDS, ("a",), Replacing())
    plane.send(EDS, "1", "n1", "a")
    assert old.told == []


def test_a_new_stream_asks_for_everything_with_its_versions_and_without_nonces() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.mux.add_watch(EDS, ("a",), Subscriber())
    plane.send(CLUSTER, "1", "n1", "a")
    plane.calls[0].callbacks.on_remote_close(14, "gone")
    assert plane.store.value("control_plane.connected_state") == 0
    assert clusters.told == ["1: a", "no connection"]
    plane.dispatcher.advance(1.1)
    assert plane.asked() == ["CDS v1", "EDS v a"]
    assert plane.store.value("control_plane.connected_state") == 1


def test_what_a_stream_that_is_over_still_says_is_nothing() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    first = plane.calls[0]
    first.callbacks.on_remote_close(14, "")
    plane.dispatcher.advance(1.1)
    first.says(message_class(f"{DISCOVERY}.DiscoveryResponse")(version_info="9", type_url=URL + CLUSTER))
    first.callbacks.on_remote_close(14, "")
    assert clusters.told == ["no connection"]
    assert len(plane.calls) == 2


def test_a_stream_that_can_not_be_opened_is_tried_again() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.down = True
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.dispatcher.advance(1.1)
    plane.down = False
    plane.dispatcher.advance(1.1)
    assert len(plane.calls) == 3
    assert plane.asked() == ["CDS v"]


def test_what_is_no_message_ends_the_stream() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.calls[0].callbacks.on_receive_message(b"\xff\xff\xff")
    assert plane.calls[0].reset_by_client
    plane.dispatcher.advance(1.1)
    plane.send(CLUSTER, "1", "n1", "a")
    assert clusters.told == ["no connection", "1: a"]


def test_a_type_that_nobody_asked_for_is_not_answered() -> None:
    plane = ControlPlane()
    plane.mux.start()
    plane.send(EDS, "1", "n1", "a")
    assert plane.asked() == []


def test_a_type_that_nobody_wants_any_more_is_refused_unless_there_is_nothing_of_it() -> None:
    plane = ControlPlane()
    plane.mux.start()
    plane.mux.add_watch(EDS, ("a",), Subscriber()).remove()
    plane.send(EDS, "1", "n1", "a")
    plane.send(EDS, "2", "n2")
    assert plane.asked()[2:] == ["EDS v n1"]


def test_resources_of_another_type_are_refused_as_a_whole() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", "a", resource(EDS, "b"))
    told = f"{URL}{EDS} does not match the message-wide type URL {URL}{CLUSTER} in DiscoveryResponse "
    assert plane.asked()[1].startswith(f"CDS v n1 refused: {told}")
    assert [each[:10] for each in clusters.told] == ["rejected: "]


def test_a_reason_is_cut_where_a_status_ends() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    clusters.refuse = "ä" * 5000
    plane.send(CLUSTER, "1", "n1", "a")
    message = plane.calls[0].requests[-1].error_detail.message
    assert message == "ä" * 2048 + "...(truncated)"


def test_requests_wait_for_the_rate_that_is_allowed() -> None:
    plane = ControlPlane(rate=(1, 2))
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), Subscriber())
    plane.mux.add_watch(EDS, ("a",), Subscriber())
    assert plane.asked() == ["CDS v"]
    assert plane.store.value("control_plane.pending_requests") == 1
    assert plane.store.value("control_plane.rate_limit_enforced") == 1
    plane.dispatcher.advance(0.6)
    assert plane.asked() == ["CDS v", "EDS v a"]
    assert plane.store.value("control_plane.pending_requests") == 0


def test_a_control_plane_that_does_not_read_is_not_written_to() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.calls[0].stream.above_watermark(True)
    for number in range(3000):
        plane.send(CLUSTER, str(number), f"n{number}", "a")
    assert plane.asked() == ["CDS v"]
    assert plane.store.value("control_plane.pending_requests") <= 1000
    plane.calls[0].stream.above_watermark(False)
    assert plane.asked()[-1] == "CDS v2999 n2999"


def test_the_node_is_in_every_request_or_in_the_first_one_of_a_stream() -> None:
    for once in (False, True):
        plane = ControlPlane(node_in_first_message_only=once)
        plane.mux.start()
        plane.mux.add_watch(CLUSTER, (), Subscriber())
        plane.send(CLUSTER, "1", "n1")
        plane.calls[0].callbacks.on_remote_close(14, "")
        plane.dispatcher.advance(1.1)
        told = [[each.HasField("node") for each in call.requests] for call in plane.calls]
        assert told == [[True, not once], [True]]


def test_what_is_not_said_again_in_time_is_over() -> None:
    plane, clusters = ControlPlane(), Subscriber()
    plane.mux.start()
    plane.mux.add_watch(CLUSTER, (), clusters)
    plane.send(CLUSTER, "1", "n1", wrapped(CLUSTER, resource(CLUSTER, "a"), "1", ttl=5), "b")
    plane.dispatcher.advance(4)
    plane.send(CLUSTER, "1", "n2", wrapped(CLUSTER, "a", "1", ttl=5), "b")
    plane.dispatcher.advance(4)
    assert clusters.told == ["1: a b", "1: b"]
    plane.dispatcher.advance(2)
    assert clusters.told == ["1: a b", "1: b", ": -a"]


def test_nothing_is_asked_after_the_end() -> None:
    plane = ControlPlane()
    plane.mux.start()
    watch = plane.mux.add_watch(EDS, ("a",), Subscriber())
    plane.mux.stop()
    watch.remove()
    plane.dispatcher.advance(10)
    assert plane.asked() == ["EDS v a"]
    assert plane.calls[0].reset_by_client
