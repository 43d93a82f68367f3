# SPDX-License-Identifier: Apache-2.0
"""Horizon's own test settings, with the plugin enabled as an operator enables it."""

from pathlib import Path
from typing import Any

import openstack_dashboard.enabled
from openstack_dashboard.test import settings as _horizon
from openstack_dashboard.test.settings import *  # noqa: F403
from openstack_dashboard.utils import settings as _settings

import usb_dashboard.enabled

HORIZON_CONFIG: dict[str, Any] = _horizon.HORIZON_CONFIG
HORIZON_CONFIG.pop("dashboards", None)
HORIZON_CONFIG.pop("default_dashboard", None)
INSTALLED_APPS = list(_horizon.INSTALLED_APPS)
_settings.update_dashboards(
    [openstack_dashboard.enabled, usb_dashboard.enabled],
    HORIZON_CONFIG,
    INSTALLED_APPS,
)
# Horizon's test settings had added its own applications already; the order matters.
INSTALLED_APPS = list(dict.fromkeys(INSTALLED_APPS))

for _file in sorted((Path(usb_dashboard.__file__).parent / "local_settings.d").glob("*.py")):
    exec(_file.read_text())  # noqa: S102  as Horizon does
