# SPDX-License-Identifier: Apache-2.0
"""The page of a device: everything about it, what it needs to be attached, and its history."""

from __future__ import annotations

import html
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import tables as horizon_tables
from horizon import views as horizon_views

from usb_dashboard import api, errors, queue, reasons, servers, times
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.history import Event, EventsTable
from usb_dashboard.tables import server_link


class DeviceView(errors.LoginView, horizon_views.HorizonTemplateView):
    """The page; a subclass says whose servers count, and what can be done with the device."""

    template_name = "usb/device.html"
    page_title = _("USB Device")

    def servers(self, device: Device) -> list[Any]:
        """The servers that the device could be attached to. Raises one of `usb_dashboard.errors.ERRORS`."""
        raise NotImplementedError

    def table(self, device: Device) -> horizon_tables.DataTable:
        """The table whose rows have the actions."""
        raise NotImplementedError

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Remove a server from the queue."""
        is_admin = request.horizon["dashboard"].slug == "admin"
        with errors.told(request, _("Unable to retrieve the queue: %s")):
            device = api.device_get(request, kwargs["device_id"])
            entries = queue.of_device(request, device, all_projects=is_admin)
            servers.with_names(request, entries, all_projects=is_admin)
            handled = queue.QueueTable(request, data=entries).maybe_handle()
            if handled is not None:
                return handled
        return redirect(request.get_full_path())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the device; where it cannot be had, the list of all devices says why."""
        request, device_id = self.request, kwargs["device_id"]
        dashboard = request.horizon["dashboard"].slug
        index = reverse(f"horizon:{dashboard}:usb:index")
        with errors.told(request, _("Unable to retrieve the USB device: %s"), redirect=index):
            device = api.device_get(request, device_id)
        known: list[Any] = []
        with errors.told(request, _("Unable to retrieve the instances: %s")):
            known = self.servers(device)
        is_admin = dashboard == "admin"
        servers.set_takers(known, device)
        events = EventsTable(request, data=[])
        with errors.told_in(events):
            events.data = [Event(event) for event in api.event_list(request, device_id)]
        waiting = queue.QueueTable(request, data=[])
        with errors.told_in(waiting):
            waiting.data = queue.of_device(request, device, all_projects=is_admin)
        named = [device, *events.data, *waiting.data]
        servers.with_names(request, named, all_projects=is_admin, servers=known)
        server_id = request.GET.get("server_id") or None
        return super().get_context_data(**kwargs) | {
            "device": device,
            "label": verbatim(device.label),
            "properties": _properties(device, dashboard),
            "actions": self.table(device).render_row_actions(device),
            "index": index,
            "own_servers": [server for group in servers.near_and_far(known, device) for server in group],
            "server_id": server_id,
            "explanation": _explanation(request, device_id, server_id),
            "events": events,
            "queue": waiting,
        }


def _properties(device: Device, dashboard: str) -> list[tuple[Any, Any]]:
    """What there is to know, as HTML; what is not known is left out."""
    # An older service does not tell.
    until = getattr(device, "lease_until", None)
    known = [
        (_("State"), device.shown_state),
        (_("For"), times.elapsed(device.state_since)),
        (_("Instance"), server_link(dashboard, device)),
        (_("Until"), times.exact(until) if until else None),
        (_("Name"), verbatim(device.name)),
        (_("Description"), device.shown_description),
        (_("Kind"), device.kind),
        (_("Vendor:Product"), device.usb_id),
        (_("Serial Number"), device.shown_serial),
        (_("Class"), device.shown_class),
        (_("Speed"), device.shown_speed),
        (_("Bus and Device"), device.location),
        (_("Port"), device.port),
        (_("ID"), device.id),
        # Of these the service tells administrators only.
        (_("Host"), verbatim(getattr(device, "host", None))),
        (_("Project ID"), verbatim(getattr(device, "project_id", None))),
        (_("Shared With"), _sharing(device)),
        (_("Rule"), verbatim(getattr(device, "rule", None))),
        (_("Hand-over"), getattr(device, "handover", None)),
    ]
    return [(name, value) for name, value in known if value]


def _sharing(device: Device) -> Any:
    if not hasattr(device, "projects"):
        return None
    if device.shared:
        return _("all projects")
    return verbatim(", ".join(device.projects)) or _("no project")


def _explanation(request: HttpRequest, device_id: str, server_id: str | None) -> dict[str, Any]:
    """What must be true for the device to be attached, as rows of a table."""
    try:
        found = api.explain(request, device_id, server_id)
    except errors.UNAUTHORIZED:
        raise
    except errors.ERRORS as error:
        return {"problem": verbatim(errors.explain(error))}
    return {"attachable": found["attachable"], "rows": [_condition(it) for it in found["conditions"]]}


def _condition(condition: dict[str, Any]) -> dict[str, Any]:
    name = condition["condition"]
    details = [reasons.text(condition["reason_code"], condition["state_reason"]), condition["note"]]
    shown = "<br>".join(str(verbatim(it)) for it in details if it)
    return {
        "text": reasons.CONDITIONS.get(name, html.escape(name)),
        "met": condition["met"],
        "details": mark_safe(shown),  # noqa: S308  it is escaped
    }
