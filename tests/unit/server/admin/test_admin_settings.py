from __future__ import annotations

import pytest

from minienvoy.config.loader import load_message
from minienvoy.errors import ConfigError
from minienvoy.server.admin.admin_settings import AdminSettings


def settings(text: str) -> AdminSettings:
    return AdminSettings.from_proto(load_message(text, "envoy.config.bootstrap.v3.Admin").message)


def test_without_an_address_there_is_no_interface():
    assert settings("{}") == AdminSettings()


def test_what_is_set_is_taken():
    found = settings(
        "{address: {socket_address: {address: 127.0.0.1, port_value: 9901}}, ignore_global_conn_limit: true,"
        " socket_options: [{level: 1, name: 2, int_value: 3}]}"
    )
    assert found.address.socket_address.port_value == 9901
    assert found.ignore_global_conn_limit
    assert [option.name for option in found.socket_options] == [2]


def test_the_old_path_of_the_access_log_is_a_file_access_log():
    (log,) = settings("{access_log_path: /dev/null}").access_logs
    assert log.typed_config.type_url == "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    assert log.typed_config.value == b"\n\x09/dev/null"


def test_paths_are_allowed_by_any_matcher():
    allow = settings("allow_paths: [{exact: /ready}, {prefix: /stats}]").allow_path
    assert allow is not None
    assert [allow(path) for path in ("/ready", "/ready?x", "/stats?x", "/help", "/\udcff")] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_wrong_regex_is_told_with_its_place():
    with pytest.raises(ConfigError, match=r"admin\.allow_paths\[0\]"):
        settings("allow_paths: [{safe_regex: {regex: '*'}}]")
