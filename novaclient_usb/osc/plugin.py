# SPDX-License-Identifier: Apache-2.0
"""The plugin of ``openstack``: its option, and the client that its commands use.

``osc_lib.clientmanager`` and ``openstackclient.shell`` define what is here by name.
"""

from __future__ import annotations

import argparse

from osc_lib import clientmanager, utils

from novaclient_usb import client

API_NAME = "usb_passthrough"
API_VERSION_OPTION = "os_usb_passthrough_api_version"
DEFAULT_API_VERSION = client.API_VERSION
API_VERSIONS = ("1", client.API_VERSION)


def make_client(instance: clientmanager.ClientManager) -> client.Client:
    """The client of our service, as the configuration of the cloud describes it."""
    cloud = instance.sdk_connection.config
    version = instance._api_version[API_NAME]
    return client.from_session(
        instance.session,
        interface=cloud.get_interface(client.SERVICE_TYPE),
        region_name=cloud.get_region_name(client.SERVICE_TYPE),
        endpoint_override=cloud.get_endpoint(client.SERVICE_TYPE),
        version=version if "." in version else client.API_VERSION,
    )


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the option for the version of our API."""
    parser.add_argument(
        "--os-usb-passthrough-api-version",
        metavar="<usb-passthrough-api-version>",
        default=utils.env("OS_USB_PASSTHROUGH_API_VERSION"),
        help=f"USB passthrough API version, default={DEFAULT_API_VERSION}"
        " (Env: OS_USB_PASSTHROUGH_API_VERSION)",
    )
    return parser
