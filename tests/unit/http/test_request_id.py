"""`minienvoy.http.request_id`: what every request is called."""

from __future__ import annotations

import random
from uuid import RFC_4122, UUID

from minienvoy.http.header_map import KIND
from minienvoy.http.request_id import AT_ONCE, request_id_maker


def test_ids_are_random_uuids_ready_for_the_wire() -> None:
    make = request_id_maker(random.Random(1).getrandbits)
    values = set()
    for _ in range(3 * AT_ONCE + 1):
        name, value, line, kind = make()
        uuid = UUID(value.decode())
        assert (uuid.version, uuid.variant) == (4, RFC_4122)
        assert str(uuid).encode() == value
        assert (name, line, kind) == (b"x-request-id", b"x-request-id: " + value + b"\r\n", KIND[b"x-request-id"])
        values.add(value)
    assert len(values) == 3 * AT_ONCE + 1


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other = (request_id_maker(random.Random(7).getrandbits) for _ in range(2))
    assert [one() for _ in range(2 * AT_ONCE)] == [other() for _ in range(2 * AT_ONCE)]


def test_every_bit_but_those_of_version_and_variant_is_drawn() -> None:
    nothing, all_ones = request_id_maker(lambda bits: 0), request_id_maker(lambda bits: 2**bits - 1)
    for _ in range(AT_ONCE):
        assert nothing()[1] == b"00000000-0000-4000-8000-000000000000"
        assert all_ones()[1] == b"ffffffff-ffff-4fff-bfff-ffffffffffff"
