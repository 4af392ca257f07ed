"""Durations in buckets."""

import math

import pytest

from uow.db.durations import BUCKETS, LEAST_SECONDS, bucket_of, middle_of, quantile


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.000_1, LEAST_SECONDS, math.nan, -math.inf])
def test_what_took_no_time_or_less_is_in_the_first_bucket(seconds: float) -> None:
    assert bucket_of(seconds) == 0


@pytest.mark.parametrize("seconds", [1e6, 1e300, math.inf])
def test_what_took_longer_than_any_bucket_is_in_the_last(seconds: float) -> None:
    assert bucket_of(seconds) == BUCKETS - 1


def test_the_middle_of_a_bucket_is_nearly_all_that_is_in_it() -> None:
    for exponent in range(-34, 170):
        seconds = 2.0 ** (exponent / 10)
        bucket = bucket_of(seconds)
        assert 0 < bucket < BUCKETS - 1
        assert 1 / 1.19 < middle_of(bucket) / seconds < 1.19


def test_a_quantile_is_where_so_many_have_passed() -> None:
    counts = [0] * BUCKETS
    counts[bucket_of(0.010)], counts[bucket_of(1.0)], counts[bucket_of(60.0)] = 90, 9, 1
    assert quantile(counts, 0.5) == pytest.approx(0.010, rel=0.2)
    assert quantile(counts, 0.95) == pytest.approx(1.0, rel=0.2)
    assert quantile(counts, 0.99) == pytest.approx(1.0, rel=0.2)
    assert quantile(counts, 1.0) == pytest.approx(60.0, rel=0.2)
    assert quantile([0, 0], 0.5) is None
    assert quantile([], 0.5) is None
