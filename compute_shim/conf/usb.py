# SPDX-License-Identifier: Apache-2.0
"""The options of [usb]."""

from oslo_config import cfg

from compute_shim.conf.literal import LiteralMultiStrOpt

GROUP = "usb"
OPTS = [
    LiteralMultiStrOpt(
        "device_spec",
        default=[],
        mutable=True,
        help="""
Which USB devices of this compute host may be given to instances. Without a rule none is.

Each value is a JSON object, or a list of them, in the manner of Nova's ``[pci] device_spec``. Rules are
tried in the order given; the first that matches decides; a device that no rule matches is not offered.
A rule matches a device that has all the values it names:

* ``vendor_id``, ``product_id``: four hexadecimal digits, as ``lsusb`` prints them
* ``serial``: the serial number; blanks around it and upper or lower case make no difference
* ``port``: the port path (``1-4.2``) or the socket, which stays the same when buses are renumbered, as
  ``usb-shim-manage devices`` prints them; with ``*`` at its end the beginning of it (``1-4.*``: whatever is
  behind the hub in port 1-4)
* ``class``: two, four or six hexadecimal digits: class, subclass and protocol (``08``, ``0806``, ``080650``)
  of the device or of any of its interfaces. Who allows by class also allows what else such a device is;
  refuse that by a rule before it
* ``device_class``: two hexadecimal digits, the class of the device, or of its first interface only
* ``speed``: in Mb/s: ``1.5``, ``12``, ``480``, ``5000``, ``10000`` or ``20000``
* ``allow``: ``false`` to refuse what matches; default ``true``
* ``shared``: ``true`` to let all projects have what matches; default ``false``: administrators alone
* ``projects``: a list of the ids of projects that may have it
* ``network``: ``true`` to let servers on other hosts use what matches over the network; default ``false``

All values but those of ``allow``, ``shared`` and ``network`` are in quotes; ``$`` in them is ``$``, or may be
written ``$$``. A rule without keys, ``{}``, matches every device.

Hubs, and what the host itself uses, are never offered. Keyboards and mice that a BIOS can use (boot
protocol), and network adapters (Bluetooth and mobile broadband included), are offered only by a rule with
``vendor_id`` and ``product_id``; a rule without them does not match them. For example, all sticks of one
model but one, and whatever is plugged into port 1-3 and is no input device::

    device_spec = {"vendor_id": "0781", "product_id": "5567", "serial": "4C53", "allow": false}
    device_spec = {"vendor_id": "0781", "product_id": "5567"}
    device_spec = {"class": "03", "allow": false}
    device_spec = {"port": "1-3"}

``usb-shim-manage device-spec check`` says which rule decides on each plugged device, and why.
""",
    ),
    cfg.BoolOpt(
        "shield",
        default=True,
        mutable=True,
        help="""
Prevent the drivers and services of this host (LVM, md, udisks, ModemManager and so on) from using devices
that are offered and not in use. An offered disk then has no block device on the host. Disable the option on a
host that sometimes uses such devices itself; a device that the host uses is not offered in either case.
Shielding devices from a host, in the security guide, describes the changes to the host, and how to undo them.
""",
    ),
]
