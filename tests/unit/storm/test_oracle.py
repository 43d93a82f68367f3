# SPDX-License-Identifier: Apache-2.0
"""The oracle of the storm sees what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.storm.oracle import Ledger, disagreements

ONE, TWO = "server-one", "server-two"
DEVICE, FREE = "device-a", "device-b"


@pytest.fixture
def ledger() -> Ledger:
    """One server was given a device."""
    ledger = Ledger()
    ledger.granted(ONE, DEVICE)
    return ledger


def test_an_ordinary_life_is_no_violation(ledger: Ledger) -> None:
    ledger.granted(ONE, DEVICE)  # asked for once more
    ledger.refused(TWO, DEVICE, "device_taken")
    ledger.listed(ONE, {DEVICE: "attaching"}, [])
    ledger.listed(ONE, {DEVICE: "attached"}, [DEVICE])
    assert ledger.holds(ONE, DEVICE)
    assert ledger.claims() == {DEVICE: ONE}
    ledger.giving_up(ONE, DEVICE)
    ledger.listed(ONE, {DEVICE: "detaching"}, [DEVICE])
    ledger.taken_out(ONE, DEVICE)
    ledger.refused(ONE, DEVICE, "device_detaching")
    ledger.granted(TWO, DEVICE)
    ledger.listed(ONE, {}, [])
    assert ledger.violations == []
    assert (ledger.devices_of(ONE), ledger.devices_of(TWO)) == ([], [DEVICE])


def test_a_double_owner(ledger: Ledger) -> None:
    ledger.granted(TWO, DEVICE)
    [violation] = ledger.violations
    assert "double owner" in violation
    assert f"granted to {ONE}" in violation  # its history


@pytest.mark.parametrize("states", [{}, {DEVICE: "detaching"}, {FREE: "detaching"}])
def test_a_claim_that_a_list_has_lost(ledger: Ledger, states: dict[str, str]) -> None:
    ledger.listed(ONE, states, [])
    [violation] = ledger.violations
    assert "lost claim" in violation


def test_a_claim_that_a_refusal_denies(ledger: Ledger) -> None:
    ledger.refused(ONE, DEVICE, "device_taken")
    [violation] = ledger.violations
    assert "lost claim" in violation


def test_a_claim_that_is_gone_before_it_is_given_up(ledger: Ledger) -> None:
    ledger.giving_up(ONE, DEVICE)
    ledger.lost(ONE, DEVICE)
    [violation] = ledger.violations
    assert "lost claim" in violation


def test_a_claim_that_comes_back(ledger: Ledger) -> None:
    ledger.giving_up(ONE, DEVICE)
    ledger.listed(ONE, {DEVICE: "attached"}, [DEVICE])
    [violation] = ledger.violations
    assert "unasked claim" in violation


def test_a_claim_that_is_only_said_to_be_attached(ledger: Ledger) -> None:
    ledger.listed(ONE, {DEVICE: "attached"}, [FREE])
    [violation] = ledger.violations
    assert "not in the domain" in violation


RIGHT: dict[str, Any] = {
    "claims": {DEVICE: ONE},
    "devices": [DEVICE, FREE],
    "rows": {DEVICE: ("attached", ONE), FREE: ("available", None)},
    "shown": {"api1": {DEVICE: ("attached", ONE), FREE: ("available", None)}},
    "domains": {ONE: {DEVICE}, TWO: set()},
}


def test_it_agrees_with_what_is_right() -> None:
    assert list(disagreements(**RIGHT)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"claims": {}}, id="nobody has the claim"),
        pytest.param({"claims": {DEVICE: TWO}}, id="another has the claim"),
        pytest.param({"claims": {DEVICE: ONE, FREE: TWO}}, id="a lost claim"),
        pytest.param({"rows": RIGHT["rows"] | {DEVICE: ("attaching", ONE)}}, id="left in attaching"),
        pytest.param({"rows": RIGHT["rows"] | {FREE: ("detaching", TWO)}}, id="left in detaching"),
        pytest.param({"rows": {DEVICE: ("attached", ONE)}}, id="a device is forgotten"),
        pytest.param({"rows": RIGHT["rows"] | {"device-c": ("waiting", ONE)}}, id="a device too many"),
        pytest.param({"shown": {"api1": RIGHT["rows"], "api2": {}}}, id="one API shows nothing"),
        pytest.param({"domains": {ONE: set(), TWO: set()}}, id="not in its domain"),
        pytest.param({"domains": {ONE: {DEVICE}, TWO: {DEVICE}}}, id="in two domains"),
        pytest.param({"domains": {ONE: {DEVICE}, TWO: {FREE}}}, id="left in a domain"),
    ],
)
def test_what_is_wrong_at_the_end(wrong: dict[str, Any]) -> None:
    assert list(disagreements(**(RIGHT | wrong)))
