# SPDX-License-Identifier: Apache-2.0
"""Nova starts a server where a device of its flavor is, and the server has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cloud.conftest import Cloud
from tests.cloud.offered import Offered, offering
from tests.cloud.servers import Server


@pytest.fixture(scope="module")
def offered(cloud: Cloud) -> Iterator[Offered]:
    with offering(cloud) as it:
        yield it


@pytest.fixture
def boot(offered: Offered) -> Iterator[Callable[[str], str]]:
    with offered.booting() as start:
        yield start


def test_a_flavor_with_a_device(cloud: Cloud, offered: Offered, boot: Callable[[str], str]) -> None:
    first, second = boot("stick-1"), boot("stick-2")
    for server_id in (first, second):
        assert offered.wait_built(server_id)["status"] == "ACTIVE"
        # The claim is there already.
        assert len(offered.attachments(server_id)) == 1
    for server_id in (first, second):
        [holder] = offered.holder(offered.wait_attached(server_id))
        assert f"-uuid {server_id}" in holder
    assert offered.inventory() == (2, 0)

    shown = offered.wait_built(boot("stick-3"))
    assert shown["status"] == "ERROR"
    assert "No valid host was found" in shown["fault"]["message"]

    Server(cloud, "stick-1").delete()
    offered.wait(lambda: offered.free() == 1, "the stick of the deleted server is not given back")
    # Nova may have it again as soon as the agent has told that it is out of the first server.
    offered.wait(lambda: offered.inventory() == (2, 0), "the stick is not offered again")
    fourth = boot("stick-4")
    assert offered.wait_built(fourth)["status"] == "ACTIVE"
    offered.wait_attached(fourth)


def test_what_is_attached_by_hand_is_not_given_away(
    cloud: Cloud, offered: Offered, boot: Callable[[str], str]
) -> None:
    demo = cloud.server_id("demo", "demo")
    by_hand = offered.sticks()[0]["id"]
    offered.usb.attachments.create(demo, by_hand)
    offered.wait(lambda: offered.inventory() == (2, 1), "the stick is not reserved")
    only = boot("stick-5")
    assert offered.wait_built(only)["status"] == "ACTIVE"
    assert offered.wait_attached(only)["id"] != by_hand
    assert offered.wait_built(boot("stick-6"))["status"] == "ERROR"
    offered.usb.attachments.delete(demo, by_hand)
    offered.wait(lambda: offered.inventory() == (2, 0), "the stick is still reserved")
