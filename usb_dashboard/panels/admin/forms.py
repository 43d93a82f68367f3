# SPDX-License-Identifier: Apache-2.0
"""What an operator writes about a device."""

from __future__ import annotations

import html
from typing import Any

from django import forms as django_forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import forms, messages

from usb_dashboard import api, errors
from usb_dashboard.devices import verbatim


class _Verbatim(django_forms.TextInput):
    """A field whose content Horizon does not change, as it does with what Angular could take for its own."""

    def format_value(self, value: Any) -> Any:
        return mark_safe(html.escape(value))  # noqa: S308


class DescribeForm(forms.SelfHandlingForm):
    """The description of a device."""

    description = forms.CharField(
        label=_("Description"),
        max_length=255,
        required=False,
        widget=_Verbatim(attrs={"ng-non-bindable": ""}),
    )

    def __init__(self, request: HttpRequest, *args: Any, device_id: str, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self._device_id = device_id

    def handle(self, request: HttpRequest, data: dict[str, Any]) -> bool | HttpResponse:
        """Whether the service took it; what it says otherwise stands in the form."""
        try:
            api.device_update(request, self._device_id, description=data["description"])
        except errors.UNAUTHORIZED:
            return errors.log_in_again(request, reverse("horizon:admin:usb:index"))
        except errors.ERRORS as error:
            self.api_error(verbatim(errors.explain(error)))
            return False
        messages.success(request, _("The description was saved."))
        return True
