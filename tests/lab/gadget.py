# SPDX-License-Identifier: Apache-2.0
"""A USB device that says what we want: Linux's gadget on a dummy controller, in the lab host.

Documentation/usb/gadget_configfs.rst of Linux; dummy_hcd is a host controller and a device controller in one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from lab.host import Host

_DIRECTORY = "/sys/kernel/config/usb_gadget/hostile"

_PLUG = f"""
set -e
modprobe dummy_hcd is_super_speed=0
modprobe libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
mkdir -p {_DIRECTORY}/configs/c.1 {_DIRECTORY}/functions/acm.0 {_DIRECTORY}/strings/0x409
cd {_DIRECTORY}
%s
ln -s functions/acm.0 configs/c.1/
ls /sys/class/udc | head -n 1 > UDC
"""

_UNPLUG = f"""
cd {_DIRECTORY}
echo > UDC
rm configs/c.1/acm.0
rmdir configs/c.1 functions/acm.0 strings/0x409
cd ..
rmdir {_DIRECTORY}
"""


@contextmanager
def gadget(
    host: Host, manufacturer: str, product: str, serial: str, usb_id: str = "dead:beef"
) -> Iterator[None]:
    """A device with this vendor and product number, and these strings, is plugged in meanwhile."""
    vendor_id, product_id = usb_id.split(":")
    strings = {"manufacturer": manufacturer, "product": product, "serialnumber": serial}
    lines = [f"echo 0x{vendor_id} > idVendor", f"echo 0x{product_id} > idProduct"]
    lines += [
        f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > strings/0x409/{name}"
        for name, text in strings.items()
    ]
    host.run(_PLUG % "\n".join(lines))
    try:
        yield
    finally:
        host.run(_UNPLUG)
