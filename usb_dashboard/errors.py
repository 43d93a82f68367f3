# SPDX-License-Identifier: Apache-2.0
"""What is said when the service, or Nova, does not do what it is asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from horizon import exceptions as horizon_exceptions
from horizon import messages
from horizon.utils import functions
from keystoneauth1 import exceptions
from novaclient import exceptions as nova_exceptions

from novaclient_usb import ReasonCode, client
from usb_dashboard import times

Answer = TypeVar("Answer")

#: The token is no longer good.
UNAUTHORIZED = (exceptions.Unauthorized, nova_exceptions.Unauthorized)

#: All that may go wrong with a call without a fault of ours; `UNAUTHORIZED` is among it.
ERRORS = (
    exceptions.ClientException,
    nova_exceptions.ClientException,
    horizon_exceptions.ServiceCatalogException,
)


# What people can do something about, in the words of the page. What is not here the service says itself.
_TEXTS: dict[str, Any] = {
    ReasonCode.SERVER_LOCKED: _("Instance {instance} is locked. Unlock it first."),
    ReasonCode.DEVICE_TAKEN: _("{device} is in use. Choose another device, or wait until it is free."),
    ReasonCode.DEVICE_ON_OTHER_HOST: _("{device} is on a different host than {instance}."),
    ReasonCode.NETWORK_NOT_ALLOWED: _("{device} may not be used over the network."),
    ReasonCode.NO_NETWORK_TRANSPORT: _(
        "The host of {device} or of {instance} does not support USB over the network."
    ),
    ReasonCode.DEVICE_DETACHING: _("{device} is being detached from {instance}. Wait until it is free."),
    ReasonCode.DEVICE_RELEASED: _("{device} was released before it could be attached."),
    ReasonCode.DEVICE_NOT_SHARED: _("{device} is not shared with the project of {instance}."),
    ReasonCode.NO_FREE_USB_PORT: _(
        "All USB ports of {instance} are in use. Detach a USB device from it first."
    ),
    ReasonCode.TOO_MANY_DEVICES: _(
        "{instance} has reached its limit of USB devices. Detach one from it first."
    ),
    ReasonCode.QUOTA_EXCEEDED: _(
        "The project has reached its quota of USB devices. Detach one first, or ask your cloud"
        " administrator for more."
    ),
    ReasonCode.QUEUED_FOR_OTHERS: _("Other instances are in the queue for {device}."),
    ReasonCode.HOST_DOWN: _("The host of {instance} does not answer. Contact your cloud administrator."),
    ReasonCode.SERVER_NOT_ON_HOST: _("{instance} is on no host. Start it first."),
    ReasonCode.ATTACHMENT_NOT_FOUND: _("{instance} does not have {device} any more."),
    ReasonCode.SERVER_NOT_FOUND: _("The instance could not be found."),
    ReasonCode.DEVICE_NOT_FOUND: _("The USB device could not be found."),
    ReasonCode.FORBIDDEN: _("Your role in the project does not allow it."),
}


def explain(
    error: Exception,
    device: tuple[str, str | None] | None = None,
    instance: tuple[str, str | None] | None = None,
) -> str:
    """What to tell people of one of `ERRORS`.

    :param device: the id of the device that it is about, and what people call it, None if that is not known.
    :param instance: the same of the server.
    """
    if isinstance(error, exceptions.ConnectionError):
        return str(_("The USB service is unavailable. Try again later, or contact your cloud administrator."))
    if isinstance(error, horizon_exceptions.ServiceCatalogException):
        return str(_("This cloud has no USB service."))
    if not isinstance(error, exceptions.HttpError):
        return str(error)
    device_id, device_name = device or ("", None)
    server_id, server_name = instance or ("", None)
    text = _TEXTS.get(client.reason_code(error) or "")
    if text is not None:
        return str(text).format(
            device=device_name or _("the USB device"), instance=server_name or _("the instance")
        )
    # What follows is for programmers.
    said = str(error.message.split(f" (HTTP {error.http_status})")[0])
    for is_called, name in (
        (f"USB device {device_id}", device_name),
        (f"server {server_id}", server_name),
        (f"Server {server_id}", server_name),
    ):
        said = said.replace(is_called, name or is_called)
    return said


def unless_refused(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What a call answers that the page can be without; `otherwise` where that cannot be had."""
    try:
        return ask()
    except UNAUTHORIZED:
        raise
    except ERRORS:
        return otherwise


@contextlib.contextmanager
def told(request: HttpRequest, message: Any, redirect: str | None = None) -> Iterator[None]:
    """What goes wrong inside is a message on the page.

    :param message: with ``%s`` for what `explain` says.
    :param redirect: the page to show then; by default the page goes on without what is missing.
    """
    try:
        yield
    except UNAUTHORIZED:
        raise
    except ERRORS as error:
        horizon_exceptions.handle(request, message % explain(error), redirect=redirect, details="")


def tell(request: HttpRequest, message: Any, error: Exception) -> NoReturn:
    """Show what the service says, in place of the text that a batch action has for all failures.

    :param message: with ``%s`` for what `explain` says.
    :raises horizon.exceptions.HandledException: Horizon goes on with the next one
    """
    messages.error(request, message % explain(error))
    raise horizon_exceptions.HandledException(sys.exc_info())


@contextlib.contextmanager
def told_in(*tables: Any) -> Iterator[None]:
    """What goes wrong inside stands in each `usb_dashboard.tables.TellingTable`, in place of its rows."""
    try:
        yield
    except UNAUTHORIZED:
        raise
    except ERRORS as error:
        for table in tables:
            table.say(error)


class LoginView:
    """Beside a view of Horizon's: whoever has no good token is sent to get one. Times are the user's."""

    request: HttpRequest

    def after_login(self) -> str:
        """The page to come back to."""
        return self.request.path

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """What the view answers, or the login page."""
        times.activate(request)
        try:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        except UNAUTHORIZED:
            return log_in_again(request, self.after_login())


def log_in_again(request: HttpRequest, following: str) -> HttpResponse:
    """The login page, also for a dialog, and after that the page ``following``."""
    # Whoever is logged in would be told there that they lack a permission.
    auth.logout(request)
    response = redirect_to_login(following, login_url=settings.LOGIN_URL)
    reason = _("Your session is no longer valid. Log in again.")
    functions.add_logout_reason(request, response, reason, "error")
    return response
