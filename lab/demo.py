# SPDX-License-Identifier: Apache-2.0
"""Shows what this project is for: an ordinary user gives a USB stick to a running server.

python -m lab.demo
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keystoneauth1.exceptions

from lab.cloud import compute, compute_host, config, horizon, lifecycle, site
from lab.cloud.process import wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST
from lab.cloud.timeline import LabError
from lab.guest import console
from lab.host import Host, HostError, usb
from lab.paths import ROOT
from novaclient_usb.reason_codes import ReasonCode

SERVER = "demo"
# Two sticks of one model; if somebody else has the first, the second serves as well.
SERIALS = ("LABSTICK01", "LABSTICK02")
_GUEST_SECONDS = 600
_SERVICE_SECONDS = 120

_HOW_TO_GO_ON = """
It goes on running, and two more servers come up: demo2 (yours), other (of another project). To go on:

    source {openrc}
    nova usb-list --server demo
    nova usb-attach demo2 {serial}          # refused: it is taken
    nova usb-detach --wait demo {serial}
    openstack server add usb device --wait demo 08e6:4433    # the smart-card reader
    openstack server usb device list demo
    python -m lab guest usb demo                # what the guest itself sees
    python -m lab host devices                  # what is plugged into the compute host
    python -m lab host unplug stick1            # and plug, replug: watch nova usb-list
    python -m lab host run -- lsusb             # a command in the compute host
    python -m lab status
    source lab/run/openrc-other                 # somebody of another project; openrc-admin: the admin

The same in a browser: Project > Compute > Instances, Attach USB Device.

{horizon}

    make demo-down                              # stops everything
"""


def main() -> int:
    """Run the demo; returns the exit status."""
    began = time.monotonic()
    if lifecycle.up(more_servers=False):
        return 1
    try:
        serial = _attach()
    except LabError as error:
        print(error.explain(), file=sys.stderr)
        return 1
    except (HostError, keystoneauth1.exceptions.ClientException) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        lifecycle.start_more_servers()
    print(f"\nThe guest has the stick, {time.monotonic() - began:.0f} s after the start.")
    print(_HOW_TO_GO_ON.format(openrc=_openrc(), serial=serial, horizon=horizon.how_to_log_in(site.load())))
    return 0


def _attach() -> str:
    """Attach a stick as a user would; returns its serial."""
    print(f"\nAs {SERVER}, an ordinary member of the project {SERVER}:\n")
    _echo("source", _openrc())
    user = Rest(site.load(), SERVER)
    server_id = compute.server_id(user, SERVER)
    _plug_sticks()
    _make_one_free(Rest(site.load(), "admin"), user)
    serial = _free_stick(user)
    _wait_for_guest(
        server_id,
        "The guest has not booted",
        lambda said: "READY" in said and not _sees(said, serial),
    )
    print("\nThe guest's own list of USB devices before:")
    _show_guest_list()
    _run("nova", "usb-list", "--server", SERVER)
    _run("nova", "usb-attach", "--wait", SERVER, serial)
    _wait_for_guest(server_id, f"The guest does not see {serial}", lambda said: _sees(said, serial))
    print("\nThe guest's own list of USB devices after:")
    _show_guest_list()
    return serial


def _openrc() -> str:
    return os.path.relpath(config.openrc(SERVER), ROOT)


def _plug_sticks() -> None:
    """Plug in sticks that were unplugged since an earlier demo, in any free port.

    :raises HostError: there is none
    """
    host = Host(COMPUTE_HOST)
    ports = {plugged.device.name: plugged.port for plugged in host.devices()}
    free = [str(port) for port in range(1, usb.CONTROLLER_PORTS + 1) if str(port) not in ports.values()]
    for device in usb.DEVICES.values():
        if device.serial in SERIALS and ports[device.name] is None:
            port = device.port if device.port in free else free[0]
            free.remove(port)
            host.plug(device.name, port)


def _make_one_free(admin: Rest, user: Rest) -> None:
    """Offer the sticks again; if servers of other projects have them all, release one.

    :raises LabError: the service does not see the sticks, or does not get one back
    """
    _wait_for_service(lambda: _sees_all(admin), "The service does not see the sticks")
    for device in _sticks(admin).values():
        if not device["enabled"]:
            admin.usb.patch(f"/v1/devices/{device['id']}", json={"device": {"enabled": True}})
    taken = [device for device in _sticks(admin).values() if device["server_id"]]
    if len(taken) == len(SERIALS) and not any(device["server_id"] for device in _sticks(user).values()):
        admin.usb.delete(f"/v1/servers/{taken[0]['server_id']}/attachments/{taken[0]['id']}")
        _wait_for_service(
            lambda: any(device["available"] for device in _sticks(user).values()), "No stick is given back"
        )


def _sees_all(admin: Rest) -> bool:
    sticks = _sticks(admin)
    return len(sticks) == len(SERIALS) and not any(
        device["reason_code"] == ReasonCode.UNPLUGGED for device in sticks.values()
    )


def _wait_for_service(true: Callable[[], bool], complaint: str) -> None:
    wait_until(true, complaint, _SERVICE_SECONDS, lifecycle.is_up, every=1)


def _sticks(user: Rest) -> dict[str, dict[str, Any]]:
    """The sticks that a user sees, by serial."""
    devices = user.usb.get("/v1/devices").json()["devices"]
    return {device["serial"]: device for device in devices if device["serial"] in SERIALS}


def _free_stick(user: Rest) -> str:
    """The serial of a free stick; one that a server of the user has is released.

    :raises LabError: others have them all, or they are unplugged
    """
    devices = _sticks(user)
    for serial in SERIALS:
        device = devices.get(serial)
        if device is None:
            continue
        if device["server_id"]:
            _run("nova", "usb-detach", "--wait", compute.server_name(user, device["server_id"]), serial)
        if device["available"] or device["server_id"]:
            return serial
    raise LabError("No stick is free. See: .venv/bin/python -m lab host devices; nova usb-list --server demo")


def _run(*command: str) -> None:
    """Run a command as the user, and print it as typed.

    :raises LabError: it failed
    """
    _echo(*command)
    if subprocess.run(_as_user(command), cwd=ROOT).returncode:
        raise LabError(f"{command[0]} failed")


def _show_guest_list() -> None:
    command = ("python", "-m", "lab", "guest", "usb", SERVER)
    _echo(*command)
    done = subprocess.run(_as_user(command), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout or "(it has none)\n")


def _wait_for_guest(server_id: str, complaint: str, enough: Callable[[str], bool]) -> None:
    wait_until(
        lambda: enough(compute_host.console(server_id)), complaint, _GUEST_SECONDS, lifecycle.is_up, every=1
    )


def _sees(said: str, serial: str) -> bool:
    return any(serial in device for device in console.usb_devices(said))


def _as_user(command: Sequence[str]) -> list[str]:
    return ["sh", "-c", f". {shlex.quote(str(config.openrc(SERVER)))}; exec {shlex.join(command)}"]


def _echo(*command: str) -> None:
    print("$", shlex.join(command), flush=True)


if __name__ == "__main__":
    sys.exit(main())
