# SPDX-License-Identifier: Apache-2.0
PANEL = "usb"
PANEL_DASHBOARD = "project"
PANEL_GROUP = "compute"
ADD_PANEL = "usb_dashboard.panels.project.panel.USBDevices"
ADD_INSTALLED_APPS = ["usb_dashboard"]
_TAB = ("usb_dashboard.panels.instances.tabs.USBTab",)
EXTRA_TABS = {
    "openstack_dashboard.dashboards.project.instances.tabs.InstanceDetailTabs": _TAB,
    "openstack_dashboard.dashboards.admin.instances.tabs.AdminInstanceDetailTabs": _TAB,
}
