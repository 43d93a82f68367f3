# SPDX-License-Identifier: Apache-2.0
"""The German translation is complete, and what is compiled is what is written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages import catalog, extract, mofile, pofile
from django.utils import translation
from django.utils.translation import template

import usb_dashboard

PACKAGE = Path(usb_dashboard.__file__).parent
GERMAN = PACKAGE / "locale" / "de" / "LC_MESSAGES"

# As `django-admin makemessages` knows them, beyond those of babel.
KEYWORDS = {
    **extract.DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}

Key = tuple[str | None, str | tuple[str, ...]]


def sources() -> Iterator[tuple[Path, str]]:
    """All that may hold texts, as Python."""
    for path in PACKAGE.rglob("*.py"):
        yield path, path.read_text()
    for path in PACKAGE.rglob("*.html"):
        # What is no text becomes words, at places where Python would not have them.
        lines = template.templatize(path.read_text()).splitlines()
        yield path, "\n".join(line.strip() for line in lines)


def texts() -> dict[Key, Path]:
    """Every text that is to be translated, and a file that it is in."""
    return {
        (context, message): path
        for path, source in sources()
        for _line, message, _comments, context in extract.extract(
            "python", io.BytesIO(source.encode()), KEYWORDS
        )
    }


@pytest.fixture(scope="module")
def written() -> catalog.Catalog:
    with (GERMAN / "django.po").open("rb") as file:
        return pofile.read_po(file, abort_invalid=True)


def translations(of: catalog.Catalog) -> dict[Key, str | tuple[str, ...]]:
    return {
        (message.context, _hashable(message.id)): _hashable(message.string) for message in of if message.id
    }


def _hashable(text: str | list[str] | tuple[str, ...] | None) -> str | tuple[str, ...]:
    return text if isinstance(text, str) else tuple(text or ())


def test_there_are_texts_in_both_kinds_of_files() -> None:
    assert {path.suffix for path in texts().values()} == {".py", ".html"}


def test_every_text_is_there_and_nothing_else(written: catalog.Catalog) -> None:
    assert translations(written).keys() == texts().keys()


def test_every_text_is_translated(written: catalog.Catalog) -> None:
    for message in written:
        strings = [message.string] if isinstance(message.string, str) else message.string
        assert strings and all(strings), message.id
        assert not message.fuzzy, message.id
        assert not list(message.check(written)), message.id


def test_what_is_compiled_is_what_is_written(written: catalog.Catalog) -> None:
    with (GERMAN / "django.mo").open("rb") as file:
        assert translations(mofile.read_mo(file)) == translations(written)


def test_it_is_used() -> None:
    with translation.override("de"):
        assert translation.gettext("USB Devices") == "USB-Geräte"
