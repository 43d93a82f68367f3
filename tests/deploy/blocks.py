# SPDX-License-Identifier: Apache-2.0
"""The literal blocks of a page of the documentation."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Block:
    """One of them, under the title of its section."""

    section: str
    text: str

    @property
    def first_line(self) -> str:
        """By which it is named here."""
        return self.text.splitlines()[0]


def read(page: Path) -> list[Block]:
    """All of them, in order.

    A block follows a paragraph that ends with ``::``, and is indented more than that.
    """
    return list(_blocks(page.read_text().splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    section = ""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if number < len(lines) and re.fullmatch(r"={3,}|-{3,}", lines[number]) and line.strip("=-"):
            section = line
        if not line.endswith("::") or line.lstrip().startswith(".."):
            continue
        end = number
        while end < len(lines) and (not lines[end] or _indent(lines[end]) > _indent(line)):
            end += 1
        yield Block(section, textwrap.dedent("\n".join(lines[number:end])).strip() + "\n")
        number = end


def _indent(line: str) -> int:
    # The paragraph of a numbered item begins after its number.
    return (
        len(line) - len(re.sub(r"^(?:#\.)? *", "", line))
        if line.startswith("#.")
        else len(line) - len(line.lstrip())
    )
