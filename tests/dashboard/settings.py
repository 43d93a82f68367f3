# SPDX-License-Identifier: Apache-2.0
"""Horizon's own test settings, with the plugin enabled as an operator enables it."""

from pathlib import Path

import openstack_dashboard.enabled
from openstack_dashboard.test.settings import *  # noqa: F403
from openstack_dashboard.utils import settings as _settings

import usb_dashboard.enabled

HORIZON_CONFIG.pop("dashboards", None)  # noqa: F405
HORIZON_CONFIG.pop("default_dashboard", None)  # noqa: F405
INSTALLED_APPS = list(INSTALLED_APPS)  # noqa: F405
_settings.update_dashboards(
    [openstack_dashboard.enabled, usb_dashboard.enabled],
    HORIZON_CONFIG,  # noqa: F405
    INSTALLED_APPS,
)
# Horizon's test settings had added its own applications already; the order matters.
INSTALLED_APPS = list(dict.fromkeys(INSTALLED_APPS))

for _file in sorted((Path(usb_dashboard.__file__).parent / "local_settings.d").glob("*.py")):
    exec(_file.read_text())  # noqa: S102  as Horizon does
