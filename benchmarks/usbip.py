# SPDX-License-Identifier: Apache-2.0
"""A stick of one lab host in a guest of another by usbip, for a comparison.

usbip is part of Linux: its programs are Debian's, unpacked under lab/cache. It does not encrypt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lab.host import Host, cache, command, domains

# libwrap0 is needed by usbipd.
_PACKAGES = ("usbip", "libwrap0")
_BUS = "/sys/bus/usb/devices"
_DAEMON = "/run/usbipd.pid"


@contextlib.contextmanager
def attached(server: domains.Server, attribute: tuple[str, str], here: Host, there: Host) -> Iterator[None]:
    """A device of the host `there` is in a server of the host `here` meanwhile.

    No agent may run on either host: it would take it for one that was plugged in.

    :param attribute: of the device in sysfs, and its value.
    """
    programs = cache.made_once("usbip", lambda home: cache.unpack(home, _PACKAGES))
    usbip = f"{programs}/usr/sbin/usbip"
    port = _find(there, attribute, "xhci")
    there.run(
        f"modprobe usbip-host && {usbip} bind -b {port} &&"
        f" LD_LIBRARY_PATH={programs}/lib/x86_64-linux-gnu {programs}/usr/sbin/usbipd -D -4 -P{_DAEMON}"
    )
    here.run(f"modprobe vhci-hcd && {usbip} attach -r {there.address} -b {port}")
    name, value = attribute
    here.run(command.until(f"grep -qs {value} /sys/devices/platform/vhci_hcd.0/usb*/*/{name}"))
    numbers = [
        int(here.run(f"cat {_BUS}/{_find(here, attribute, 'vhci')}/{name}").stdout)
        for name in ("busnum", "devnum")
    ]
    hostdev = (
        "<hostdev mode='subsystem' type='usb' managed='yes'><source>"
        f"<address bus='{numbers[0]}' device='{numbers[1]}'/></source></hostdev>"
    )
    domains.virsh(here, "attach-device", server.name, "/dev/stdin", "--live", stdin=hostdev)
    try:
        yield
    finally:
        domains.virsh(here, "detach-device", server.name, "/dev/stdin", "--live", stdin=hostdev)
        here.run(f"{usbip} detach -p 00; {usbip} detach -p 08", check=False)
        there.run(f"kill $(cat {_DAEMON}); {usbip} unbind -b {port}", check=False)


def _find(host: Host, attribute: tuple[str, str], controller: str) -> str:
    """The port path, with the bus, of a device on a kind of USB controller."""
    name, value = attribute
    script = f"for it in $(grep -l {value} {_BUS}/*/{name}); do readlink -f ${{it%/*}}; done"
    [found] = [path for path in host.run(script).stdout.split() if ("vhci" in path) == (controller == "vhci")]
    return found.rpartition("/")[2]
