# SPDX-License-Identifier: Apache-2.0
"""Tables that stay true while somebody looks at them.

One request for the whole table, every few seconds while something is in progress and four times a minute
otherwise: the script in ``usb/_watched.html`` exchanges the rows that have changed. A hidden tab does not
ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from horizon import tables as horizon_tables

from usb_dashboard import errors
from usb_dashboard.devices import Device

_PARAMETER = "watch"


def answer(look: Callable[[], horizon_tables.DataTable]) -> HttpResponse:
    """The table alone; 503 and the reason if the service cannot be asked.

    :param look: raises one of `usb_dashboard.errors.ERRORS`.
    """
    try:
        return HttpResponse(look().render())
    except errors.UNAUTHORIZED:
        raise
    except errors.ERRORS as error:
        return HttpResponse(errors.explain(error), status=503, content_type="text/plain; charset=utf-8")


def is_asked(request: HttpRequest) -> bool:
    """Whether a script asks for the table of a page alone."""
    return _PARAMETER in request.GET


def address(request: HttpRequest) -> str:
    """Where the table of a page is asked for, with the parameters that the page was asked for with."""
    query = request.GET.copy()
    query[_PARAMETER] = "1"
    return f"{request.path}?{query.urlencode()}"


class WatchedTableView(errors.LoginView, horizon_tables.DataTableView):
    """A page with one table of devices."""

    def devices(self) -> list[Device]:
        """Raises one of `usb_dashboard.errors.ERRORS`."""
        raise NotImplementedError

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or its table alone."""
        if _PARAMETER not in request.GET:
            return super().get(request, *args, **kwargs)
        self.update_server_filter_action(request)
        return answer(lambda: self.table_class(request, data=self.devices(), **self.kwargs))

    def get_data(self) -> list[Device]:
        """The devices; none, and the reason in the table, if the service cannot be asked."""
        try:
            return self.devices()
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            self.get_table().say(error)
            return []

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With where to ask for the table."""
        return super().get_context_data(**kwargs) | {"watch_address": address(self.request)}
