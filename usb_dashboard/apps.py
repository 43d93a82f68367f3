# SPDX-License-Identifier: Apache-2.0
"""The Django application."""

from django.apps import AppConfig


class UsbDashboardConfig(AppConfig):
    """Offers our row actions on the stock Instances tables as soon as those can be imported."""

    name = "usb_dashboard"

    def ready(self) -> None:
        from usb_dashboard.panels.instances import row_actions

        row_actions.install()
