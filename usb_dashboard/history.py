# SPDX-License-Identifier: Apache-2.0
"""The history of a device, in a dialog of its own."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from horizon import forms, tables, views
from openstack_dashboard.api import base

from usb_dashboard import api, errors, reasons, servers
from usb_dashboard.devices import Device, shown_state, verbatim
from usb_dashboard.tables import TellingTable
from usb_dashboard.times import exact


class Event(base.APIDictWrapper):
    """A change of a device's state, as the service sends it."""

    @property
    def shown_state(self) -> Any:
        """The state that the device came to (translated) and the reason for it, as HTML.

        Of a place in the queue for the device there is no state.
        """
        if self.state is None:
            return verbatim(reasons.text(self.reason_code, self.state_reason))
        return shown_state(self.state, self.reason_code, self.state_reason)

    @property
    def shown_cause(self) -> Any:
        """What it was caused by (translated), as HTML."""
        return verbatim(reasons.text(self.cause_code, self.cause))


class EventsTable(TellingTable):
    """The latest first."""

    problem = _("The events could not be retrieved: {}")

    created_at = tables.Column("created_at", verbose_name=_("Time"), filters=(exact,), classes=("usb-time",))
    cause = tables.Column("shown_cause", verbose_name=_("Cause"))
    state = tables.Column("shown_state", verbose_name=_("State"))
    server = tables.Column("server_name", verbose_name=_("Instance"), filters=(verbatim,))
    user = tables.Column("user_id", verbose_name=_("User"))
    request = tables.Column("request_id", verbose_name=_("Request"))

    class Meta:
        name = "usb_events"
        verbose_name = _("History")
        no_data_message = _("No events are recorded for this USB device from the time your project had it.")
        multi_select = False

    def get_object_id(self, event: Event) -> str:
        """Nothing is done with a row: an id that no two have by chance is enough."""
        return str(id(event))


class AllEventsTable(EventsTable):
    """Of all devices: which one, and whose."""

    device = tables.Column("device_name", verbose_name=_("USB Device"), filters=(verbatim,))
    host = tables.Column("host", verbose_name=_("Host"), filters=(verbatim,))
    project = tables.Column("project_id", verbose_name=_("Project ID"), filters=(verbatim,))

    class Meta:
        name = "usb_all_events"
        verbose_name = _("USB Events")
        no_data_message = _("No events are recorded.")
        multi_select = False
        columns = ("created_at", "device", "host", "cause", "state", "server", "project", "user", "request")


class HistoryView(errors.LoginView, forms.ModalFormMixin, views.HorizonTemplateView):
    """What happened to a device, in the time in which the user may know of it."""

    template_name = "usb/history.html"
    page_title = modal_header = _("History of USB Device")
    modal_id = "usb_history_modal"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the table, or why there is none."""
        context = super().get_context_data(**kwargs) | {
            "modal_header": self.modal_header,
            "modal_id": self.modal_id,
        }
        device_id = self.kwargs["device_id"]
        try:
            device = api.device_get(self.request, device_id)
            events = [Event(event) for event in api.event_list(self.request, device_id)]
            # An event has a server as a device has.
            is_admin = self.request.horizon["dashboard"].slug == "admin"
            servers.with_names(self.request, events, all_projects=is_admin)
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            return context | {"problem": verbatim(errors.explain(error))}
        title = format_html(_("History of {}"), verbatim(device.label))
        table = EventsTable(self.request, data=events)
        return context | {"device": device, "table": table, "modal_header": title}


class History(tables.LinkAction):
    """Opens the dialog."""

    name = "history"
    verbose_name = _("History")
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:events:list"),)

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """Any device has one."""
        return True

    def get_link_url(self, device: Device) -> str:
        """Of the dashboard that the table is in."""
        dashboard = self.table.request.horizon["dashboard"].slug
        return reverse(f"horizon:{dashboard}:usb:history", args=(device.id,))
