# SPDX-License-Identifier: Apache-2.0
"""Times in the time zone of the user."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.defaultfilters import date, timesince
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from horizon.utils import filters, functions


def activate(request: HttpRequest) -> None:
    """Show times as the user wants them. Horizon does that itself, but not for what scripts ask for."""
    timezone.activate(functions.get_timezone(request))


def exact(moment: str) -> str:
    """A time as the service sends it, with the name of the time zone."""
    return date(timezone.localtime(filters.parse_isotime(moment)), "Y-m-d H:i:s T")


def elapsed(moment: str | None) -> SafeString | None:
    """How long ago something was, with the exact time on hover, as HTML."""
    if moment is None:
        return None
    then = filters.parse_isotime(moment)
    return format_html('<span title="{}">{}</span>', exact(moment), timesince(then))
