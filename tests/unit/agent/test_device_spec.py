# SPDX-License-Identifier: Apache-2.0
"""The rules that say which devices may be given away."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent.device_spec import InvalidDeviceSpec, allows, decide, parse
from compute_shim.objects import Device
from tests.unit.agent.model import device

STICK = device(
    1,
    vendor_id="0781",
    product_id="5567",
    serial="4C53",
    port="1-4.2",
    device_class="08",
    speed="480",
    classes=("080650",),
)
CAMERA = device(2, device_class="ef", classes=("ef0201", "0e0100", "010100"))
KEYBOARD = device(3, vendor_id="413c", product_id="2107", classes=("030101", "030000"))


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
        ('{"serial": "4c53"}', True),
        ('{"serial": "4C5"}', False),
        ('{"port": "1-4.2"}', True),
        ('{"port": "1-4"}', False),
        ('{"port": "1-4.2.1"}', False),
        ('{"port": "1-4*"}', True),
        ('{"port": "1-4.*"}', True),
        ('{"port": "1-*"}', True),
        ('{"port": "1-4.2*"}', True),
        ('{"port": "1-4.2.*"}', False),
        ('{"port": "2-*"}', False),
        ('{"device_class": "08"}', True),
        ('{"class": "08"}', True),
        ('{"class": "0806"}', True),
        ('{"class": "080650"}', True),
        ('{"class": "080651"}', False),
        ('{"class": "03"}', False),
        ('{"speed": "480"}', True),
        ('{"speed": "5000"}', False),
        ('[{"vendor_id": "dead"}, {"vendor_id": "0781"}]', True),
        ("[]", False),
        ('{"allow": false}', False),
        ('{"follow": "socket"}', True),
    ],
)
def test_a_rule(rule: str, expected: bool) -> None:
    assert allows(parse([rule]), STICK) is expected


def test_hexadecimal_digits_match_in_any_case() -> None:
    rules = parse(['{"vendor_id": "DEAD", "product_id": "BEEF", "class": "FF", "device_class": "FF"}'])
    assert allows(
        rules, device(1, vendor_id="dead", product_id="beef", device_class="ff", classes=("ff0102",))
    )


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        ("DB98765432", "DB98765432     "),
        ("DB98765432     ", "DB98765432"),
        ("  ab cd", "AB   CD"),
        ("Straße", "STRASSE "),
    ],
)
def test_serials_are_compared_without_padding_and_case(wanted: str, has: str) -> None:
    assert allows(parse([json.dumps({"serial": wanted})]), device(1, serial=has))


def test_a_port_is_a_socket_as_well() -> None:
    placed = dataclasses.replace(STICK, socket="pci-0000:00:14.0-usbv2-0:4.2")
    assert allows(parse(['{"port": "pci-0000:00:14.0-usbv2-0:4.2"}']), placed)
    assert allows(parse(['{"port": "pci-0000:00:14.0-usbv2-0:4*"}']), placed)
    assert allows(parse(['{"port": "1-4.2"}']), placed)
    assert not allows(parse(['{"port": "pci-0000:00:15.0-*"}']), placed)
    assert not allows(parse(['{"port": "pci-0000:00:14.0-usbv2-0:4.2"}']), STICK)


def test_a_class_is_that_of_the_device_or_of_any_interface() -> None:
    for triple in CAMERA.classes:
        assert allows(parse([f'{{"class": "{triple}"}}']), CAMERA)
    assert not allows(parse(['{"device_class": "0e"}']), CAMERA)


def test_a_device_that_is_a_disk_as_well_can_be_refused_for_its_other_interface() -> None:
    rules = parse(['{"class": "03", "allow": false}', '{"class": "08"}'])
    assert allows(rules, STICK)
    assert not allows(rules, device(1, classes=("080650", "030000")))


def test_the_first_match_decides() -> None:
    refuse_one = ['{"serial": "4C53", "allow": false}', '{"vendor_id": "0781"}']
    assert not allows(parse(refuse_one), STICK)
    assert allows(parse(list(reversed(refuse_one))), STICK)
    [_, second] = rules = parse(['{"port": "9-9"}', '{"vendor_id": "0781"}'])
    assert decide(rules, STICK) is second
    assert (second.number, second.text) == (2, '{"vendor_id": "0781"}')


MINE = [
    KEYBOARD,
    device(1, classes=("080650", "030102")),  # a mouse in a stick
    device(1, classes=("020600", "0a0000")),
    device(1, classes=("0202ff",)),
    device(1, classes=("020d00",)),
    device(1, classes=("020e00",)),
    device(1, classes=("ef0401",)),
    device(1, classes=("e00101",)),
    device(1, classes=("ff0000",), network=True),
]
NOT_MINE = [
    STICK,
    CAMERA,
    device(1, classes=("030000",)),  # a tablet, a power supply
    device(1, classes=("020201", "0a0000")),  # a modem or an Arduino
    device(1, classes=("ff0000",)),
]


@pytest.mark.parametrize("guarded", MINE)
def test_keyboards_mice_and_network_adapters_need_a_rule_with_vendor_and_product(guarded: Device) -> None:
    model = {"vendor_id": guarded.vendor_id, "product_id": guarded.product_id}
    wide = [{}, {"vendor_id": guarded.vendor_id}, {"port": guarded.port}, {"serial": guarded.serial}]
    wide += [{"class": guarded.classes[0]}]
    for rule in wide:
        assert not allows(parse([json.dumps(rule)]), guarded)
    assert allows(parse([json.dumps(model)]), guarded)
    # A rule that is too wide is passed over; the next one may name it.
    assert allows(parse(["{}", json.dumps(model | {"port": guarded.port})]), guarded)
    assert not allows(parse(['{"allow": false}', json.dumps(model)]), guarded)


@pytest.mark.parametrize("other", NOT_MINE)
def test_a_wide_rule_is_enough_for_everything_else(other: Device) -> None:
    assert allows(parse(["{}"]), other)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ('{"vendor_id": "0782", "serial": "x"}', "vendor_id is '0781'"),
        ('{"vendor_id": "0781", "serial": "x"}', "serial is '4C53'"),
        ('{"port": "1-3"}', f"port is '1-4.2 {STICK.socket}'"),
        ('{"class": "03"}', "class is '080650'"),
        ('{"vendor_id": "0781"}', None),
    ],
)
def test_a_rule_says_what_it_does_not_match(rule: str, reason: str | None) -> None:
    [parsed] = parse([rule])
    assert parsed.mismatch(STICK) == reason


def test_a_rule_says_that_it_is_too_wide() -> None:
    [parsed] = parse(["{}"])
    assert parsed.mismatch(KEYBOARD) == "a boot keyboard needs a rule with vendor_id and product_id"


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("vendor=0781", "not JSON"),
        ("", "not JSON"),
        ('{"serial": "A", "serial": "B"}', "the key 'serial' is there twice"),
        ("[" * 100000, "nested too deeply"),
        ('"0781"', "not an object"),
        ("[[]]", "[] is not an object"),
        ("null", "None is not an object"),
        ('{"vendor": "0781"}', "unknown key 'vendor'; known: vendor_id, product_id, serial, port, class"),
        ('{"vendor_id": 781}', "781 is no vendor_id; right is four hexadecimal digits in quotes"),
        ('{"vendor_id": "781"}', "'781' is no vendor_id"),
        ('{"vendor_id": "0x0781"}', "'0x0781' is no vendor_id"),
        ('{"product_id": null}', "None is no product_id"),
        ('{"port": "3"}', "'3' is no port"),
        ('{"port": "1-4."}', "'1-4.' is no port"),
        ('{"port": "*"}', "'*' is no port"),
        ('{"port": "1-*.2"}', "'1-*.2' is no port"),
        ('{"port": 1}', "1 is no port"),
        ('{"serial": ""}', "'' is no serial"),
        ('{"serial": "  "}', "'  ' is no serial"),
        ('{"class": 8}', "8 is no class"),
        ('{"class": "8"}', "'8' is no class"),
        ('{"class": "08065"}', "'08065' is no class"),
        ('{"class": ["08"]}', "['08'] is no class"),
        ('{"speed": 480}', "480 is no speed"),
        ('{"speed": "high"}', "'high' is no speed"),
        ('{"allow": "no"}', "allow must be true or false"),
        ('{"allow": 1}', "1 is no allow"),
        ('{"follow": "port"}', 'follow must be "device" or "socket"'),
        ('{"follow": ["socket"]}', 'follow must be "device" or "socket"'),
        ('{"shared": "true"}', "shared must be true or false"),
        ('{"projects": "p1"}', "right is a list of project ids"),
        ('{"projects": ["p 1"]}', "right is a list of project ids"),
        ('{"projects": [1]}', "right is a list of project ids"),
        ('{"projects": [""]}', "right is a list of project ids"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_and_named(rule: str, complaint: str) -> None:
    with pytest.raises(InvalidDeviceSpec) as caught:
        parse(["{}", rule])
    assert complaint in str(caught.value)
    assert "[usb] device_spec" in str(caught.value)
    assert rule[:100] in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["class", "port", "allow"]), inner),
)


@given(st.text() | _json.map(json.dumps))
def test_whatever_is_written_there_is_a_rule_or_refused_in_one_line(value: str) -> None:
    try:
        rules = parse([value])
    except InvalidDeviceSpec as error:
        assert len(str(error).splitlines()) == 1
    else:
        decide(rules, STICK)
