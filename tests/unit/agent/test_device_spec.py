# SPDX-License-Identifier: Apache-2.0
"""The rules that say which devices may be given away."""

from __future__ import annotations

import pytest

from compute_shim.agent.device_spec import InvalidDeviceSpec, allows, parse
from tests.unit.agent.model import device

STICK = device(1, vendor_id="0781", product_id="5567", serial="4C53", port="1-3", device_class="08")


def test_without_a_rule_nothing_is_offered() -> None:
    assert not allows(parse([]), STICK)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{}", True),
        ('{"vendor_id": "0781"}', True),
        ('{"vendor_id": "0781", "product_id": "5567"}', True),
        ('{"vendor_id": "0781", "product_id": "5568"}', False),
        ('{"serial": "4C53"}', True),
        ('{"serial": "4c53"}', False),
        ('{"port": "1-3"}', True),
        ('{"port": "1-3.1"}', False),
        ('{"device_class": "08"}', True),
        ('[{"vendor_id": "dead"}, {"vendor_id": "0781"}]', True),
        ('{"allow": false}', False),
    ],
)
def test_a_rule(rule: str, expected: bool) -> None:
    assert allows(parse([rule]), STICK) is expected


def test_hexadecimal_digits_match_in_any_case() -> None:
    assert allows(parse(['{"vendor_id": "DEAD"}']), device(1, vendor_id="dead"))


def test_the_first_match_decides() -> None:
    refuse_one = ['{"serial": "4C53", "allow": false}', '{"vendor_id": "0781"}']
    assert not allows(parse(refuse_one), STICK)
    assert allows(parse(list(reversed(refuse_one))), STICK)


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("vendor=0781", "not JSON"),
        ('"0781"', "not an object"),
        ('{"vendor": "0781"}', "unknown key 'vendor'"),
        ('{"vendor_id": 781}', "781 is no vendor_id"),
        ('{"vendor_id": "781"}', "'781' is no vendor_id"),
        ('{"port": "3"}', "'3' is no port"),
        ('{"serial": ""}', "'' is no serial"),
        ('{"allow": "no"}', "allow must be true or false"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_and_named(rule: str, complaint: str) -> None:
    with pytest.raises(InvalidDeviceSpec) as caught:
        parse([rule])
    assert complaint in str(caught.value)
    assert rule in str(caught.value)
