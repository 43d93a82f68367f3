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
from horizon.utils import functions

from usb_dashboard import api, errors, paging, tables
from usb_dashboard.devices import Device

_PARAMETER = "watch"


def answer(look: Callable[[], str]) -> HttpResponse:
    """A part of a page; 503 and the reason if the service cannot be asked.

    :param look: returns HTML; raises one of `usb_dashboard.errors.ERRORS`.
    """
    try:
        return HttpResponse(look())
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
    """A page with one `usb_dashboard.tables.PagedDevicesTable`."""

    def complete(self, devices: list[Device]) -> None:
        """Add to devices what the table shows beyond what the service tells.

        Raises one of `usb_dashboard.errors.ERRORS`.
        """
        raise NotImplementedError

    def shows_part(self) -> bool:
        """Whether not all devices that the service tells of belong on the page."""
        return False

    def leave_over(self, devices: list[Device]) -> list[Device]:
        """Those that do."""
        return devices

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or its table alone."""
        if not is_asked(request):
            return super().get(request, *args, **kwargs)
        self.update_server_filter_action(request)
        return answer(lambda: self._table().render())

    def get_data(self) -> list[Device]:
        """The devices; none, and the reason in the table, if the service cannot be asked."""
        with errors.told_in(self.get_table()):
            return self._table().data
        return []

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With where to ask for the table."""
        return super().get_context_data(**kwargs) | {"watch_address": address(self.request)}

    def _table(self) -> tables.PagedDevicesTable:
        table = self.get_table()
        table.show(self._page(table))
        return table

    def _page(self, table: tables.PagedDevicesTable) -> paging.Page:
        look, size = table.look, functions.get_page_size(self.request)
        filters, text = table.wanted()

        def ask(marker: str | None, descending: bool, limit: int | None) -> list[Device]:
            return api.device_page(self.request, look.sort_key, descending, marker, limit, **filters)

        if text or self.shows_part():
            devices = self.leave_over(ask(None, look.descending, None))
            self.complete(devices)
            found = [device for device in devices if tables.bears(device, text.casefold())]
            page = paging.turn(look, size, paging.of_list(found, look.descending))
        else:
            page = paging.turn(look, size, ask)
            self.complete(page.devices)
        if page.is_whole and not look.sorting:
            page.devices.sort(key=Device.order)
        return page
