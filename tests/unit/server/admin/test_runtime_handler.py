from __future__ import annotations

import json

import pytest

from minienvoy.server.admin.admin import Admin
from minienvoy.server.admin.request import AdminRequest

from .conftest import recorded

LAYERS = """
layered_runtime:
  layers:
  - {name: st, static_layer: {foo: 1}}
  - {name: adm, admin_layer: {}}
"""
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def server(make_server):
    return make_server(LAYERS)


def foo(ask):
    return json.loads(ask("/runtime").body)["entries"]["foo"]


def test_runtime_shows_every_layer(ask):
    assert json.loads(ask("/runtime").body) == json.loads(recorded("runtime.json"))


def test_no_layers_are_shown_as_such(make_server):
    answer = Admin(make_server("{}")).run(AdminRequest.from_parts("GET", "/runtime"))
    assert json.loads(answer.body) == {"layers": [], "entries": {}}


def test_layers_without_one_have_one_that_can_be_set(make_server):
    admin = Admin(make_server("layered_runtime: {}"))
    assert admin.run(AdminRequest.from_parts("POST", "/runtime_modify?a=1")).status == 200
    shown = json.loads(admin.run(AdminRequest.from_parts("GET", "/runtime")).body)
    assert shown == {"layers": [""], "entries": {"a": {"layer_values": ["1"], "final_value": "1"}}}


def test_values_are_set_from_the_query_or_a_form_and_removed_by_an_empty_one(ask):
    assert ask("/runtime_modify?foo=2", "POST").body == b"OK\n"
    assert foo(ask) == {"layer_values": ["1", "2"], "final_value": "2"}
    assert ask("/runtime_modify", "POST", FORM, b"foo=7").body == b"OK\n"
    assert foo(ask) == {"layer_values": ["1", "7"], "final_value": "7"}
    assert ask("/runtime_modify?foo=", "POST").body == b"OK\n"
    assert foo(ask) == {"layer_values": ["1", ""], "final_value": "1"}


@pytest.mark.parametrize(("content_type", "body"), [("", b""), ("text/plain", b"foo=9"), (FORM, b"")])
def test_nothing_to_set_is_answered_with_the_usage(ask, content_type, body):
    response = ask("/runtime_modify", "POST", content_type, body)
    assert (response.status, response.body.decode()) == (400, recorded("runtime_modify_usage.txt"))


def test_without_an_admin_layer_nothing_can_be_set(make_server):
    answer = Admin(make_server("{}")).run(AdminRequest.from_parts("POST", "/runtime_modify?a=b"))
    assert (answer.status, answer.body) == (503, b"No admin layer specified")
