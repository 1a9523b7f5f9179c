from __future__ import annotations

import pytest

from minienvoy.testing.fake_kube.api_error import ApiError
from minienvoy.testing.fake_kube.resource_types import ENDPOINT_SLICES, PODS
from minienvoy.testing.fake_kube.selectors import (
    field_selector,
    label_selector,
    matches_label_selector,
    matches_labels,
)

LABELS = {"app": "web", "tier": "x", "canary": "yes"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=x", True),
        ("app=web,tier=y", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("canary", True),
        ("!canary", False),
        ("! missing", True),
        ("tier in (x, y)", True),
        ("tier in (y,z)", False),
        ("tier notin (y)", True),
        ("missing notin (y)", True),
        ("app=", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert label_selector(text)(LABELS) is matches


@pytest.mark.parametrize("text", ["a in b", "=x", "a in (b", "a b", "a=b c=d"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="unable to parse requirement"):
        label_selector(text)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=web-0", True),
        ("metadata.name!=web-0", False),
        ("status.phase=Running,spec.nodeName=a", True),
        ("spec.nodeName=", False),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    pod = {"metadata": {"name": "web-0"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running"}}
    assert field_selector(text, PODS)(pod) is matches


def test_only_some_fields_can_be_selected_by() -> None:
    with pytest.raises(ApiError, match=r"field label not supported: spec\.hostname"):
        field_selector("spec.hostname=a", PODS)
    with pytest.raises(ApiError, match="is not a known field selector"):
        field_selector("addressType=IPv4", ENDPOINT_SLICES)
    with pytest.raises(ApiError, match="invalid selector"):
        field_selector("nonsense", PODS)


def test_a_service_without_a_selector_selects_nothing() -> None:
    assert matches_labels({"app": "web"}, LABELS)
    assert not matches_labels({}, LABELS)
    assert not matches_labels(None, LABELS)
    assert not matches_labels({"app": "web"}, None)


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "tier", "operator": "In", "values": ["x"]}, True),
        ({"key": "tier", "operator": "NotIn", "values": ["x"]}, False),
        ({"key": "tier", "operator": "Exists"}, True),
        ({"key": "tier", "operator": "DoesNotExist"}, False),
        ({"key": "tier", "operator": "Nonsense"}, False),
    ],
)
def test_match_expressions(expression: dict[str, object], matches: bool) -> None:
    assert matches_label_selector({"matchLabels": {"app": "web"}, "matchExpressions": [expression]}, LABELS) is matches
    assert matches_label_selector({}, LABELS)
