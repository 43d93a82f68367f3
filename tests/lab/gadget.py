# SPDX-License-Identifier: Apache-2.0
"""A USB device that says what we want: Linux's gadget on a dummy controller, in the lab host.

Documentation/usb/gadget_configfs.rst of Linux; dummy_hcd is a host controller and a device controller in one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from lab.host import Host

_DIRECTORY = "/sys/kernel/config/usb_gadget/hostile"

# The function of the gadget is $1; $2 is 1 for a controller with USB 3.
_PLUG = f"""
set -e
modprobe dummy_hcd is_super_speed=$2
modprobe libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
mkdir -p {_DIRECTORY}/configs/c.1 {_DIRECTORY}/functions/$1 {_DIRECTORY}/strings/0x409
cd {_DIRECTORY}
%s
ln -s functions/$1 configs/c.1/
ls /sys/class/udc | head -n 1 > UDC
"""

_UNPLUG = f"""
cd {_DIRECTORY}
echo > UDC
rm configs/c.1/$1
rmdir configs/c.1 functions/$1 strings/0x409
cd ..
rmdir {_DIRECTORY}
"""


@contextmanager
def gadget(
    host: Host,
    manufacturer: str,
    product: str,
    serial: str,
    usb_id: str = "dead:beef",
    function: str = "acm.0",
    attributes: Mapping[str, bytes] = MappingProxyType({}),
    max_speed: str | None = None,
) -> Iterator[None]:
    """A device with this vendor and product number, and these strings, is plugged in meanwhile.

    :param function: what it is: the name of a driver of gadgets and a number.
    :param attributes: of the function, as its driver wants them written.
    :param max_speed: ``high-speed`` or ``super-speed``, in a connector that has both; None: one of USB 2. The
        dummy controller is made anew for the first with a speed, and has to be removed after the last.
    """
    vendor_id, product_id = usb_id.split(":")
    strings = {"manufacturer": manufacturer, "product": product, "serialnumber": serial}
    files = {f"strings/0x409/{name}": text.encode() for name, text in strings.items()}
    files |= {f"functions/{function}/{name}": value for name, value in attributes.items()}
    lines = [f"echo 0x{vendor_id} > idVendor", f"echo 0x{product_id} > idProduct"]
    if max_speed is not None:
        lines.append(f"echo {max_speed} > max_speed")
    lines += [
        f"echo {base64.b64encode(value).decode()} | base64 -d > {name}" for name, value in files.items()
    ]
    host.run(f"set -- {function} {0 if max_speed is None else 1}\n" + _PLUG % "\n".join(lines))
    try:
        yield
    finally:
        host.run(f"set -- {function}\n" + _UNPLUG)
