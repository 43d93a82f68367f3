# SPDX-License-Identifier: Apache-2.0
"""A server for tests: told what to do through Nova, and looked at from all sides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keystoneauth1.exceptions

from lab.cloud import compute
from lab.cloud.process import wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST
from lab.host import Host
from novaclient_usb.reason_codes import ReasonCode
from tests.cloud.conftest import Cloud

STICK = "LABSTICK02"
"""The serial number of the stick that most tests give away; each host has one."""

State = tuple[str, str | None]
ATTACHED: State = ("attached", None)
OFF: State = ("waiting", ReasonCode.SERVER_OFF)
UNPLUGGED: State = ("waiting", ReasonCode.UNPLUGGED)
ELSEWHERE: State = ("waiting", ReasonCode.SERVER_ON_OTHER_HOST)
SHELVED: State = ("waiting", ReasonCode.SERVER_SHELVED)
FREE: State = ("available", None)

_SECONDS = 300


class Server:
    """A server of the user demo."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._user = Rest(cloud.site, "demo").compute
        self._admin = Rest(cloud.site, "admin").compute
        self._usb = cloud.usb("admin")
        self.id = compute.server_id(Rest(cloud.site, "demo"), name)

    # What its user does to it

    def reboot_hard(self) -> None:
        self.act("reboot", {"type": "HARD"})

    def reboot_soft(self) -> None:
        self.act("reboot", {"type": "SOFT"})

    def stop(self) -> None:
        self.act("os-stop")

    def start(self) -> None:
        self.act("os-start")

    def suspend(self) -> None:
        self.act("suspend")

    def resume(self) -> None:
        self.act("resume")

    def pause(self) -> None:
        self.act("pause")

    def unpause(self) -> None:
        self.act("unpause")

    def rescue(self) -> None:
        self.act("rescue")

    def unrescue(self) -> None:
        self.act("unrescue")

    def rebuild(self) -> None:
        self.act("rebuild", {"imageRef": self._shown()["image"]["id"]})

    def shelve(self) -> None:
        self.act("shelve")

    def unshelve(self) -> None:
        self.act("unshelve")

    def delete(self) -> None:
        self._user.delete(f"/servers/{self.id}")

    def force_delete(self) -> None:
        self.act("forceDelete")

    # What comes of it

    def act(self, action: str, arguments: dict[str, Any] | None = None, *, admin: bool = False) -> None:
        """Tell Nova to do something with it (Compute API reference, "Servers - run an action").

        :param admin: as an operator, not as its user.
        """
        api = self._admin if admin else self._user
        api.post(f"/servers/{self.id}/action", json={action: arguments})

    def _shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self._admin.get(f"/servers/{self.id}").json()["server"]
        return shown

    def host(self) -> str | None:
        """Where Nova says that it is."""
        host: str | None = self._shown()["OS-EXT-SRV-ATTR:host"]
        return host

    def wait_host(self, host: str) -> None:
        """Until Nova sends what concerns it to a host."""
        self.wait(lambda: self.host() == host, f"the server is not on {host}")

    def wait_status(self, status: str) -> None:
        """Until Nova says that it is so, and has nothing more to do."""

        def reached() -> bool:
            shown = self._shown()
            assert shown["status"] != "ERROR", shown["fault"]
            return (shown["status"], shown["OS-EXT-STS:task_state"]) == (status, None)

        self.wait(reached, f"the server is not {status}")

    def wait_gone(self) -> None:
        """Until Nova has forgotten it."""

        def gone() -> bool:
            try:
                self._user.get(f"/servers/{self.id}")
            except keystoneauth1.exceptions.NotFound:
                return True
            return False

        self.wait(gone, "the server is not deleted")

    # The service

    def stick(self, host: str = COMPUTE_HOST, serial: str = STICK) -> dict[str, Any]:
        """The stick of a host, as an operator is shown it."""
        [found] = [device for device in self._usb.devices.list(host=host) if device["serial"] == serial]
        return found

    def claim(self, host: str = COMPUTE_HOST) -> None:
        """Ask for the stick of a host."""
        self._usb.attachments.create(self.id, self.stick(host)["id"])

    def attach(self, host: str = COMPUTE_HOST) -> None:
        """Give it the stick of a host."""
        self.claim(host)
        self._usb.attachments.wait_attached(self.id, self.stick(host)["id"])
        assert self.holds_the_stick(host)

    def detach(self, host: str = COMPUTE_HOST) -> None:
        """Take the stick of a host back."""
        device_id = self.stick(host)["id"]
        self._usb.attachments.delete(self.id, device_id)
        self._usb.attachments.wait_detached(self.id, device_id)

    def wait_stick(self, state: State, host: str = COMPUTE_HOST) -> None:
        """Until the stick of a host is in a state, for a reason."""
        seen: State = FREE

        def reached() -> bool:
            nonlocal seen
            stick = self.stick(host)
            seen = stick["state"], stick["reason_code"]
            return seen == state

        try:
            self.wait(reached, f"the stick of {host} is not {state}")
        except Exception as error:
            error.add_note(f"it is {seen}")
            raise

    # The hosts

    def holds_the_stick(self, host: str = COMPUTE_HOST) -> bool:
        """Whether its QEMU, and no other process, has it open."""
        stick = self.stick(host)
        holders = users(Host(host), f"/dev/bus/usb/{stick['bus']:03}/{stick['device']:03}")
        return len(holders) == 1 and f"-uuid {self.id}" in holders[0]

    def hostdevs(self, host: str = COMPUTE_HOST) -> int:
        """How many USB devices its domain on a host has, or its definition."""
        shown = Host(host).run(f"virsh dumpxml {self.id}; virsh dumpxml --inactive {self.id}", check=False)
        return shown.stdout.count("<hostdev mode='subsystem' type='usb'")

    def wait_hostdevs(self, count: int, host: str) -> None:
        """Until its domain on a host, and its definition, have so many USB devices."""
        self.wait(lambda: self.hostdevs(host) == count, f"the server has not {count} USB devices on {host}")

    def is_known_to(self, host: str) -> bool:
        """Whether libvirt on a host has a domain for it, running or not."""
        return self.id in Host(host).run(["virsh", "list", "--all", "--uuid"]).stdout

    def wait(self, condition: Callable[[], bool], complaint: str) -> None:
        """Until it is so."""
        wait_until(condition, complaint, _SECONDS, self._cloud.host.running, every=0.5)


def users(host: Host, path: str) -> list[str]:
    """The command lines of the processes in a host that have a file open."""
    return host.run(
        f"for fd in $(find /proc/[0-9]*/fd -lname '{path}' 2>/dev/null); do"
        " tr '\\0' ' ' < ${fd%/fd/*}/cmdline; echo; done"
    ).stdout.splitlines()


@contextlib.contextmanager
def running(cloud: Cloud, name: str) -> Iterator[Server]:
    """A new server, which is deleted in the end. Its guest does nothing: nothing here waits for one."""
    user = Rest(cloud.site, "demo")
    compute.create_server(user, name, cloud.halting_image())
    server = Server(cloud, name)
    try:
        yield server
    finally:
        with contextlib.suppress(keystoneauth1.exceptions.NotFound):
            server.delete()
        server.wait_gone()
