"""Every random choice, from one seed.

Envoy: `Random::RandomGenerator`. Each user has a stream of its own, so that one more draw here does not change what
is drawn there: with a seed, a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable

RandomStream = random.Random


class RandomGenerator:
    def __init__(self, seed: int | None = None) -> None:
        self.seed = random.SystemRandom().getrandbits(64) if seed is None else seed

    def stream(self, name: str) -> RandomStream:
        """The sequence of the user called `name`, e.g. `cluster.users.lb`; the same seed gives the same sequence."""
        return random.Random(f"{self.seed}/{name}")

    def uuid4(self, name: str) -> Callable[[], str]:
        """A maker of random UUIDs (version 4, variant 1), much cheaper than `uuid.uuid4`."""
        draw = self.stream(name).getrandbits

        def make() -> str:
            digits = f"{draw(128):032x}"
            variant = "89ab"[int(digits[16], 16) & 3]
            return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

        return make


def mersenne_twister(seed: int) -> RandomStream:
    """The sequence of C++'s `std::mt19937`, drawn by `getrandbits(32)`, for choices that Envoy makes by a hash."""
    state = [seed & 0xFFFFFFFF]
    for index in range(1, 624):
        last = state[-1]
        state.append((1812433253 * (last ^ (last >> 30)) + index) & 0xFFFFFFFF)
    stream = random.Random()
    stream.setstate((3, (*state, 624), None))
    return stream
