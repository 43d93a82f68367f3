# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > USB Devices."""

import horizon
from django.utils.translation import gettext_lazy as _


class USBDevices(horizon.Panel):
    """All hosts' devices, for the operator of the cloud."""

    name = _("USB Devices")
    slug = "usb"
    permissions = ("openstack.services.usb-passthrough",)
    policy_rules = (("usb-passthrough", "usb-passthrough:devices:see_all"),)
