from __future__ import annotations

from minienvoy.explain.journal import Journal


def test_entries_are_kept_in_order_and_found_by_point_and_cluster() -> None:
    journal = Journal()
    journal.record(1.5, "a", "health", "10.0.0.1:80 healthy", "first check")
    journal.record(2.0, "b", "ejection", "10.0.0.2:80 ejected", "CONSECUTIVE_5XX")
    journal.record(3.0, "a", "ejection", "10.0.0.1:80 ejected", "SUCCESS_RATE")
    assert [entry.time for entry in journal] == [1.5, 2.0, 3.0]
    assert [entry.time for entry in journal.all("ejection")] == [2.0, 3.0]
    assert [entry.time for entry in journal.all("ejection", "a")] == [3.0]
    assert str(journal.last(2)[0]) == "2.000 s: b: ejection: 10.0.0.2:80 ejected, because CONSECUTIVE_5XX"
    assert journal.last(0) == []
    journal.clear()
    assert len(journal) == 0


def test_the_oldest_entry_makes_room() -> None:
    journal = Journal(2)
    for time in (1.0, 2.0, 3.0):
        journal.record(time, "a", "health", "h", "b")
    assert [entry.time for entry in journal] == [2.0, 3.0]
