# SPDX-License-Identifier: Apache-2.0
"""What an operator writes about a device, and with whom it is shared."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

from django import forms as django_forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import forms, messages

from novaclient_usb import kinds
from usb_dashboard import api, errors
from usb_dashboard.devices import verbatim
from usb_dashboard.panels.instances.forms import ConfirmForm

# Keystone, keystone/api/validation/parameter_types.py: ID_STRING.
_PROJECT_ID = r"[a-zA-Z0-9-]{1,64}"


class _Verbatim(django_forms.TextInput):
    """A field whose content Horizon does not change, as it does with what Angular could take for its own."""

    def format_value(self, value: Any) -> Any:
        return mark_safe(html.escape(value))  # noqa: S308


class EditForm(forms.SelfHandlingForm):
    """The description and the kind of a device."""

    description = forms.CharField(
        label=_("Description"),
        max_length=255,
        required=False,
        widget=_Verbatim(attrs={"ng-non-bindable": ""}),
    )
    kind = forms.RegexField(
        rf"^(?:{kinds.PATTERN})\Z",
        label=_("Kind"),
        required=False,
        # What the rule says of the kind counts until an operator changes it.
        show_hidden_initial=True,
        widget=django_forms.TextInput(attrs={"list": "usb_kinds"}),
        error_messages={
            "invalid": _(
                "Enter at most 64 lower-case letters and digits that begin with a letter, with single dashes"
                " or underscores between them."
            )
        },
    )

    def __init__(self, request: HttpRequest, *args: Any, device_id: str, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self._device_id = device_id

    def handle(self, request: HttpRequest, data: dict[str, Any]) -> bool | HttpResponse:
        """Whether the service took it; what it says otherwise stands in the form."""
        changes = {"description": data["description"]}
        if "kind" in self.changed_data:
            changes["kind"] = data["kind"]
        try:
            device = api.device_update(request, self._device_id, **changes)
        except errors.UNAUTHORIZED:
            return errors.log_in_again(request, reverse("horizon:admin:usb:index"))
        except errors.ERRORS as error:
            self.api_error(verbatim(errors.explain(error)))
            return False
        messages.success(request, format_html(_("{} was changed."), verbatim(device.label)))
        return True


@dataclasses.dataclass(frozen=True)
class Sharing:
    """What is to be changed, as ids of projects.

    :ivar now: with whom the device is shared by name after that.
    """

    add: frozenset[str]
    remove: frozenset[str]
    now: frozenset[str]


class _ProjectIds(django_forms.MultipleChoiceField):
    """Which may be chosen the form knows."""

    def valid_value(self, value: str) -> bool:
        return True


class ProjectsForm(ConfirmForm):
    """With which projects a device is shared by name.

    What is sent is the difference to what the dialog has shown: another operator may have changed something
    else meanwhile.

    :param projects: ids and names of all projects; none where Keystone does not tell.
    """

    choice = _ProjectIds(required=False)
    before = _ProjectIds(required=False)
    another = forms.RegexField(
        f"^{_PROJECT_ID}$",
        label=_("ID of another project"),
        required=False,
        error_messages={"invalid": _("Enter the ID of one project.")},
    )

    def __init__(self, *args: Any, projects: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._projects = projects

    def clean(self) -> dict[str, Any]:
        """``choice`` becomes what is to be changed."""
        data = super().clean()
        named = frozenset({data.get("another")} - {None, ""})
        before = frozenset(data.get("before", ()))
        now = frozenset(data.get("choice", ())) | named
        sharing = Sharing(add=now - before, remove=before - now, now=now)
        if not sharing.add <= (self._projects.keys() or named):
            raise ValidationError(_("Choose projects from the list."))
        return data | {"choice": sharing}
