# SPDX-License-Identifier: Apache-2.0
"""What the dialogs send: the service alone decides whether it may be."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from horizon import forms, messages

from usb_dashboard import api, errors
from usb_dashboard.devices import verbatim


class Form(forms.SelfHandlingForm):
    """One chosen thing, and the thing that it is chosen for.

    :param subject: the id of the server, or of the device, that the dialog is about
    :param back: the page to return to
    """

    choice = forms.CharField(error_messages={"required": _("Choose one first.")})

    def __init__(self, request: HttpRequest, *args: Any, subject: str, back: str, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self._subject = subject
        self._back = back

    def handle(self, request: HttpRequest, data: dict[str, str]) -> HttpResponse | None:
        """Back, or None if the service refused: what it said then stands in the form."""
        try:
            done = self.act(request, self._subject, data["choice"])
        except errors.UNAUTHORIZED:
            return errors.log_in_again(request, self._back)
        except errors.ERRORS as error:
            self.api_error(verbatim(str(errors.explain(error))))
            return None
        messages.success(request, done)
        return redirect(self._back)

    def act(self, request: HttpRequest, subject: str, choice: str) -> Any:
        """Do it; returns what to tell the user, as HTML or as a text without strings of devices."""
        raise NotImplementedError


class AttachForm(Form):
    """A device for a server."""

    def act(self, request: HttpRequest, server_id: str, device_id: str) -> Any:
        """Attach."""
        return _attach(request, server_id, device_id)


class AttachDeviceForm(Form):
    """A server for a device."""

    def act(self, request: HttpRequest, device_id: str, server_id: str) -> Any:
        """Attach."""
        return _attach(request, server_id, device_id)


class DetachForm(Form):
    """A device of a server."""

    def act(self, request: HttpRequest, server_id: str, device_id: str) -> Any:
        """Detach."""
        api.detach(request, server_id, device_id)
        return _("Detaching the USB device.")


def _attach(request: HttpRequest, server_id: str, device_id: str) -> Any:
    device = api.attach(request, server_id, device_id)
    return format_html(_("Attaching {}."), verbatim(device.name or device.usb_id))
