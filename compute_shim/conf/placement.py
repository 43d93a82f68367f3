# SPDX-License-Identifier: Apache-2.0
"""[placement]: whether kinds of devices are offered to Nova's scheduler, and how Placement is reached.

The options of the connection, the endpoint and the credentials are those of keystoneauth, as in [nova].
"""

from oslo_config import cfg

from compute_shim.conf import keystoneauth

GROUP = "placement"
_SERVICE_TYPE = "placement"

OPTS = [
    cfg.BoolOpt(
        "enabled",
        default=False,
        help="""
Offer the kinds of USB devices of each compute host to Nova's scheduler: a resource provider below that of the
compute node has an inventory of ``CUSTOM_USB_<KIND>``, and a server whose flavor requests
``resources:CUSTOM_USB_<KIND>=1`` is started where a device is free, and gets it. Set the option for all
conductors, with credentials in this group of a user who may change resource providers, and those of
``[nova]``. After you have disabled it, ``usb-shim-manage placement clean`` removes what was created.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of the group."""
    conf.register_opts(OPTS, group=GROUP)
    keystoneauth.register(conf, GROUP, _SERVICE_TYPE)


def list_opts() -> list[cfg.Opt]:
    """All options of the group, for oslo-config-generator."""
    return [*OPTS, *keystoneauth.list_opts(_SERVICE_TYPE)]
