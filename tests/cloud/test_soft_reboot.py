# SPDX-License-Identifier: Apache-2.0
"""A reboot that the guest itself carries out.

In a module that comes last: the guest boots once more after it, which takes the processor from all others.
"""

from __future__ import annotations

from lab.cloud.site import COMPUTE_HOST, share
from tests.cloud.conftest import Cloud
from tests.cloud.servers import ATTACHED, Server


def test_a_soft_reboot(cloud: Cloud, booted: None) -> None:
    """The guest must switch itself off, so it must have booted; Nova then starts what libvirt has defined."""
    demo = Server(cloud, "demo")
    demo.attach()
    log = share(COMPUTE_HOST) / "nova-compute.log"
    before = log.stat().st_size
    demo.reboot_soft()
    demo.wait_status("ACTIVE")
    assert "Instance soft rebooted successfully" in log.read_text()[before:]
    demo.wait_stick(ATTACHED)
    assert demo.holds_the_stick()
