# SPDX-License-Identifier: Apache-2.0
"""Pages and dialogs below Project > Compute > USB Devices."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from horizon import tables as horizon_tables
from openstack_dashboard import policy

from usb_dashboard import api, device_page, errors, servers, watch
from usb_dashboard.devices import BY_NETWORK, Device, verbatim
from usb_dashboard.panels.instances import views as instances
from usb_dashboard.panels.project import tables
from usb_dashboard.tables import dialog_url

_SEE_ALL = (("usb-passthrough", "usb-passthrough:devices:see_all"),)


class IndexView(watch.WatchedTableView):
    """What the project has and may have."""

    table_class = tables.DevicesTable
    template_name = "usb/index.html"
    page_title = _("USB Devices")

    def shows_part(self) -> bool:
        """The service tells administrators of all projects' devices."""
        return bool(policy.check(_SEE_ALL, self.request))

    def leave_over(self, devices: list[Device]) -> list[Device]:
        """What the project has and may have."""
        return [device for device in devices if _is_of(device, self.request.user.project_id)]

    def complete(self, devices: list[Device]) -> None:
        """With the project's servers that have them, and that can take them."""
        own: list[Any] = []
        if devices:
            own = errors.unless_refused(lambda: servers.of_project(self.request), own)
        names = {server.id: server.name for server in own}
        for device in devices:
            device.server_name = names.get(device.server_id, device.server_id)
            servers.set_takers(own, device)


def _is_of(device: Device, project_id: str) -> bool:
    """Whether a project has a device or may have it: to administrators the service tells of all."""
    if not hasattr(device, "projects"):
        return True
    if device.server_id is not None:
        return device.project_id == project_id
    return device.shared or project_id in device.projects


class AttachDeviceView(instances.ChooseDialog):
    """A server is chosen, for a device."""

    template_name = "usb/attach_device.html"
    page_title = _("Attach a USB Device")
    modal_id = "attach_device_modal"
    form_id = "attach_device_form"
    submit_label = _("Attach")

    def get_success_url(self) -> str:
        """The panel, of the dashboard that the user is in."""
        return dialog_url(self.request, "index")

    def get_cancel_url(self) -> str:
        """The panel."""
        return self.get_success_url()

    def title(self) -> Any:
        """It names the device."""
        label = instances.device_label(self.request, self._device_id)
        return self.page_title if label is None else format_html(_("Attach {}"), verbatim(label))

    @property
    def _device_id(self) -> str:
        return self.kwargs["device_id"]

    def choices(self) -> list[tuple[Any, bool]]:
        """The servers on the host of the device, and then the others that may have it."""
        device = api.device_get(self.request, self._device_id)
        near, far = self.servers(device)
        for found, by_network in ((near, None), (far, BY_NETWORK)):
            for server in found:
                server.shown_status = servers.status(server)
                server.by_network = by_network
        return [(server, self.may_choose(server, device)) for server in (*near, *far)]

    def servers(self, device: Device) -> tuple[list[Any], list[Any]]:
        """As `servers.near_and_far` of the project; raises one of `usb_dashboard.errors.ERRORS`."""
        return servers.near_and_far(servers.of_project(self.request), device)

    def may_choose(self, server: Any, device: Device) -> bool:
        """Whether the device can be attached to one of these servers."""
        return servers.may_attach(server)

    def act(self, choice: str) -> SafeString:
        """Attach."""
        device = api.attach(self.request, choice, self._device_id, self.transport(choice))
        server = servers.get(self.request, choice)
        return instances.attaching(device, servers.label(server, choice))

    def names(self, choice: str) -> dict[str, tuple[str, str | None]]:
        """The device, and the server that was chosen."""
        server = servers.get(self.request, choice) if choice else None
        return {
            "device": (self._device_id, instances.device_label(self.request, self._device_id)),
            "instance": (choice, servers.label(server, choice) if choice else None),
        }


class JoinQueueView(AttachDeviceView):
    """A server gets into the queue for a device that another one has."""

    template_name = "usb/join_queue.html"
    page_title = _("Join the Queue")
    modal_id = "join_queue_modal"
    form_id = "join_queue_form"
    submit_label = _("Join the Queue")

    def may_choose(self, server: Any, device: Device) -> bool:
        """Not the one that has the device."""
        return super().may_choose(server, device) and server.id != device.server_id

    def title(self) -> Any:
        """It names the device."""
        label = instances.device_label(self.request, self._device_id)
        return self.page_title if label is None else format_html(_("Queue for {}"), verbatim(label))

    def act(self, choice: str) -> SafeString:
        """Join it."""
        place = api.join_queue(self.request, choice, self._device_id, self.transport(choice))
        label = servers.label(servers.get(self.request, choice), choice)
        return format_html(_("{} is number {} in the queue."), verbatim(label), place)


class DeviceView(device_page.DeviceView):
    """For the project."""

    def servers(self, device: Device) -> list[Any]:
        """Its own."""
        return servers.of_project(self.request)

    def table(self, device: Device) -> horizon_tables.DataTable:
        """Of the panel."""
        return tables.DevicesTable(self.request, data=[device])
