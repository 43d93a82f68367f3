# SPDX-License-Identifier: Apache-2.0
"""[usb]"""

from oslo_config import cfg

GROUP = "usb"
OPTS = [
    cfg.MultiStrOpt(
        "device_spec",
        default=[],
        mutable=True,
        help="""
Which USB devices of this compute host may be given to instances. Without a rule none is.

Each value is a JSON object, or a list of them, in the manner of Nova's ``[pci] device_spec``. Rules are
tried in the order given; the first that matches decides; a device that no rule matches is not offered.
A rule matches a device that has all the values it names:

* ``vendor_id``, ``product_id``: four hexadecimal digits, as ``lsusb`` prints them
* ``serial``: the serial number, exactly
* ``port``: the port path, for example ``2-1.4``
* ``device_class``: two hexadecimal digits, for example ``08`` for mass storage
* ``allow``: ``false`` to refuse what matches; default ``true``

Hubs, and what the host itself uses, are never offered. For example, all sticks of one model but one, and
whatever is plugged into port 1-3::

    device_spec = {"vendor_id": "0781", "product_id": "5567", "serial": "4C53", "allow": false}
    device_spec = {"vendor_id": "0781", "product_id": "5567"}
    device_spec = {"port": "1-3"}
""",
    ),
]
