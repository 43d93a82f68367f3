# SPDX-License-Identifier: Apache-2.0
"""Reason codes in words."""

from __future__ import annotations

import pytest
from django.utils import translation

from novaclient_usb.reason_codes import DESCRIPTIONS, ReasonCode
from usb_dashboard import devices, reasons


def test_each_code_that_the_service_describes_has_a_text() -> None:
    assert reasons.TEXTS.keys() == DESCRIPTIONS.keys()


@pytest.mark.parametrize("code", sorted(DESCRIPTIONS))
def test_what_the_service_says_to_everybody_is_said_once(code: ReasonCode) -> None:
    assert reasons.text(code, DESCRIPTIONS[code]) == str(reasons.TEXTS[code])
    assert reasons.text(code, "process 968 holds /dev/ttyUSB0") == (
        f"{reasons.TEXTS[code]} (process 968 holds /dev/ttyUSB0)"
    )


def test_a_code_of_a_newer_service_is_told_in_its_words() -> None:
    assert reasons.text("brand_new", "something is wrong") == "something is wrong"
    assert reasons.text(None, None) is None


@pytest.mark.parametrize(
    ("state", "code", "shown"),
    [
        ("waiting", "unplugged", "Waiting: unplugged. Attached again when plugged in."),
        ("unavailable", "in_use", "In use by another project"),
        ("unavailable", "host_down", "Unavailable: <span ng-non-bindable>its host does not answer</span>"),
        ("available", "reset", "Available (reset after use)"),
        ("attached", None, "Attached"),
    ],
)
def test_states(state: str, code: str | None, shown: str) -> None:
    assert devices.shown_state(state, code, DESCRIPTIONS.get(code)) == shown  # type: ignore[call-overload]


def test_states_in_german() -> None:
    with translation.override("de"):
        shown = devices.shown_state("failed", "no_free_usb_port", None)
    assert shown == (
        "Fehlgeschlagen: <span ng-non-bindable>alle USB-Ports der Instanz sind belegt; hängen Sie ein anderes"
        " USB-Gerät ab</span>"
    )


def test_a_long_reason_is_shown_in_part_and_whole_on_demand() -> None:
    text = "x" * 500
    shown = devices.shown_state("failed", None, text)
    assert shown.startswith("Failed: <details><summary><span ng-non-bindable>xxx")
    assert f"<span ng-non-bindable>{text}</span></details>" in shown
