from __future__ import annotations

from typing import Any

import pytest

from minienvoy.testing.fake_kube.api_error import ApiError
from minienvoy.testing.fake_kube.managed_fields import apply
from minienvoy.testing.fake_kube.patches import json_merge, json_patch, strategic_merge
from minienvoy.testing.fake_kube.resource_types import DEPLOYMENTS

TWO = {"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}], "args": [1, 2]}}


@pytest.mark.parametrize(
    ("patch", "containers"),
    [
        ([{"name": "a", "image": "a:2"}], [{"name": "a", "image": "a:2"}, {"name": "b", "image": "b:1"}]),
        ([{"name": "c"}], [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c"}]),
        ([{"name": "a", "$patch": "delete"}], [{"name": "b", "image": "b:1"}]),
        ([{"name": "c"}, {"$patch": "replace"}], [{"name": "c"}]),
        ([{"name": "a", "image": None}], [{"name": "a"}, {"name": "b", "image": "b:1"}]),
    ],
)
def test_a_strategic_merge_tells_elements_apart_by_their_key(patch: list[Any], containers: list[Any]) -> None:
    merged = strategic_merge(TWO, {"spec": {"containers": patch}})
    assert merged["spec"]["containers"] == containers
    assert TWO["spec"]["containers"][0] == {"name": "a", "image": "a:1"}


def test_other_lists_are_replaced_and_null_removes() -> None:
    assert strategic_merge(TWO, {"spec": {"args": [3]}})["spec"]["args"] == [3]
    assert "args" not in strategic_merge(TWO, {"spec": {"args": None}})["spec"]
    assert strategic_merge({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}) == {"a": {"c": 2}}
    assert strategic_merge({"f": [1, 2]}, {"$deleteFromPrimitiveList/f": [1]}) == {"f": [2]}
    assert strategic_merge({"a": 1, "b": 2}, {"$retainKeys": ["b"], "b": 3}) == {"b": 3}


def test_a_merge_patch_replaces_lists() -> None:
    assert json_merge(TWO, {"spec": {"containers": [{"name": "c"}]}})["spec"]["containers"] == [{"name": "c"}]
    assert json_merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/a/1", "value": 9}, {"a": [1, 9, 2], "m": {"x/y": 1}}),
        ({"op": "add", "path": "/a/-", "value": 9}, {"a": [1, 2, 9], "m": {"x/y": 1}}),
        ({"op": "remove", "path": "/a/0"}, {"a": [2], "m": {"x/y": 1}}),
        ({"op": "replace", "path": "/m/x~1y", "value": 2}, {"a": [1, 2], "m": {"x/y": 2}}),
        ({"op": "move", "from": "/m/x~1y", "path": "/m/z"}, {"a": [1, 2], "m": {"z": 1}}),
        ({"op": "copy", "from": "/a", "path": "/b"}, {"a": [1, 2], "b": [1, 2], "m": {"x/y": 1}}),
        ({"op": "test", "path": "/a/0", "value": 1}, {"a": [1, 2], "m": {"x/y": 1}}),
    ],
)
def test_json_patches(operation: dict[str, Any], result: dict[str, Any]) -> None:
    assert json_patch({"a": [1, 2], "m": {"x/y": 1}}, [operation]) == result


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/b"}],
        [{"op": "replace", "path": "/b", "value": 1}],
        [{"op": "dance", "path": "/a"}],
        [{"path": "/a"}],
    ],
)
def test_an_operation_that_can_not_be_is_refused(operations: list[Any]) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, operations)
    assert caught.value.code == 422


def test_a_patch_that_is_no_list_is_refused() -> None:
    with pytest.raises(ApiError, match="cannot unmarshal"):
        json_patch({}, {"op": "add"})


# -- server-side apply


def applied(existing: Any, manager: str, spec: dict[str, Any], *, force: bool = False) -> Any:
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    return apply(existing, wanted, DEPLOYMENTS, manager, "2026-01-01T00:00:00Z", force)


def test_what_is_not_said_again_is_taken_back() -> None:
    first = applied(None, "me", {"replicas": 3, "paused": True})
    second = applied(first, "me", {"replicas": 3})
    assert second["spec"] == {"replicas": 3}


def test_what_others_have_said_stays() -> None:
    mine = applied(None, "me", {"replicas": 3})
    both = applied(mine, "you", {"paused": True})
    assert both["spec"] == {"replicas": 3, "paused": True}
    assert applied(both, "me", {})["spec"] == {"paused": True}
    assert [entry["manager"] for entry in both["metadata"]["managedFields"]] == ["me", "you"]


def test_a_value_of_somebody_else_is_a_conflict_unless_forced() -> None:
    mine = applied(None, "me", {"replicas": 3})
    with pytest.raises(ApiError, match=r'Apply failed with 1 conflict: conflict with "me": \.spec\.replicas') as caught:
        applied(mine, "you", {"replicas": 4})
    assert caught.value.code == 409
    forced = applied(mine, "you", {"replicas": 4}, force=True)
    assert forced["spec"] == {"replicas": 4}
    assert applied(forced, "me", {})["spec"] == {"replicas": 4}


def test_elements_of_lists_are_owned_one_by_one() -> None:
    containers = [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]
    first = applied(None, "me", {"containers": containers})
    second = applied(first, "me", {"containers": containers[:1]})
    assert second["spec"]["containers"] == containers[:1]
