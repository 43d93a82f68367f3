# SPDX-License-Identifier: Apache-2.0
"""Project > Compute > USB Devices."""

import horizon
from django.utils.translation import gettext_lazy as _


class USBDevices(horizon.Panel):
    """What the project has, and may have."""

    name = _("USB Devices")
    slug = "usb"
    permissions = ("openstack.services.usb-passthrough",)
    policy_rules = (("usb-passthrough", "usb-passthrough:devices:list"),)
