# SPDX-License-Identifier: Apache-2.0
"""What is asked again and again without news is asked less and less often."""

from __future__ import annotations

from compute_shim.conductor.backoff import BackOff


def looks(back_off: BackOff, now: list[float], until: int) -> list[int]:
    """The seconds in which a thing without news was looked at."""
    looked = []
    for second in range(until):
        now[0] = second
        if back_off.is_due("a"):
            looked.append(second)
            back_off.no_news("a")
    return looked


def test_pauses_double_up_to_eight_times_the_first() -> None:
    now = [0.0]
    assert looks(BackOff(10, lambda: now[0]), now, 320) == [0, 10, 30, 70, 150, 230, 310]


def test_news_begin_anew() -> None:
    now = [0.0]
    back_off = BackOff(10, lambda: now[0])
    looks(back_off, now, 100)
    assert not back_off.is_due("a")
    back_off.news("a")
    assert back_off.is_due("a")


def test_others_have_pauses_of_their_own() -> None:
    now = [0.0]
    back_off = BackOff(10, lambda: now[0])
    back_off.no_news("a")
    assert back_off.is_due("b")


def test_what_is_not_kept_is_due() -> None:
    back_off = BackOff(10, lambda: 0.0)
    for key in ("a", "b"):
        back_off.no_news(key)
    back_off.keep({"a"})
    assert not back_off.is_due("a")
    assert back_off.is_due("b")
