# SPDX-License-Identifier: Apache-2.0
"""The dialogs that attach and detach devices."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from horizon import forms as horizon_forms

from usb_dashboard import api, errors
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.panels.instances import forms, tables

# So many are seen at a glance.
_MANY = 8


class Dialog(errors.LoginView, horizon_forms.ModalFormView):
    """One thing is chosen from a table of few or of many.

    What goes wrong is told in the dialog.
    """

    def after_login(self) -> str:
        """Where the user was."""
        return self.get_success_url()

    def subject(self) -> str:
        """The id of what the dialog is about."""
        raise NotImplementedError

    def choices(self) -> list[tuple[Any, bool]]:
        """All there is, and whether it can be chosen. Raises one of `usb_dashboard.errors.ERRORS`."""
        raise NotImplementedError

    def get_form_kwargs(self) -> dict[str, Any]:
        """The form does it all."""
        return super().get_form_kwargs() | {"subject": self.subject(), "back": self.get_success_url()}

    def get_cancel_url(self) -> str:
        """Where the user was."""
        return self.get_success_url()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With what there is to choose from, or why it is not known."""
        context = super().get_context_data(**kwargs) | {"submit_url": self.request.get_full_path()}
        try:
            choices = self.choices()
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            return context | {"problem": verbatim(str(errors.explain(error)))}
        usable = [it.id for it, is_usable in choices if is_usable]
        chosen = self.request.POST.get("choice") or self.request.GET.get("device")
        return context | {
            "choices": choices,
            "filtered": len(choices) > _MANY,
            "can_submit": bool(usable),
            "chosen": usable[0] if len(usable) == 1 else chosen,
        }


class ServerDialog(Dialog):
    """A device is chosen, for a server. The parameter ``place`` says from where: ``tab`` or ``panel``."""

    dashboard = "project"

    def subject(self) -> str:
        """The server."""
        return self.kwargs["server_id"]

    def get_success_url(self) -> str:
        """Where the user was: by default at the list of instances."""
        place = self.request.GET.get("place")
        if place == "tab":
            page = reverse(f"horizon:{self.dashboard}:instances:detail", args=(self.subject(),))
            return f"{page}?tab=instance_details__usb"
        if place == "panel":
            return reverse(f"horizon:{self.dashboard}:usb:index")
        return reverse(f"horizon:{self.dashboard}:instances:index")


class AttachView(ServerDialog):
    """Choose from the devices of the server's host."""

    form_class = forms.AttachForm
    template_name = "usb/attach.html"
    page_title = modal_header = _("Attach USB Device")
    modal_id = "attach_usb_modal"
    form_id = "attach_usb_form"
    submit_label = _("Attach")

    def choices(self) -> list[tuple[Device, bool]]:
        """The free ones first."""
        devices = api.device_list(self.request, server_id=self.subject())
        return [(device, device.available) for device in devices]


class AdminAttachView(AttachView):
    """The same for the operator."""

    dashboard = "admin"


class DetachView(ServerDialog):
    """Choose from what the server has."""

    form_class = forms.DetachForm
    template_name = "usb/detach.html"
    page_title = modal_header = _("Detach USB Device")
    modal_id = "detach_usb_modal"
    form_id = "detach_usb_form"
    submit_label = _("Detach")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Or the row of a device in the tab, as it is now."""
        table = tables.ServerDevicesTable(request, instance_id=self.subject())
        return table.maybe_preempt() or super().get(request, *args, **kwargs)

    def choices(self) -> list[tuple[Device, bool]]:
        """What is on its way out cannot be chosen."""
        devices = api.attachment_list(self.request, self.subject())
        return [(device, device.state != "detaching") for device in devices]


class AdminDetachView(DetachView):
    """The same for the operator."""

    dashboard = "admin"
