from __future__ import annotations

import json


def test_nothing_is_waited_for(ask):
    assert ask("/init_dump").body == b"{}\n"
    assert ask("/init_dump?mask=listener").body == b"{}\n"


def test_clusters_that_warm_are_waited_for(ask, server, monkeypatch):
    monkeypatch.setattr(server.cluster_manager, "warming_clusters", lambda: {"slow": object()})
    dumps = json.loads(ask("/init_dump").body)["unready_targets_dumps"]
    assert dumps == [{"name": "init manager Cluster manager", "target_names": ["target slow"]}]
