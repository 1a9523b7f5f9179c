"""`minienvoy simulate`: shares, what moves, and what can not be simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minienvoy.cli import main
from minienvoy.errors import ConfigError
from minienvoy.simulate.timeline import parse_event

CLUSTER = """
static_resources:
  clusters:
  - name: users
    {fields}
    load_assignment:
      cluster_name: users
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}}}
        - endpoint: {{address: {{socket_address: {{address: 10.0.0.2, port_value: 80}}}}}}
        - endpoint: {{address: {{socket_address: {{address: {third}, port_value: 80}}}}}}
"""

Simulate = Callable[..., Any]


@pytest.fixture
def simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Simulate:
    def run(*arguments: str, fields: str = "lb_policy: ROUND_ROBIN", third: str = "10.0.0.3", code: int = 0) -> Any:
        path = tmp_path / "envoy.yaml"
        path.write_text(CLUSTER.format(fields=fields, third=third))
        result = main(["minienvoy", "simulate", "-c", str(path), *arguments])
        told = capsys.readouterr()
        assert result == code
        if code:
            return told.err
        return json.loads(told.out) if "json" in arguments else told.out

    return run


def shares(phase: Any) -> dict[str, float]:
    return {name: host["share"] for name, host in phase["hosts"].items()}


def test_round_robin_gives_everybody_the_same(simulate: Simulate) -> None:
    (phase,) = simulate("--requests", "300", "--format", "json")["phases"]
    assert set(shares(phase).values()) == {0.333333}


def test_a_host_that_is_down_gets_nothing_until_it_is_up(simulate: Simulate) -> None:
    told = simulate(
        "--requests", "900", "--format", "json", "--event", "3 down 10.0.0.2:80", "--event", "6 up 10.0.0.2:80"
    )
    assert ["10.0.0.2:80" in shares(phase) for phase in told["phases"]] == [True, False, True]
    assert [phase["event"] for phase in told["phases"]] == ["start", "10.0.0.2:80 down", "10.0.0.2:80 up"]


def test_panic_sends_requests_to_hosts_that_fail_them(simulate: Simulate) -> None:
    downs = [part for host in (1, 2) for part in ("--event", f"0 down 10.0.0.{host}:80")]
    told = simulate("--requests", "300", "--format", "json", *downs)
    assert told["phases"][-1]["failed"] == 200


def test_maglev_moves_little_more_than_the_keys_of_the_host_that_goes(simulate: Simulate) -> None:
    told = simulate("--format", "json", "--event", "50 remove 10.0.0.2:80", fields="lb_policy: MAGLEV")
    phase = told["phases"][1]
    assert 0.30 < phase["moved"] < 0.40
    assert phase["moved_needlessly"] < 0.05


def test_weights_and_new_hosts_count_from_their_event_on(simulate: Simulate) -> None:
    told = simulate(
        "--requests", "1000", "--format", "json", "--event", "5 weight 10.0.0.1:80 2", "--event", "5 add 10.0.0.4:80 4"
    )
    assert shares(told["phases"][-1]) == pytest.approx(
        {"10.0.0.1:80": 0.25, "10.0.0.2:80": 0.125, "10.0.0.3:80": 0.125, "10.0.0.4:80": 0.5}, abs=0.01
    )


def test_slow_start_is_walked_through(simulate: Simulate) -> None:
    fields = "round_robin_lb_config: {slow_start_config: {slow_start_window: 20s}}"
    events = ["--event", "30 down 10.0.0.1:80", "--event", "40 up 10.0.0.1:80", "--event", "50 weight 10.0.0.2:80 1"]
    told = simulate("--format", "json", *events, fields=fields)
    starting, later = (shares(phase)["10.0.0.1:80"] for phase in told["phases"][2:])
    assert starting < 0.2 < later


def test_the_same_seed_gives_the_same_choices(simulate: Simulate) -> None:
    arguments = ("--requests", "500", "--format", "json", "--seed")
    one, same, other = (simulate(*arguments, seed, fields="lb_policy: RANDOM") for seed in ("1", "1", "2"))
    assert one == same
    assert one["phases"] != other["phases"]


def test_names_are_not_looked_up(simulate: Simulate) -> None:
    told = simulate("--requests", "9", "--format", "json", third="c.test", fields="type: STRICT_DNS")
    assert "c.test" in shares(told["phases"][0])


def test_text_has_a_row_for_each_host_and_what_changed(simulate: Simulate) -> None:
    told = simulate("--requests", "600", "--event", "3 down 10.0.0.1:80", "--event", "9 up 10.0.0.1:80")
    assert "cluster users: round robin, 600 requests" in told
    assert "10.0.0.1:80        0    0.0%   -33.3%" in told
    assert told.endswith(
        "9 s  10.0.0.1:80 up\n  no requests\n"
        "  the last request is sent before 6 s; more --requests, or a lower --rate, take longer\n"
    )


def test_nobody_may_be_chosen(simulate: Simulate) -> None:
    fields = "common_lb_config: {healthy_panic_threshold: {value: 0}}"
    downs = [part for host in (1, 2, 3) for part in ("--event", f"0 unhealthy 10.0.0.{host}:80")]
    told = simulate("--requests", "10", "--format", "json", *downs, fields=fields)
    assert told["phases"][-1]["no_host"] == 10


def test_subsets_take_requests_that_match(simulate: Simulate) -> None:
    fields = "lb_subset_config: {subset_selectors: [{keys: [stage]}]}"
    told = simulate("--requests", "10", "--format", "json", "--match", "stage=prod", fields=fields)
    assert told["phases"][0]["no_host"] == 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("40 down", "is no event"),
        ("x down a:1", "is no number"),
        ("40 explode a:1", "nothing is called 'explode'"),
        ("40 dwon a:1", "did you mean down?"),
        ("40 weight a:1", "say SECONDS weight HOST WEIGHT"),
        ("40 down a:1 5", "say SECONDS down HOST"),
        ("-1 down a:1", "out of range"),
        ("40 weight a:1 0", "out of range"),
        ("nan down a:1", "out of range"),
    ],
)
def test_an_event_that_is_none_is_refused(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_event(line)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--event", "1 down 9.9.9.9:9"), "there is no such host"),
        (("--event", "1 add 10.0.0.1:80"), "it is there already"),
        (("--event", "1 add somewhere"), "is not an address with a port"),
        (("--event", "1 down 10.0.0.22:80"), "did you mean 10.0.0.2:80?"),
        (("--cluster", "nope"), "there is no cluster 'nope'"),
        (("--cluster", "user"), "did you mean users?"),
        (("--request", "1"), "did you mean --requests?"),
        (("--requests", "0"), "not a number from 1"),
        (("--format", "xml"), "neither text nor json"),
        (("--match", "x"), "not key=value"),
        (("--nope", "x"), "no such flag"),
        (("--rate",), "a value is missing"),
        (("--events", "/does/not/exist"), "No such file"),
    ],
)
def test_what_can_not_be_simulated_is_said(simulate: Simulate, arguments: tuple[str, ...], words: str) -> None:
    assert words in simulate(*arguments, code=1)


def test_events_come_from_a_file_too(simulate: Simulate, tmp_path: Path) -> None:
    events = tmp_path / "events.yaml"
    events.write_text("- {at: 1, what: down, host: '10.0.0.1:80'}\n- 2 up 10.0.0.1:80\n")
    told = simulate("--requests", "300", "--format", "json", "--events", str(events))
    assert [phase["at"] for phase in told["phases"]] == [0.0, 1.0, 2.0]


def test_why_there_was_no_host_is_told(simulate: Simulate) -> None:
    fields = "common_lb_config: {healthy_panic_threshold: {value: 0}}"
    down = [word for host in (1, 2, 3) for word in ("--event", f"1 down 10.0.0.{host}:80")]
    assert "no host: no healthy hosts" in simulate("--requests", "300", *down, fields=fields)
    subset = "lb_subset_config: {subset_selectors: [{keys: [v]}]}"
    assert "say --match" in simulate("--requests", "10", fields=subset)


def test_a_cluster_whose_hosts_are_elsewhere_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text("static_resources: {clusters: [{name: a, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}]}")
    assert main(["minienvoy", "simulate", "-c", str(path)]) == 1
    assert "the hosts of cluster 'a' are not in its configuration" in capsys.readouterr().err
