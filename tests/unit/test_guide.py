# SPDX-License-Identifier: Apache-2.0
"""The installation guide and what ``tests/deploy`` does with its commands."""

from __future__ import annotations

from tests.deploy import blocks, guide


def test_each_block_of_the_guide_is_followed_or_has_a_reason() -> None:
    found = [block.first_line for block in blocks.read(guide.PAGE)]
    assert found == [step.first_line for step in guide.STEPS]


def test_readers_put_their_own_only_where_the_guide_has_a_word_for_it() -> None:
    texts = [block.text for block in blocks.read(guide.PAGE)]
    assert [
        (step.first_line, word)
        for step, text in zip(guide.STEPS, texts, strict=True)
        for word in step.own
        if word not in text
    ] == []
