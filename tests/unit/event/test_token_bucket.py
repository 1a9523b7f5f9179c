"""A bucket of tokens over time that the test moves."""

from __future__ import annotations

from minienvoy.event.token_bucket import TokenBucket


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_full_at_first_and_lets_no_more_pass_than_it_holds() -> None:
    bucket = TokenBucket(2, 1.0, Clock())
    assert [bucket.consume(1) for _ in range(3)] == [True, True, False]


def test_tokens_come_one_fraction_after_the_other() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 4.0, clock)
    bucket.consume(10)
    clock.now += 0.2
    assert not bucket.consume(1)
    clock.now += 0.05
    assert bucket.consume(1)
    clock.now += 100
    assert bucket.tokens == 10


def test_a_fraction_can_be_taken() -> None:
    bucket = TokenBucket(1, 0.0, Clock())
    assert [bucket.consume(0.4) for _ in range(3)] == [True, True, False]


def test_it_gives_as_many_whole_tokens_as_there_are() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 1.0, clock)
    bucket.reset(2.7)
    assert not bucket.consume(5)
    assert bucket.consume_up_to(5) == 2
    assert round(bucket.next_token_available(), 6) == 0.3


def test_what_many_additions_leave_of_a_float_is_no_reason_to_refuse() -> None:
    clock = Clock()
    bucket = TokenBucket(1, 10.0, clock)
    for _ in range(200):
        assert bucket.consume(1)
        for _ in range(10):
            clock.now += 0.01
            assert bucket.tokens <= 1.0


def test_a_bucket_that_is_never_filled_has_no_next_token() -> None:
    bucket = TokenBucket(1, 0.0, Clock())
    bucket.consume(1)
    assert bucket.next_token_available() == 0.0
