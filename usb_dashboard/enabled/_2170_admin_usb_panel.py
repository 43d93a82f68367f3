# SPDX-License-Identifier: Apache-2.0
PANEL = "usb"
PANEL_DASHBOARD = "admin"
PANEL_GROUP = "compute"
ADD_PANEL = "usb_dashboard.panels.admin.panel.USBDevices"
