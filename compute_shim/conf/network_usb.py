# SPDX-License-Identifier: Apache-2.0
"""The options of [network_usb]."""

from oslo_config import cfg

GROUP = "network_usb"
_FILES = ("cert", "key", "ca")
OPTS = [
    cfg.StrOpt(
        "cert",
        help="""
PEM file with the certificate of this compute host. Set it with ``key`` and ``ca``, on both hosts, to let
devices whose rule has ``"network": true`` be used by servers on other hosts. The certificate must have
``[DEFAULT] host`` among its DNS names, and be valid for servers and clients. Renewed files are used from the
next connection on.
""",
    ),
    cfg.StrOpt(
        "key",
        help="PEM file with the private key of ``cert``, without a password. ``user`` must be able to read"
        " it.",
    ),
    cfg.StrOpt(
        "ca",
        help="PEM file with the authorities that sign the certificates of compute hosts, and no others.",
    ),
    cfg.HostAddressOpt(
        "address",
        sample_default="<[DEFAULT] host>",
        help="Name or address at which the other compute hosts reach this one.",
    ),
    cfg.StrOpt(
        "ports",
        regex=r"\d{1,5}-\d{1,5}",
        default="49300-49399",
        help="""
TCP ports, first and last, on which this host serves its devices to other compute hosts, one port for each
device. Open them in the firewall between compute hosts.
""",
    ),
    cfg.IntOpt(
        "max_connections",
        default=16,
        min=1,
        help="Maximum number of connections to other hosts, for devices of this host and servers on it.",
    ),
    cfg.StrOpt(
        "user",
        default="usb-shim-relay",
        help="""
User as whom the connections' processes run. It needs no privileges; it must be able to read ``cert``, ``key``
and ``ca``, and nothing else in /etc/usb-shim.
""",
    ),
]


def is_set(conf: cfg.ConfigOpts) -> bool:
    """Whether this host takes part in the network transport."""
    return all(conf[GROUP][name] for name in _FILES)


def check(conf: cfg.ConfigOpts) -> None:
    """Refuse options that are set in part.

    :raises oslo_config.cfg.ConfigFileValueError: some of the three files are set, or the ports are no range
    """
    missing = [name for name in _FILES if not conf[GROUP][name]]
    if 0 < len(missing) < len(_FILES):
        raise cfg.ConfigFileValueError(
            f"[{GROUP}] {' and '.join(missing)} not set. Set cert, key and ca, or none of them."
        )
    first, last = ports(conf)
    if not 0 < first <= last < 1 << 16:
        raise cfg.ConfigFileValueError(
            f"[{GROUP}] ports: {conf[GROUP].ports} is not a range of TCP ports such as 49300-49399. Correct"
            " it."
        )


def ports(conf: cfg.ConfigOpts) -> tuple[int, int]:
    """The first and the last port."""
    first, _, last = conf[GROUP].ports.partition("-")
    return int(first), int(last)
