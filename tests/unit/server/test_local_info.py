from __future__ import annotations

from minienvoy.config.loader import load_message
from minienvoy.server.admin.proto_json import ProtoPrinter
from minienvoy.server.local_info import set_build_version


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
