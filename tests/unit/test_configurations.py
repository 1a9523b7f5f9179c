"""What the census of configurations makes of what programs say."""

from __future__ import annotations

from tests.configurations import Row, Verdict, cause_of, files_below, reasons_of, summary, table

ENVOY = "[2026-01-02 03:04:05.678][1][critical][main] [source/server/server.cc:76] "
OURS = "[2026-01-02 03:04:05.678][1][critical][main] [minienvoy/cli.py:135] "


def test_reason_of_envoy_is_what_stands_behind_the_name_of_the_file():
    said = f"{ENVOY}error initializing configuration 'a.yaml': Didn't find a thing\n"
    assert reasons_of(said) == ("Didn't find a thing",)


def test_every_field_that_is_not_honoured_is_a_reason_of_its_own():
    said = "\n".join(
        [
            f"{OURS}error initializing configuration 'a.yaml': 2 fields are set that minienvoy does not honour:",
            f"{OURS}  a.yaml:1:1: admin.x: not supported",
            f"{OURS}  a.yaml:2:3: b[0].typed_config: no extension of minienvoy takes envoy.a.v3.B: Didn't find it",
            f"{OURS} (docs/supported.md lists what is honoured)",
        ]
    )
    first, second = reasons_of(said)
    assert first == "admin.x: not supported"
    assert cause_of(first) == "admin.x: not supported"
    assert cause_of(second) == "envoy.a.v3.B"


def test_who_says_nothing_has_said_nothing():
    assert reasons_of("\n") == ("said nothing",)


def test_table_and_summary_count_what_both_take():
    refused = Verdict(False, ("no extension of minienvoy takes envoy.a.v3.B",))
    rows = [
        Row("a.yaml", Verdict(True), Verdict(True), Verdict(True)),
        Row("b.yaml", Verdict(True), refused, None),
        Row("c.yaml", Verdict(False, ("no",)), refused, None),
        Row("d.yaml", Verdict(True), Verdict(True), Verdict(False, ("a port is taken",))),
    ]
    assert [line.split("  ")[0] for line in table(rows).splitlines()] == [
        "both",
        "only Envoy",
        "neither",
        "does not start",
    ]
    said = summary(rows)
    assert said.startswith("4 files; Envoy takes 3, minienvoy takes 2 of them (66.7 %); started: 1\n")
    assert "   1 alone    1 in all  envoy.a.v3.B" in said


def test_only_configurations_are_looked_at(tmp_path):
    for name in ("a.yaml", "b.json", "c.txt", "d/e.yml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert [path.name for path in files_below(tmp_path)] == ["a.yaml", "b.json", "e.yml"]
    assert [path.name for path in files_below(tmp_path, ["d/"])] == ["e.yml"]
