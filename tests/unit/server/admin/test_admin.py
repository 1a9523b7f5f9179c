from __future__ import annotations

import re

import pytest

from minienvoy.server.admin.admin import Admin
from minienvoy.server.admin.request import AdminRequest, text_response
from minienvoy.server.admin.url_handler import ParamDescriptor, ParamType

from .conftest import recorded


def test_help_is_envoys(ask):
    response = ask("/help")
    assert (response.status, response.body.decode()) == (200, recorded("help.txt"))


@pytest.mark.parametrize("target", ["/nope", "/ready/", "/help/x", "/stats/foo", "", "ready"])
def test_unknown_path_is_not_found_and_answered_with_the_help(ask, target):
    response = ask(target)
    assert (response.status, response.body.decode()) == (404, recorded("nope.txt"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/logging", "/quitquitquit", "/stats/recentlookups/enable", "/heapprofiler"])
def test_what_changes_the_server_must_be_posted(ask, server, method, path):
    response = ask(path, method)
    assert (response.status, response.body) == (405, f"Method {method} not allowed, POST required.".encode())
    assert not server.shut_down


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
def test_what_only_reads_may_be_asked_with_any_method(ask, method):
    assert ask("/ready", method).body == b"LIVE\n"


def test_every_answer_says_that_it_must_not_be_cached_or_sniffed(ask):
    assert ask("/ready").header_map().pairs() == [
        (":status", "200"),
        ("content-type", "text/plain; charset=UTF-8"),
        ("cache-control", "no-cache, max-age=0"),
        ("x-content-type-options", "nosniff"),
    ]


def test_refusals_of_config_dump_say_nosniff_twice_as_envoys_do(ask):
    assert ask("/config_dump?resource=foo").header_map().pairs() == [
        (":status", "404"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "text/plain"),
        ("cache-control", "no-cache, max-age=0"),
        ("x-content-type-options", "nosniff"),
    ]


def test_paths_that_are_not_allowed_are_forbidden_query_included(server):
    admin = Admin(server, {"/ready"}.__contains__)
    assert admin.run(AdminRequest.from_parts("GET", "/ready")).status == 200
    refused = admin.run(AdminRequest.from_parts("GET", "/ready?x"))
    assert (refused.status, refused.body) == (403, b"request to path /ready?x not allowed")
    assert admin.run(AdminRequest.from_parts("GET", "/nope")).status == 403


def test_handlers_can_be_added_and_removed(admin, ask):
    def answer(request: AdminRequest):
        return text_response(request.query.first("who") or "nobody")

    who = ParamDescriptor(ParamType.STRING, "who", "whom to greet")
    assert admin.add_handler("/hello", "greets", answer, params=(who,))
    assert ask("/hello?who=you").body == b"you"
    assert "  /hello: greets\n      who: whom to greet\n" in ask("/help").body.decode()
    assert admin.remove_handler("/hello")
    assert ask("/hello").status == 404


@pytest.mark.parametrize("prefix", ["/ready", "hello", "/<b>", "/a&b", "/it's", '/"'])
def test_a_handler_is_refused_if_its_path_is_taken_or_unsafe(admin, prefix):
    assert not admin.add_handler(prefix, "", lambda request: text_response(""))


def test_built_in_handlers_stay(admin, ask):
    assert not admin.remove_handler("/ready")
    assert not admin.remove_handler("/nope")
    assert ask("/ready").status == 200


def test_home_page_has_links_for_reads_and_forms_for_commands(ask):
    response = ask("/")
    page = response.body.decode()
    assert dict(response.headers)["content-type"] == "text/html; charset=UTF-8"
    assert "<a href='certs'>certs</a>" in page
    assert re.search(r"<form action='quitquitquit' method='post' .*<button>quitquitquit</button>", page)
    assert "<select name='enable'" in page
    assert "minienvoy/explain" in page


def test_home_page_escapes_what_handlers_say(admin, ask):
    admin.add_handler("/x", "<script>alert('x')</script>", lambda request: text_response(""))
    page = ask("/").body.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
