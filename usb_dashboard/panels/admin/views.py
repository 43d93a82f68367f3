# SPDX-License-Identifier: Apache-2.0
"""Pages and dialogs below Admin > Compute > USB Devices."""

from __future__ import annotations

import csv
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse, reverse_lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views import generic
from horizon import forms as horizon_forms
from horizon import tables as horizon_tables
from horizon import views as horizon_views
from horizon.utils.memoized import memoized_method
from openstack_dashboard.api import nova

from usb_dashboard import api, device_page, errors, history, servers, watch
from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.panels.admin import forms, listing, port_tree, tables
from usb_dashboard.panels.instances import views as instances
from usb_dashboard.panels.project import views as project

_INDEX = reverse_lazy("horizon:admin:usb:index")


class IndexView(watch.WatchedTableView):
    """All devices, and below them the hosts."""

    table_class = tables.DevicesTable
    template_name = "usb/admin/index.html"
    page_title = _("USB Devices")

    def complete(self, devices: list[Device]) -> None:
        """With what is known of their hosts, servers and projects."""
        listing.complete(self.request, devices, self._hosts())

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or its tables alone."""
        response = super().get(request, *args, **kwargs)
        if watch.is_asked(request) and response.status_code == HTTPStatus.OK:
            response.write(tables.HostsTable(request, data=self._hosts()).render())
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the table of the hosts."""
        table = tables.HostsTable(self.request, data=[])
        with errors.told_in(table):
            table.data = self._hosts()
        return super().get_context_data(hosts_table=table, **kwargs)

    @memoized_method
    def _hosts(self) -> list[listing.Host]:
        return listing.hosts(self.request)


class DeviceView(device_page.DeviceView):
    """For the operator."""

    def servers(self, device: Device) -> list[Any]:
        """Those of all projects on the host of the device."""
        found, _more = nova.server_list(self.request, {"all_tenants": True, "host": device.host})
        return list(found)

    def table(self, device: Device) -> horizon_tables.DataTable:
        """Of the panel."""
        # Release is offered only where the host is known to be down.
        device.host_up = True
        with errors.told(self.request, _("Unable to retrieve the hosts: %s")):
            device.host_up = listing.host(self.request, device.host).state == "up"
        return tables.DevicesTable(self.request, data=[device])


class EventsView(errors.LoginView, horizon_tables.DataTableView):
    """What happened to all devices, those that are forgotten included."""

    table_class = history.AllEventsTable
    template_name = "usb/admin/events.html"
    page_title = _("USB Events")

    def get_data(self) -> list[history.Event]:
        """The latest first."""
        events: list[history.Event] = []
        with errors.told_in(self.get_table()):
            events = [history.Event(event) for event in api.all_events(self.request)]
            servers.with_names(self.request, events, all_projects=True)
        return events


class CsvView(errors.LoginView, generic.View):
    """All devices as a file for a spreadsheet."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """The file; where it cannot be had, the list of all devices says why."""
        with errors.told(request, _("Unable to retrieve the USB devices: %s"), redirect=str(_INDEX)):
            devices = listing.complete(request, api.device_list(request), listing.hosts(request))
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="usb-devices.csv"'
        file = csv.writer(response)
        file.writerow(_CSV)
        file.writerows([_harmless(getattr(device, name)) for name in _CSV] for device in devices)
        return response


_CSV = (
    "id",
    "host",
    "name",
    "vendor_id",
    "product_id",
    "serial",
    "port",
    "bus",
    "device",
    "state",
    "reason_code",
    "state_reason",
    "state_since",
    "server_id",
    "server_name",
    "project_id",
    "project_name",
    "kind",
    "shared",
    "enabled",
    "description",
)


def _harmless(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: strings of devices are hostile.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


class AttachDeviceView(project.AttachDeviceView):
    """A server of any project is chosen, for a device."""

    template_name = "usb/admin/attach_device.html"

    def servers(self, device: Device) -> tuple[list[Any], list[Any]]:
        """Those on the host of the device, with ``project_name``: of all hosts there may be very many."""
        found = servers.of_host(self.request, device.host)
        for server in found:
            server.project_id = server.tenant_id
        listing.with_project_names(self.request, found)
        return found, []


class _PanelDialog(instances.Dialog):
    """It comes back to the panel."""

    success_url = _INDEX

    def get_cancel_url(self) -> str:
        """The panel."""
        return str(_INDEX)


class DeleteHostView(_PanelDialog):
    """The confirmation before a host that is down for good is deleted."""

    template_name = "usb/admin/delete_host.html"
    page_title = _("Delete Host")
    modal_id = "delete_usb_host_modal"
    form_id = "delete_usb_host_form"
    submit_label = _("Delete Host")

    def look(self) -> dict[str, Any]:
        """The host, and how many of its devices servers have."""
        host = listing.host(self.request, self.kwargs["host"])
        free = ("available", "unavailable")
        claimed = sum(count for state, count in host.devices.items() if state not in free)
        question = format_html(_("Delete host {}?"), verbatim(host.host))
        return {"question": question, "devices": sum(host.devices.values()), "claimed": claimed}

    def names(self, choice: str) -> dict[str, tuple[str, str | None]]:
        """Neither a device nor a server."""
        return {}

    def act(self, choice: str) -> SafeString:
        """Delete it."""
        api.host_delete(self.request, self.kwargs["host"])
        return format_html(_("Host {} was deleted."), verbatim(self.kwargs["host"]))


class ProjectsView(_PanelDialog):
    """The dialog that sets the projects with which a device is shared."""

    form_class = forms.ProjectsForm
    template_name = "usb/admin/projects.html"
    page_title = _("Share with Projects")
    modal_id = "usb_projects_modal"
    form_id = "usb_projects_form"
    submit_label = _("Save")

    def get_form_kwargs(self) -> dict[str, Any]:
        """The form knows all projects."""
        return super().get_form_kwargs() | {"projects": self._projects()}

    def title(self) -> SafeString:
        """It names the device."""
        return format_html(_("Share {} with Projects"), verbatim(self._device().label))

    def look(self) -> dict[str, Any]:
        """All projects, those first that the device is shared with; what was chosen is kept."""
        device = self._device()
        chosen = self.request.POST.getlist("choice") if self.request.method == "POST" else device.projects
        projects = [
            {
                "id": project_id,
                "name": verbatim(name),
                "is_shared": project_id in device.projects,
                "is_chosen": project_id in chosen,
            }
            for project_id, name in sorted(self._known(device).items(), key=lambda it: it[1].casefold())
        ]
        return {
            "device": device,
            "projects": sorted(projects, key=lambda it: not it["is_shared"]),
            "filtered": len(projects) > instances.MANY,
            "has_names": bool(self._projects()),
        }

    def _known(self, device: Device) -> dict[str, str]:
        return {project_id: project_id for project_id in device.projects} | self._projects()

    @memoized_method
    def _projects(self) -> dict[str, str]:
        return listing.project_names(self.request)

    @memoized_method
    def _device(self) -> Device:
        return api.device_get(self.request, self.kwargs["device_id"])

    def names(self, choice: forms.Sharing | str) -> dict[str, tuple[str, str | None]]:
        """The device."""
        device_id = self.kwargs["device_id"]
        return {"device": (device_id, instances.device_label(self.request, device_id))}

    def act(self, choice: forms.Sharing) -> SafeString:
        """Share, and stop sharing."""
        device_id = self.kwargs["device_id"]
        for project_id in sorted(choice.add):
            api.device_share(self.request, device_id, project_id)
        for project_id in sorted(choice.remove):
            api.device_unshare(self.request, device_id, project_id)
        label = verbatim(instances.device_label(self.request, device_id)) or _("The USB device")
        if not choice.now:
            return format_html(_("{} is not shared with single projects."), label)
        names = sorted(self._projects().get(project_id, project_id) for project_id in choice.now)
        return format_html(_("{} is shared with these projects: {}"), label, verbatim(", ".join(names)))


class HostView(errors.LoginView, horizon_views.HorizonTemplateView):
    """A host: its agent, and what is plugged in where."""

    template_name = "usb/admin/host.html"
    page_title = _("USB Devices of {{ host.host }}")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do something with a device."""
        _host, devices = self._look()
        handled = tables.DevicesTable(request, data=devices).maybe_handle()
        return handled or redirect(request.get_full_path())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the host and its ports."""
        host, devices = self._look()
        # The rows are not asked of the table: the filter of the panel counts there as well.
        table = tables.DevicesTable(self.request, data=devices)
        for device in devices:
            device.row = usb_tables.DeviceRow(table, device)
        return super().get_context_data(
            **kwargs | {"host": host},
            hosts_table=tables.HostsTable(self.request, data=[host]),
            buses=port_tree.build(devices),
        )

    def _look(self) -> tuple[listing.Host, list[Device]]:
        """The host and its devices; where they cannot be had, the list of all hosts says why."""
        message = _("Unable to retrieve the USB devices of the host: %s")
        with errors.told(self.request, message, redirect=str(_INDEX)):
            host = listing.host(self.request, self.kwargs["host"])
            devices = listing.complete(self.request, api.device_list(self.request, host=host.host), [host])
        return host, devices


class EditView(errors.LoginView, horizon_forms.ModalFormView):
    """The dialog in which a device is described, and given a kind."""

    form_class = forms.EditForm
    template_name = "usb/admin/edit.html"
    page_title = _("Edit Device")
    modal_id = "edit_usb_device_modal"
    form_id = "edit_usb_device_form"
    submit_label = _("Save")
    success_url = _INDEX

    def get_form_kwargs(self) -> dict[str, Any]:
        """The form knows its device."""
        return super().get_form_kwargs() | {"device_id": self.kwargs["device_id"]}

    def after_login(self) -> str:
        """The panel."""
        return str(_INDEX)

    def get_initial(self) -> dict[str, Any]:
        """What is written now."""
        if self.request.method == "POST":
            # Nobody looks at it, and a service that is away now is to be told of in the dialog.
            return {}
        with errors.told(self.request, _("Unable to retrieve the USB device: %s"), redirect=str(_INDEX)):
            return {"description": self._device().description, "kind": self._device().kind or ""}
        return {}

    @memoized_method
    def _device(self) -> Device:
        return api.device_get(self.request, self.kwargs["device_id"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With what is known of the device, and the kinds that there are."""
        context = super().get_context_data(**kwargs)
        device = errors.unless_refused(self._device, None)
        # To choose from: those of devices that the operator's own project may have. Others can be written.
        kinds: list[str] = []
        kinds = errors.unless_refused(lambda: api.kind_list(self.request), kinds)
        label = verbatim(device.label) if device else None
        return context | {
            "submit_url": reverse("horizon:admin:usb:edit", args=(self.kwargs["device_id"],)),
            "modal_header": self.page_title if label is None else format_html(_("Edit {}"), label),
            "kinds": kinds,
            "rule": verbatim(getattr(device, "rule", None)),
        }
