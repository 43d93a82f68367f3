# SPDX-License-Identifier: Apache-2.0
"""Codes decide, text explains."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import novaclient_usb
from novaclient_usb.reason_codes import DESCRIPTIONS, ReasonCode, describe

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("compute_shim", "novaclient_usb", "usb_dashboard")
# Texts of RPC 1.0 are a protocol, because that version has no codes.
_PROTOCOL = {_ROOT / "compute_shim/legacy_reasons.py"}

# What holds display text: columns, fields of JSON, attributes and variables.
_DISPLAY = {"state_reason", "blocked_reason", "reason", "cause", "message", "details", "text", "description"}


def _sources() -> list[Path]:
    return sorted(
        path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py") if path not in _PROTOCOL
    )


def _comparisons(tree: ast.AST) -> Iterator[ast.Compare | ast.Match | ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.Match) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("in_", "not_in", "like", "is_distinct_from", "startswith", "endswith")
        ):
            yield node


def _shows_text(node: ast.AST) -> bool:
    """Whether it is a field that holds display text: ``row.state_reason``, ``device["state_reason"]``."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("state_reason", "blocked_reason", "cause") or (
            node.attr == "text" and "reason" in ast.unparse(node.value)
        )
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value in _DISPLAY
    return False


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _compared(node: ast.Compare | ast.Match | ast.Call) -> list[ast.AST]:
    """What is compared with anything but None."""
    if isinstance(node, ast.Match):
        return [node.subject]
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Attribute)
        return [node.func.value]
    sides: list[ast.AST] = [node.left, *node.comparators]
    return [] if any(map(_is_none, sides)) else sides


def _faults(source: str) -> list[str]:
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in _comparisons(ast.parse(source))
        if any(map(_shows_text, _compared(node)))
    ]


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_code_compares_display_text(path: Path) -> None:
    assert _faults(path.read_text()) == []


@pytest.mark.parametrize(
    "fault",
    [
        "row.state_reason == 'unplugged'",
        "row.state_reason in ABSENT",
        "device['state_reason'] != 'in use'",
        "models.Device.blocked_reason.is_distinct_from(NOT_ALLOWED)",
        "models.Event.cause.in_(['asked'])",
        "reason.text == 'x'",
        "device['state_reason'].startswith('used by')",
        "match row.state_reason:\n    case 'unplugged': pass",
    ],
)
def test_a_comparison_is_found(fault: str) -> None:
    assert _faults(fault)


def test_whether_there_is_a_text_may_be_asked() -> None:
    assert _faults("row.state_reason is None or row.blocked_reason is not None") == []


def test_codes_are_stable_words() -> None:
    for code in ReasonCode:
        assert code == code.name.lower()
        assert len(code) <= 64


def test_every_description_is_a_fragment_for_everyone() -> None:
    for code, text in DESCRIPTIONS.items():
        assert text, code
        assert not text.endswith("."), code
        # Paths, process ids and interfaces belong to the details.
        assert "/" not in text and not any(character.isdigit() for character in text), code


def test_a_code_of_a_later_version_is_shown_as_it_is() -> None:
    assert describe("taken_by_aliens") == "taken_by_aliens"
    assert describe(None) is None


def test_every_code_is_documented() -> None:
    page = (_ROOT / "doc/source/reference/reason-codes.rst").read_text()
    table_rows = re.findall(r"^``(\w+)``", page, re.MULTILINE)
    assert set(table_rows) == {code.value for code in ReasonCode}


def test_the_client_exports_the_codes() -> None:
    assert novaclient_usb.ReasonCode is ReasonCode
