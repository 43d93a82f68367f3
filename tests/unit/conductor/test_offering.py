# SPDX-License-Identifier: Apache-2.0
"""The resource providers of hosts are kept up to date with few calls, whatever others do to them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import pytest

from compute_shim import exception, placement
from compute_shim.conductor.offering import Offering
from compute_shim.db.allocations import Offer
from compute_shim.placement import MARK, Allocations, Inventories, Inventory, Provider

HOST, OTHER = "compute1", "compute2"
NODES = {HOST: "node1", OTHER: "node2"}
DONGLE, MODEL = "CUSTOM_USB_DONGLE", "CUSTOM_USB_ID_0529_0001"
OFFERS = {"dongle": Offer(total=3, reserved=1, free=2, models={"0529:0001"})}
_PAUSE = 60


class Placement:
    """Remembers what it was told, and in which order it was called."""

    def __init__(self) -> None:
        self.there: dict[str, Provider] = {}
        self.inventory: dict[str, Inventories] = {}
        self.trait: dict[str, set[str]] = {}
        self.calls: list[str] = []
        # Call -> what to raise, each once.
        self.errors: list[tuple[str, Exception]] = []

    def _called(self, name: str, what: str) -> None:
        self.calls.append(f"{name} {what}")
        for error in self.errors:
            if error[0] == name:
                self.errors.remove(error)
                raise error[1]

    def provider(self, host: str = HOST) -> Provider:
        return self.there[f"{host}_usb"]

    def _changed(self, uuid: str, generation: int) -> int:
        [provider] = [it for it in self.there.values() if it.uuid == uuid]
        if provider.generation != generation:
            raise placement.Conflict("another generation", placement.CONCURRENT_UPDATE)
        self.there[provider.name] = Provider(uuid, provider.name, generation + 1, provider.parent)
        return generation + 1

    def change(self, host: str = HOST) -> None:
        """Somebody else changes a provider."""
        provider = self.provider(host)
        self._changed(provider.uuid, provider.generation)

    # As compute_shim.placement.Placement

    def providers(self, name: str | None = None) -> list[Provider]:
        self._called("providers", name or "")
        marked = [it for it in self.there.values() if MARK in self.trait[it.uuid]]
        return marked if name is None else [it for it in self.there.values() if it.name == name]

    def create_provider(self, name: str, parent: str) -> Provider:
        self._called("create_provider", name)
        if name in self.there:
            raise placement.Conflict("duplicate", placement.DUPLICATE_NAME)
        provider = self.there[name] = Provider(f"uuid-of-{name}", name, 0, parent)
        self.trait[provider.uuid], self.inventory[provider.uuid] = set(), {}
        return provider

    def delete_provider(self, uuid: str) -> None:
        self._called("delete_provider", uuid)
        self.there = {name: it for name, it in self.there.items() if it.uuid != uuid}

    def create_class(self, name: str) -> None:
        self._called("create_class", name)

    def create_trait(self, name: str) -> None:
        self._called("create_trait", name)

    def traits(self, uuid: str) -> set[str]:
        self._called("traits", uuid)
        return self.trait[uuid]

    def set_traits(self, uuid: str, generation: int, traits: Collection[str]) -> int:
        self._called("set_traits", uuid)
        generation = self._changed(uuid, generation)
        self.trait[uuid] = set(traits)
        return generation

    def inventories(self, uuid: str) -> tuple[int, Inventories]:
        self._called("inventories", uuid)
        [provider] = [it for it in self.there.values() if it.uuid == uuid]
        return provider.generation, self.inventory[uuid]

    def set_inventories(self, uuid: str, generation: int, inventories: Inventories) -> int:
        self._called("set_inventories", uuid)
        generation = self._changed(uuid, generation)
        self.inventory[uuid] = dict(inventories)
        return generation


class Conductor:
    def __init__(self) -> None:
        self.placement = Placement()
        self.nodes: Mapping[str, str] = dict(NODES)
        self.nova_asked = 0
        self.nova_is_away = False
        self.clock = 0.0
        self.offering = Offering(
            self.placement,  # type: ignore[arg-type]
            self._nodes,
            lambda: self.clock,
        )

    def _nodes(self) -> Mapping[str, str]:
        self.nova_asked += 1
        if self.nova_is_away:
            raise exception.Unavailable("Nova is away")
        return self.nodes

    def providers(self, *hosts: str) -> list[str]:
        """The hosts that have one."""
        return [provider.host for provider in self.offering.providers(hosts)]

    def update(
        self, offers: Mapping[str, Offer] = OFFERS, allocations: Allocations | None = None, host: str = HOST
    ) -> list[str]:
        """The calls that it took."""
        self.placement.calls.clear()
        self.offering.update(self.placement.provider(host), offers, allocations or {})
        return [call.partition(" ")[0] for call in self.placement.calls]

    def inventories(self, host: str = HOST) -> Inventories:
        return self.placement.inventory[self.placement.provider(host).uuid]

    def traits(self, host: str = HOST) -> set[str]:
        return self.placement.trait[self.placement.provider(host).uuid]


@pytest.fixture
def conductor() -> Conductor:
    return Conductor()


@pytest.fixture
def offered(conductor: Conductor) -> Conductor:
    """A host whose devices are offered."""
    conductor.providers(HOST)
    conductor.update()
    return conductor


def test_a_provider_is_created_below_the_compute_node(conductor: Conductor) -> None:
    assert conductor.providers(HOST) == [HOST]
    provider = conductor.placement.provider()
    assert (provider.name, provider.parent) == ("compute1_usb", "node1")
    assert conductor.traits() == {MARK}
    [returned] = conductor.offering.providers([HOST])
    assert returned.generation == provider.generation == 1
    assert conductor.nova_asked == 1


def test_the_generation_of_a_new_provider_is_that_after_its_trait(conductor: Conductor) -> None:
    [provider] = conductor.offering.providers([HOST])
    assert provider.generation == 1


def test_those_that_are_there_cost_one_call(conductor: Conductor) -> None:
    conductor.providers(HOST, OTHER)
    conductor.placement.calls.clear()
    assert conductor.providers(HOST) == [HOST, OTHER]
    assert conductor.placement.calls == ["providers "]
    assert conductor.nova_asked == 1


def test_a_host_without_compute_node_is_said_and_tried_later(
    conductor: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    conductor.nodes = {OTHER: "node2"}
    assert conductor.providers(HOST, OTHER) == [OTHER]
    assert "Nova has no compute node of host compute1" in caplog.text
    conductor.nodes = NODES
    conductor.clock = _PAUSE - 1
    assert conductor.providers(HOST, OTHER) == [OTHER]
    assert conductor.nova_asked == 1
    conductor.clock = _PAUSE
    assert conductor.providers(HOST, OTHER) == [OTHER, HOST]


def test_nova_is_away(conductor: Conductor, caplog: pytest.LogCaptureFixture) -> None:
    conductor.nova_is_away = True
    assert conductor.providers(HOST) == []
    assert "Nova does not tell its compute nodes: Nova is away" in caplog.text


def test_a_provider_that_was_left_without_its_trait_is_ours(conductor: Conductor) -> None:
    conductor.placement.create_provider("compute1_usb", "node1")
    assert conductor.providers(HOST) == [HOST]
    assert conductor.traits() == {MARK}


def test_a_provider_of_somebody_else_is_not(conductor: Conductor, caplog: pytest.LogCaptureFixture) -> None:
    conductor.placement.create_provider("compute1_usb", "another-node")
    assert conductor.providers(HOST) == []
    assert "The resource provider compute1_usb cannot be created: duplicate" in caplog.text
    conductor.placement.calls.clear()
    conductor.clock = _PAUSE - 1
    conductor.providers(HOST)
    assert conductor.placement.calls == ["providers "]


def test_one_that_is_refused_and_not_there(conductor: Conductor) -> None:
    conductor.placement.errors.append(("create_provider", placement.Refused("no such parent")))
    assert conductor.providers(HOST) == []


def test_what_is_offered_is_written(conductor: Conductor) -> None:
    conductor.providers(HOST)
    assert conductor.update() == [
        *("inventories", "traits", "create_class", "set_inventories", "create_trait", "set_traits")
    ]
    assert conductor.inventories() == {DONGLE: Inventory(3, 1)}
    assert conductor.traits() == {MARK, MODEL}


def test_nothing_that_is_the_same_is_written_or_read(offered: Conductor) -> None:
    assert offered.update() == []


def test_only_what_differs_is_written(offered: Conductor) -> None:
    assert offered.update({"dongle": Offer(3, 2, 1, {"0529:0001"})}) == ["set_inventories"]
    assert offered.inventories() == {DONGLE: Inventory(3, 2)}
    assert offered.update({"dongle": Offer(3, 2, 1, {"1234:5678"})}) == ["create_trait", "set_traits"]
    assert offered.traits() == {MARK, "CUSTOM_USB_ID_1234_5678"}


def test_another_host_needs_no_new_names(offered: Conductor) -> None:
    offered.providers(HOST, OTHER)
    assert offered.update(host=OTHER) == ["inventories", "traits", "set_inventories", "set_traits"]


def test_kinds_of_one_class_are_added_up(conductor: Conductor) -> None:
    conductor.providers(HOST)
    conductor.update({"a-b": Offer(3, 1, 2, {"0001:0001"}), "a_b": Offer(2, 2, 0, {"0001:0002"})})
    assert conductor.inventories() == {"CUSTOM_USB_A_B": Inventory(5, 3)}
    assert conductor.traits() == {MARK, "CUSTOM_USB_ID_0001_0001", "CUSTOM_USB_ID_0001_0002"}


def test_a_class_of_which_something_is_allocated_stays(offered: Conductor) -> None:
    offered.update({}, {"server": {DONGLE: 1, "CUSTOM_USB_OTHER": 5}, "another": {DONGLE: 1}, "third": {}})
    assert offered.inventories() == {DONGLE: Inventory(2, 2)}
    offered.update({}, {"third": {"CUSTOM_USB_OTHER": 5}})
    assert offered.inventories() == {}


def test_one_that_others_have_changed_is_read_again(offered: Conductor) -> None:
    offered.placement.change()
    assert offered.update() == ["inventories", "traits"]
    assert offered.update() == []


def test_a_change_of_others_in_between_is_no_error(
    offered: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    known = offered.placement.provider()
    offered.placement.change()
    offered.placement.calls.clear()
    # As it was read before that.
    offered.offering.update(known, {}, {})
    assert offered.inventories() == {}
    assert offered.traits() == {MARK}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_others_change_it_all_the_time(offered: Conductor, caplog: pytest.LogCaptureFixture) -> None:
    conflict = placement.Conflict("another generation", placement.CONCURRENT_UPDATE)
    offered.placement.errors += [("set_inventories", conflict)] * 4
    offered.update({})
    assert "Others change the resource provider compute1_usb all the time; trying later" in caplog.text
    assert offered.inventories() == {DONGLE: Inventory(3, 1)}
    offered.update({})
    assert offered.inventories() == {}


def test_a_name_that_somebody_has_deleted_is_created_again(
    offered: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    offered.placement.errors.append(("set_inventories", placement.Refused("no such class")))
    assert offered.update({"dongle": Offer(4, 0, 4, {"0529:0001"})}) == ["set_inventories"]
    assert "The resource provider compute1_usb cannot be updated: no such class" in caplog.text
    assert "create_class" in offered.update({"dongle": Offer(4, 0, 4, {"0529:0001"})})
    assert offered.inventories() == {DONGLE: Inventory(4, 0)}


def test_a_provider_of_which_others_forget_the_mark_is_read_anew(offered: Conductor) -> None:
    """What is known of one that is not ours any more does not count."""
    offered.placement.trait["uuid-of-compute1_usb"] = set()
    assert offered.providers() == []
    offered.placement.trait["uuid-of-compute1_usb"] = {MARK}
    assert offered.providers() == [HOST]
    assert offered.update() == ["inventories", "traits", "set_traits"]


def test_the_provider_of_a_host_that_is_gone(offered: Conductor) -> None:
    offered.offering.remove(offered.placement.provider())
    assert offered.placement.there == {}


def test_it_stays_while_something_of_it_is_allocated(
    offered: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    in_use = placement.Conflict("in use", placement.INVENTORY_IN_USE)
    offered.placement.errors.append(("delete_provider", in_use))
    with caplog.at_level(logging.INFO):
        offered.offering.remove(offered.placement.provider())
    assert list(offered.placement.there) == ["compute1_usb"]
    assert "is deleted" not in caplog.text
