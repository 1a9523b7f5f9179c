from __future__ import annotations

import json
from pathlib import Path

from minienvoy.config.loader import load_message
from minienvoy.config.schema import message_class
from minienvoy.extensions import register_catalogue
from minienvoy.server.admin.proto_json import ProtoPrinter
from minienvoy.server.local_info import add_extensions, set_build_version

RECORDED = Path(__file__).parent / "admin/recorded"


def test_the_node_says_which_envoy_it_is_like_whatever_was_configured():
    node = load_message("{id: me, user_agent_name: other}", "envoy.config.core.v3.Node").message
    set_build_version(node)
    assert ProtoPrinter().message(node) == {
        "id": "me",
        "user_agent_name": "envoy",
        "user_agent_build_version": {
            "version": {"major_number": 1, "minor_number": 40},
            "metadata": {
                "build.type": "RELEASE",
                "revision.sha": "0" * 40,
                "revision.status": "Clean",
                "ssl.version": "OpenSSL",
            },
        },
    }


def test_extensions_are_told_by_envoys_names_and_types():
    register_catalogue()
    node = message_class("envoy.config.core.v3.Node")()
    add_extensions(node)
    envoys = json.loads((RECORDED / "extensions.json").read_text())
    strangers = [
        (each.category, each.name)
        for each in node.extensions
        if each.name not in envoys.get(each.category, {})
        and not each.name.startswith(("minienvoy.", "test.", "example."))  # ours, and those of tests
    ]
    assert strangers == []
    wrong = {
        each.name: list(each.type_urls)
        for each in node.extensions
        if not set(each.type_urls) <= set(envoys.get(each.category, {}).get(each.name, each.type_urls))
    }
    assert wrong == {}
