# SPDX-License-Identifier: Apache-2.0
"""What the dialogs send: the service alone decides whether it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from horizon import forms

from novaclient_usb import durations


class ConfirmForm(forms.SelfHandlingForm):
    """Nothing but the button.

    :param send: does what the dialog is for
    """

    def __init__(
        self,
        request: HttpRequest,
        *args: Any,
        send: Callable[[forms.SelfHandlingForm, Any], HttpResponse | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(request, *args, **kwargs)
        self._send = send

    def handle(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse | None:
        """Back, or None if the service refused: what it said then stands in the form."""
        return self._send(self, data.get("choice", ""))


class ChoiceForm(ConfirmForm):
    """One chosen thing."""

    choice = forms.CharField(error_messages={"required": _("Choose one first.")})


class LeaseForm(ConfirmForm):
    """For how long from now."""

    choice = forms.CharField(
        label=_("Time from now"),
        required=False,
        help_text=_(
            "A number and m, h or d, for example 2h. Leave it empty to keep the device without an end."
        ),
    )

    def clean_choice(self) -> str:
        """As the user has written it."""
        text = self.cleaned_data["choice"].strip()
        try:
            if text:
                durations.seconds(text)
        except ValueError:
            raise ValidationError(_("Enter a number and m, h or d, for example 2h.")) from None
        return text
