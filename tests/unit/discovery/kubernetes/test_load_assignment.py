from __future__ import annotations

from minienvoy.config.validation import validate
from minienvoy.discovery.kubernetes.load_assignment import cluster_load_assignment
from minienvoy.upstream.host import HealthFlag, Locality
from minienvoy.upstream.load_assignment import LoadAssignment

from .conftest import Recordings
from .test_mapping import World


def test_what_eds_would_send_is_what_the_cluster_has(recorded: Recordings) -> None:
    assignment = World(recorded).map("plain", pod_labels=["app"])
    message = cluster_load_assignment("lab5/plain:http", assignment, region="eu")
    validate(message)
    read = LoadAssignment.from_proto(message, "endpoints")
    assert [(each.locality, each.priority, each.weight) for each in read.localities] == [
        (Locality("eu", "eu-1a", "node-a"), 0, 1),
        (Locality("eu", "eu-1b", "node-b"), 0, 1),
    ]
    first, second = (each.endpoints[0] for each in read.localities)
    assert (first.target, first.port, first.health_flags) == ("10.1.0.1", 8080, 0)
    assert (second.target, second.health_flags) == ("10.1.1.1", HealthFlag.EDS_STATUS_DRAINING)
    assert first.metadata["envoy.lb"]["pod"] == "plain-0"
    assert first.metadata["envoy.lb"]["app"] == "plain"


def test_priorities_and_further_addresses_are_there(recorded: Recordings) -> None:
    world = World(recorded)
    near = cluster_load_assignment("a", world.map("samezone", zone="eu-1b"), sub_zones=False)
    assert [(each.priority, each.locality.zone, each.load_balancing_weight.value) for each in near.endpoints] == [
        (0, "eu-1b", 3),
        (1, "eu-1a", 3),
    ]
    dual = cluster_load_assignment("a", world.map("dual", family="all"))
    (locality,) = dual.endpoints
    further = locality.lb_endpoints[0].endpoint.additional_addresses
    assert [each.address.socket_address.address for each in further] == ["fd00::7"]


def test_names_are_left_out(recorded: Recordings) -> None:
    assert not cluster_load_assignment("a", World(recorded).map("external", 5432.0)).endpoints
