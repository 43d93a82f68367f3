# SPDX-License-Identifier: Apache-2.0
"""Addresses below Admin > Compute > USB Devices."""

from django.urls import path

from usb_dashboard import history
from usb_dashboard.panels.admin import queue, views
from usb_dashboard.panels.instances import views as instances

urlpatterns = [
    path("", views.IndexView.as_view(), name="index"),
    path("events/", views.EventsView.as_view(), name="events"),
    path("queue/", queue.QueueView.as_view(), name="queue_and_leases"),
    path("devices.csv", views.CsvView.as_view(), name="csv"),
    path("<str:device_id>/", views.DeviceView.as_view(), name="device"),
    path("<str:device_id>/history", history.HistoryView.as_view(), name="history"),
    path("<str:server_id>/attach", instances.AttachView.as_view(), name="attach"),
    path("<str:server_id>/detach", instances.DetachView.as_view(), name="detach"),
    path(
        "<str:server_id>/detach/<str:device_id>", instances.DetachDeviceView.as_view(), name="detach_device"
    ),
    path("<str:server_id>/retry/<str:device_id>", instances.RetryView.as_view(), name="retry"),
    path("<str:server_id>/lease/<str:device_id>", instances.LeaseView.as_view(), name="lease"),
    path("<str:server_id>/devices", instances.ServerDevicesView.as_view(), name="server_devices"),
    path("<str:server_id>/overview", instances.OverviewView.as_view(), name="overview"),
    path("<str:device_id>/attach_device", views.AttachDeviceView.as_view(), name="attach_device"),
    path("<str:device_id>/edit", views.EditView.as_view(), name="edit"),
    path("<str:device_id>/projects", views.ProjectsView.as_view(), name="projects"),
    path("hosts/<path:host>/delete", views.DeleteHostView.as_view(), name="delete_host"),
    path("hosts/<path:host>/", views.HostView.as_view(), name="host"),
]
