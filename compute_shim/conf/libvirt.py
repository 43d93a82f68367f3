# SPDX-License-Identifier: Apache-2.0
"""The options of [libvirt]."""

from oslo_config import cfg

GROUP = "libvirt"
OPTS = [
    cfg.StrOpt(
        "connection_uri",
        default="qemu:///system",
        help="URI of the libvirt daemon of this host, as nova-compute uses it. It selects the driver:"
        " qemu:///system or lxc:///system (see Hypervisor drivers, in the administration guide).",
    ),
]
