# SPDX-License-Identifier: Apache-2.0
"""A stick goes from one project to another: in line, by a lease, and without what was stored on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cloud import config
from lab.cloud.process import wait_until
from lab.cloud.site import COMPUTE_HOST
from lab.host import usb
from tests.cloud.conftest import Cloud

_SERIAL, _STICK = "LABSTICK01", "stick1"
_SECRET = b"of-the-other-project"
_SECONDS = 300


@pytest.fixture
def wiped(cloud: Cloud) -> Iterator[Path]:
    """The rule of the stick has it wiped; the file that it stores everything in."""
    file = config.usb_shim_agent(COMPUTE_HOST)
    before = file.read_text()
    rule = f'[{{"serial": "{_SERIAL}", "shared": true, "handover": "wipe"}}, '
    image = usb.image_path(usb.DEVICES[_STICK], cloud.host.directory)
    label = image.read_bytes()[: len(_SECRET)]
    _configure(cloud, before.replace("device_spec = [", f"device_spec = {rule}"))
    yield image
    _configure(cloud, before)
    _write(image, label)


def _configure(cloud: Cloud, text: str) -> None:
    config.usb_shim_agent(COMPUTE_HOST).write_text(text)
    cloud.host.run("kill -HUP $(cat /run/lab/usb-shim-agent.pid)")


def _write(image: Path, content: bytes) -> None:
    descriptor = os.open(image, os.O_WRONLY)
    os.pwrite(descriptor, content, 0)
    os.close(descriptor)


def test_the_next_in_line_reads_nothing_of_what_was_stored(cloud: Cloud, booted: None, wiped: Path) -> None:
    theirs, ours = cloud.server_id("other", "other"), cloud.server_id("demo", "demo")
    other, demo, admin = cloud.usb("other"), cloud.usb("demo"), cloud.usb("admin")

    def stick() -> dict[str, str]:
        [found] = admin.devices.list(host=COMPUTE_HOST, serial=_SERIAL)
        return found

    def wait(true: object, what: str) -> None:
        wait_until(true, what, _SECONDS, cloud.host.running, every=0.5)  # type: ignore[arg-type]

    def is_wiped() -> bool:
        it = stick()
        return (it["handover"], it["state"]) == ("wipe", "available")

    # Another test may have given it to a project: then the new rule has it wiped before anything else.
    wait(is_wiped, "the agent has not read its rules")
    _write(wiped, _SECRET)
    device_id = stick()["id"]
    other.attachments.create(theirs, device_id)
    other.attachments.wait_attached(theirs, device_id)
    assert demo.queue.join(ours, device_id)["place"] == 1
    # The end of the lease takes it from the one, and the other has it once it is wiped.
    other.attachments.update(theirs, device_id, lease=1)
    wait(lambda: stick()["server_id"] == ours and stick()["state"] == "attached", "it is not handed over")
    causes = [event["cause_code"] for event in admin.devices.events(device_id)]
    assert causes.index("queue_served") < causes.index("wiped") < causes.index("lease_ended")
    assert not wiped.read_bytes().strip(b"\0")
    cloud.wait_guest("demo", _SERIAL, present=True)
    wait(lambda: cloud.guest_reads(ours, _SERIAL) == "", "the guest reads something")
    assert demo.queue.list() == []

    # The guest sees the end of its own.
    demo.attachments.update(ours, device_id, lease=1)
    cloud.wait_guest("demo", _SERIAL, present=False)
