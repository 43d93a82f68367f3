# SPDX-License-Identifier: Apache-2.0
"""What the dialogs send: the service alone decides whether it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from horizon import forms


class ConfirmForm(forms.SelfHandlingForm):
    """Nothing but the button.

    :param send: does what the dialog is for
    """

    def __init__(
        self,
        request: HttpRequest,
        *args: Any,
        send: Callable[[forms.SelfHandlingForm, str], HttpResponse | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(request, *args, **kwargs)
        self._send = send

    def handle(self, request: HttpRequest, data: dict[str, str]) -> HttpResponse | None:
        """Back, or None if the service refused: what it said then stands in the form."""
        return self._send(self, data.get("choice", ""))


class ChoiceForm(ConfirmForm):
    """One chosen thing."""

    choice = forms.CharField(error_messages={"required": _("Choose one first.")})
