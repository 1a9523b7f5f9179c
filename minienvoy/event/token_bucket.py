"""A bucket that fills at a steady rate and is emptied by what it lets pass.

Envoy: `AtomicTokenBucketImpl`, and `TokenBucketImpl` for `LazyTokenBucket`. Tokens come all the time, a fraction of
one after the other, not in portions; `fill_interval` of the configuration only tells the rate.
"""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """
    Args:
        max_tokens: what it holds at most, and holds when it is made.
        fill_rate: tokens a second.
        monotonic_time: seconds.
    """

    __slots__ = ("_fill_rate", "_monotonic_time", "_time", "_tokens", "max_tokens")

    def __init__(self, max_tokens: float, fill_rate: float, monotonic_time: Callable[[], float]) -> None:
        self.max_tokens = float(max_tokens)
        self._fill_rate = fill_rate
        self._monotonic_time = monotonic_time
        self._tokens = self.max_tokens
        self._time = monotonic_time()

    @property
    def tokens(self) -> float:
        """How many there are now."""
        now = self._monotonic_time()
        if now > self._time:
            self._tokens = min(self.max_tokens, self._tokens + (now - self._time) * self._fill_rate)
            self._time = now
        return self._tokens

    def consume(self, wanted: float) -> bool:
        """Take `wanted` tokens, or none at all if there are fewer.

        A hair's breadth is no reason to refuse: what is left of a float after many additions is not exact.
        """
        if self.tokens + 1e-9 < wanted:
            return False
        self._tokens = max(0.0, self._tokens - wanted)
        return True

    def consume_up_to(self, wanted: int) -> int:
        """Take as many whole tokens as there are, `wanted` at most; how many that is."""
        taken = min(wanted, int(self.tokens + 1e-9))
        self._tokens = max(0.0, self._tokens - taken)
        return taken

    def reset(self, tokens: float) -> None:
        """Hold this many now."""
        self._tokens = min(self.max_tokens, tokens)
        self._time = self._monotonic_time()

    def next_token_available(self) -> float:
        """Seconds until there is a whole token."""
        missing = 1.0 - self.tokens
        return max(0.0, missing / self._fill_rate) if self._fill_rate else 0.0


class LazyTokenBucket(TokenBucket):
    """Does not look at the clock while it is full: what comes in that time comes when it is not full any more."""

    @property
    def tokens(self) -> float:
        if self._tokens < self.max_tokens:
            return super().tokens
        return self._tokens
