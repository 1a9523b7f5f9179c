from __future__ import annotations

import pytest

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.network.address import Address
from minienvoy.upstream.cluster_stats import ClusterManagerStats
from minienvoy.upstream.host import HealthFlag, Host, HostSet, PrioritySet
from minienvoy.upstream.update_merge import UpdateMerger


class Scene:
    """A host whose health changes, and what the balancer is told when."""

    def __init__(self, loop: object, window: float = 1.0) -> None:
        self.dispatcher = SimulatedDispatcher(loop)  # type: ignore[arg-type]
        self.host = Host(Address.ip("1.2.3.4", 80))
        self.source = PrioritySet()
        self.source.update_hosts(HostSet(0, (self.host,)))
        self.stats = ClusterManagerStats()
        self.merger = UpdateMerger(self.source, self.dispatcher, window, self.stats)
        self.merger.active = True
        self.told: list[tuple[float, int]] = []
        self.merger.target.add_member_update_callback(
            lambda host_set, added, removed: self.told.append(
                (round(self.dispatcher.monotonic_time(), 2), len(host_set.healthy_hosts))
            )
        )

    def turn(self) -> None:
        self.host.health_flags ^= HealthFlag.FAILED_ACTIVE_HC
        self.source.refresh_health(0)

    def counted(self) -> tuple[int, int, int, int]:
        stats = self.stats
        return (
            stats.cluster_updated,
            stats.cluster_updated_via_merge,
            stats.update_out_of_merge_window,
            stats.update_merge_cancelled,
        )


@pytest.fixture
def scene(loop: object) -> Scene:
    return Scene(loop)


def test_what_is_there_already_is_known(scene: Scene) -> None:
    assert scene.merger.target.hosts() == [scene.host]


def test_the_first_change_is_passed_on_at_once(scene: Scene) -> None:
    scene.turn()
    assert scene.told == [(0.0, 0)]
    assert scene.counted() == (1, 0, 1, 0)


def test_a_change_soon_after_waits_a_whole_window(scene: Scene) -> None:
    scene.turn()
    scene.dispatcher.advance(0.4)
    scene.turn()
    scene.dispatcher.advance(0.3)
    scene.turn()
    scene.turn()
    scene.dispatcher.advance(2)
    assert scene.told == [(0.0, 0), (1.4, 1)]
    assert scene.counted() == (1, 1, 1, 0)


def test_a_change_long_after_is_passed_on_at_once(scene: Scene) -> None:
    scene.turn()
    scene.dispatcher.advance(1.01)
    scene.turn()
    assert scene.told == [(0.0, 0), (1.01, 1)]


def test_hosts_that_come_do_not_wait_and_take_along_what_does(scene: Scene) -> None:
    scene.turn()
    scene.turn()
    scene.source.update_hosts(HostSet(0, (scene.host, Host(Address.ip("1.2.3.5", 80)))))
    assert scene.told == [(0.0, 0), (0.0, 2)]
    scene.dispatcher.advance(2)
    assert len(scene.told) == 2
    assert scene.counted() == (2, 0, 1, 1)


def test_without_a_window_nothing_waits(loop: object) -> None:
    scene = Scene(loop, window=0.0)
    scene.turn()
    scene.turn()
    assert scene.told == [(0.0, 0), (0.0, 1)]


def test_before_the_cluster_is_in_use_nothing_waits_and_nothing_is_counted(scene: Scene) -> None:
    scene.merger.active = False
    scene.turn()
    scene.turn()
    assert len(scene.told) == 2
    assert scene.counted() == (0, 0, 0, 0)


def test_nothing_comes_after_the_end(scene: Scene) -> None:
    scene.turn()
    scene.turn()
    scene.merger.stop()
    scene.dispatcher.advance(5)
    assert len(scene.told) == 1
