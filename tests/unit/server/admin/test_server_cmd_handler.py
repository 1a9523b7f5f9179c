from __future__ import annotations


def test_health_checks_fail_and_pass_again(ask, server):
    assert ask("/healthcheck/fail", "POST").body == b"OK\n"
    assert server.health_check_failed
    assert ask("/healthcheck/ok", "POST").body == b"OK\n"
    assert not server.health_check_failed


def test_quitquitquit_ends_the_server(ask, server):
    assert ask("/quitquitquit", "POST").body == b"OK\n"
    assert server.shut_down


def test_logs_are_reopened(ask, server):
    assert ask("/reopen_logs", "POST").body == b"OK\n"
    assert server.access_logs.reopened == 1
