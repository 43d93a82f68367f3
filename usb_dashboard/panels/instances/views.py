# SPDX-License-Identifier: Apache-2.0
"""The dialogs that attach and detach devices."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from horizon import forms as horizon_forms
from horizon import messages
from horizon.utils.memoized import memoized_method

from novaclient_usb import durations
from usb_dashboard import api, errors, servers, watch
from usb_dashboard.devices import BY_NETWORK, Device, verbatim
from usb_dashboard.panels.instances import forms, tables
from usb_dashboard.tables import dialog_url, link

#: So many are seen at a glance.
MANY = 8


class Dialog(errors.LoginView, horizon_forms.ModalFormView):
    """Something is done with a device and a server. What goes wrong is told in the dialog."""

    form_class: type[forms.ConfirmForm] = forms.ConfirmForm

    def act(self, choice: Any) -> Any:
        """Do it; returns what to tell the user, as HTML. Raises one of `usb_dashboard.errors.ERRORS`.

        :param choice: what the form has of that name
        """
        raise NotImplementedError

    def names(self, choice: Any) -> dict[str, tuple[str, str | None]]:
        """What an error is about, for `errors.explain`. Asked for when something has gone wrong."""
        raise NotImplementedError

    def title(self) -> Any:
        """The heading, as HTML."""
        return self.page_title

    def look(self) -> dict[str, Any]:
        """What the dialog shows. Raises one of `usb_dashboard.errors.ERRORS`."""
        raise NotImplementedError

    def after_login(self) -> str:
        """Where the user was."""
        return self.get_cancel_url()

    def send(self, form: horizon_forms.SelfHandlingForm, choice: Any) -> HttpResponse | None:
        """Do what the dialog is for."""
        try:
            done = self.act(choice)
        except errors.UNAUTHORIZED:
            return errors.log_in_again(self.request, self.after_login())
        except errors.ERRORS as error:
            form.api_error(verbatim(errors.explain(error, **self.names(choice))))
            return None
        messages.info(self.request, done)
        return redirect(self.get_success_url())

    def get_form_kwargs(self) -> dict[str, Any]:
        """The form sends what is in it back to here."""
        return super().get_form_kwargs() | {"send": self.send}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With what there is to see, or why it is not known."""
        context = super().get_context_data(**kwargs)
        try:
            shown = {"can_submit": True, **self.look()}
            title = self.title()
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            shown = {"problem": verbatim(errors.explain(error, **self.names("")))}
            title = self.page_title
        return context | {"submit_url": self.request.get_full_path(), "modal_header": title, **shown}


class ServerDialog(Dialog):
    """It is about a server. The parameter ``place`` says from where: ``tab``, ``panel`` or ``queue``."""

    @property
    def server_id(self) -> str:
        """The id of the server."""
        return self.kwargs["server_id"]

    @memoized_method
    def server(self) -> Any | None:
        """The server, if Nova tells of it."""
        return servers.get(self.request, self.server_id)

    def instance(self) -> str:
        """What the server is called."""
        return servers.label(self.server(), self.server_id)

    def names(self, choice: str) -> dict[str, tuple[str, str | None]]:
        """The server, and the device that the dialog is about or that was chosen."""
        device_id = self.kwargs.get("device_id", choice)
        return {
            "device": (device_id, device_label(self.request, device_id)),
            "instance": (self.server_id, self.instance()),
        }

    def get_cancel_url(self) -> str:
        """Where the user was: by default at the list of instances."""
        if self.request.GET.get("place") == "tab":
            return self._tab()
        return self._usb_page() or self._page("instances:index")

    def get_success_url(self) -> str:
        """Where the state of the device is to be seen."""
        return self._usb_page() or self._tab()

    def _usb_page(self) -> str | None:
        """The page of the panel that the user was at."""
        place = self.request.GET.get("place")
        if place == "queue" and self._dashboard() == "admin":
            return self._page("usb:queue_and_leases")
        return self._page("usb:index") if place == "panel" else None

    def _tab(self) -> str:
        page = reverse(f"horizon:{self._dashboard()}:instances:detail", args=(self.server_id,))
        return f"{page}?tab=instance_details__usb"

    def _page(self, name: str) -> str:
        return reverse(f"horizon:{self._dashboard()}:{name}")

    def _dashboard(self) -> str:
        return self.request.horizon["dashboard"].slug


class ChooseDialog(Dialog):
    """One thing is chosen from a table of few or of many."""

    form_class = forms.ChoiceForm

    def choices(self) -> list[tuple[Any, bool]]:
        """All there is, and whether it can be chosen. Raises one of `usb_dashboard.errors.ERRORS`."""
        raise NotImplementedError

    def look(self) -> dict[str, Any]:
        """Nothing is chosen beforehand that the user has not named."""
        choices = self.choices()
        return {
            "choices": choices,
            "some_by_network": any(getattr(it, "by_network", None) for it, _is_usable in choices),
            "filtered": len(choices) > MANY,
            "can_submit": any(is_usable for _it, is_usable in choices),
            "chosen": self.request.POST.get("choice"),
        }

    def transport(self, choice: str) -> str | None:
        """How the server is to have the device: as the dialog said when the user chose."""
        return "any" if choice in self.request.POST.getlist("by_network") else None


class AttachView(ServerDialog, ChooseDialog):
    """Choose from the devices of the server's host, and of others if it can have them over the network."""

    template_name = "usb/attach.html"
    page_title = _("Attach a USB Device")
    modal_id = "attach_usb_modal"
    form_id = "attach_usb_form"
    submit_label = _("Attach")

    def title(self) -> Any:
        """It names the server."""
        return format_html(_("Attach a USB Device to {}"), verbatim(self.instance()))

    def choices(self) -> list[tuple[Device, bool]]:
        """The free ones first. Of other hosts those only that the server can have or has."""
        found = api.device_list(self.request, server_id=self.server_id, transport="any")
        devices = [it for it in found if not it.is_far or it.available or it.server_id == self.server_id]
        of_others = [device for device in devices if device.server_id not in (None, self.server_id)]
        servers.with_names(self.request, of_others, all_projects=self._dashboard() == "admin")
        for device in devices:
            device.shown_owner = self._owner(device)
            device.by_network = _by_network(device)
        return [(device, device.available) for device in devices]

    def look(self) -> dict[str, Any]:
        """With what will happen."""
        shown = super().look()
        server, ports = self.server(), api.usb_ports(self.request, self.server_id)
        is_full = ports is not None and ports["used"] >= ports["total"]
        if is_full:
            shown["can_submit"] = False
        outlook = None if server is None else _OUTLOOKS.get(server.status, _NO_OUTLOOK)
        return shown | {
            "ports": ports,
            "free_ports": 0 if ports is None else max(0, ports["total"] - ports["used"]),
            "is_full": is_full,
            "outlook": outlook and format_html(outlook, verbatim(self.instance()), servers.status(server)),
        }

    def _owner(self, device: Device) -> Any:
        """The state of a device, with the server that has it; as HTML."""
        if device.server_id is None:
            return device.bare_state
        is_attached = device.state == "attached"
        if device.server_id == self.server_id:
            return _("Attached to this instance") if is_attached else device.bare_state
        owner = verbatim(device.server_name)
        if is_attached:
            return format_html(_("Attached to {}"), owner)
        return format_html("{} ({})", device.bare_state, owner)

    def act(self, choice: str) -> SafeString:
        """Attach."""
        device = api.attach(self.request, self.server_id, choice, self.transport(choice))
        return attaching(device, self.instance())


def _by_network(device: Device) -> Any:
    """Where a device is, as HTML, that the server can have, or has, from another host; None of others."""
    # A server that has moved away from its device need not be allowed the network.
    if not device.is_far or not (device.available or device.way):
        return None
    # Administrators only are told.
    host = getattr(device, "host", None)
    return BY_NETWORK if host is None else format_html(_("On {}, over the network"), verbatim(host))


# What becomes of a device that is attached to a server in a state.
_OUTLOOKS = {
    "ACTIVE": _("{} is {}. The device appears in it within seconds."),
    "PAUSED": _("{} is {}. The device appears in it when it is resumed."),
    "SUSPENDED": _("{} is {}. The device is attached when it is resumed."),
    "SHUTOFF": _("{} is {}. The device is attached when it starts."),
}
_NO_OUTLOOK = _("{} is {}. No USB device can be attached to it now.")


class DetachView(ServerDialog, ChooseDialog):
    """Choose from what the server has."""

    template_name = "usb/detach.html"
    page_title = _("Detach a USB Device")
    modal_id = "detach_usb_modal"
    form_id = "detach_usb_form"
    submit_label = _("Detach")

    def title(self) -> Any:
        """It names the server."""
        return format_html(_("Detach a USB Device from {}"), verbatim(self.instance()))

    def choices(self) -> list[tuple[Device, bool]]:
        """What is on its way out cannot be chosen."""
        devices = api.attachment_list(self.request, self.server_id)
        return [(device, device.state != "detaching") for device in devices]

    def look(self) -> dict[str, Any]:
        """With a warning, where data may be lost."""
        shown = super().look()
        return shown | {"has_storage": any(device.is_storage for device, _usable in shown["choices"])}

    def act(self, choice: str) -> SafeString:
        """Detach."""
        api.detach(self.request, self.server_id, choice)
        return detaching(device_label(self.request, choice), self.instance())


class DeviceDialog(ServerDialog):
    """It is about one device of one server: there is nothing to choose."""

    def look(self) -> dict[str, Any]:
        """The device, as long as the server has it."""
        device = api.attachment_get(self.request, self.server_id, self.device_id)
        return {"device": device, "question": self.question(device)}

    @property
    def device_id(self) -> str:
        """The id of the device."""
        return self.kwargs["device_id"]

    def question(self, device: Device) -> SafeString:
        """What the user is asked, as HTML."""
        raise NotImplementedError


class DetachDeviceView(DeviceDialog):
    """The confirmation before a device is detached."""

    template_name = "usb/detach_device.html"
    page_title = _("Detach a USB Device")
    modal_id = "detach_usb_device_modal"
    form_id = "detach_usb_device_form"
    submit_label = _("Detach")

    def question(self, device: Device) -> SafeString:
        """The question to confirm."""
        return format_html(_("Detach {} from {}?"), verbatim(device.label), verbatim(self.instance()))

    def act(self, choice: str) -> SafeString:
        """Detach."""
        label = device_label(self.request, self.device_id)
        api.detach(self.request, self.server_id, self.device_id)
        return detaching(label, self.instance())


class RetryView(DeviceDialog):
    """The confirmation before a failed attach is tried again."""

    template_name = "usb/retry.html"
    page_title = _("Retry")
    modal_id = "retry_usb_device_modal"
    form_id = "retry_usb_device_form"
    submit_label = _("Retry")

    def question(self, device: Device) -> SafeString:
        """The question to confirm."""
        return format_html(
            _("Try again to attach {} to {}?"), verbatim(device.label), verbatim(self.instance())
        )

    def act(self, choice: str) -> SafeString:
        """Ask for what the server has: if the last try failed there is another."""
        return attaching(api.attach(self.request, self.server_id, self.device_id), self.instance())


class LeaseView(DeviceDialog):
    """The dialog that sets the lease of a device."""

    form_class = forms.LeaseForm
    template_name = "usb/lease.html"
    page_title = _("Change Lease")
    modal_id = "usb_lease_modal"
    form_id = "usb_lease_form"
    submit_label = _("Save")

    def question(self, device: Device) -> SafeString:
        """The question of the dialog."""
        return format_html(_("How long may {} keep {}?"), verbatim(self.instance()), verbatim(device.label))

    def act(self, choice: str) -> SafeString:
        """Change it."""
        seconds = durations.seconds(choice) if choice else None
        api.change_lease(self.request, self.server_id, self.device_id, seconds)
        return format_html(_("The lease of {} was changed."), verbatim(self.instance()))


class ServerDevicesView(ServerDialog):
    """The table of the tab, as it is now: Horizon's page around the tab cannot be asked for that alone."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The table."""
        return watch.answer(lambda: tables.of_server(request, self.server_id).render())


class OverviewView(ServerDialog):
    """The names and states of a server's devices, for its overview."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """A list without a page around it."""

        def look() -> str:
            devices = tables.devices_of(request, self.server_id)
            for device in devices:
                device.link = link(dialog_url(request, "device", device.id), device.label)
            return render_to_string("usb/_overview_devices.html", {"devices": devices})

        return watch.answer(look)


def device_label(request: HttpRequest, device_id: str) -> str | None:
    """What a device is called; None if the service does not tell."""
    if not device_id:
        return None
    return errors.unless_refused(lambda: api.device_get(request, device_id).label, None)


def attaching(device: Device, instance: str) -> SafeString:
    """What is told of an attach that goes on."""
    return format_html(_("Attaching {} to {}."), verbatim(device.label), verbatim(instance))


def detaching(device: str | None, instance: str) -> SafeString:
    """What is told of a detach that goes on."""
    shown = verbatim(device) or _("the USB device")
    return format_html(_("Detaching {} from {}."), shown, verbatim(instance))
