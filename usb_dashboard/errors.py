# SPDX-License-Identifier: Apache-2.0
"""What is said when the service, or Nova, does not do what it is asked for."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from horizon import exceptions as horizon_exceptions
from horizon.utils import functions
from keystoneauth1 import exceptions
from novaclient import exceptions as nova_exceptions

#: The token is no longer good.
UNAUTHORIZED = (exceptions.Unauthorized, nova_exceptions.Unauthorized)

#: All that may go wrong with a call without a fault of ours; `UNAUTHORIZED` is among it.
ERRORS = (
    exceptions.ClientException,
    nova_exceptions.ClientException,
    horizon_exceptions.ServiceCatalogException,
)


def explain(error: Exception) -> Any:
    """What to tell people of one of `ERRORS`: the service's own words, if it had any."""
    if isinstance(error, exceptions.ConnectionError):
        return _("The USB service cannot be reached. Try again later, or ask the operator of this cloud.")
    if isinstance(error, horizon_exceptions.ServiceCatalogException):
        return _("This cloud has no USB service.")
    if isinstance(error, exceptions.HttpError):
        # What follows is for programmers.
        return error.message.split(f" (HTTP {error.http_status})")[0]
    return str(error)


class LoginView:
    """Beside a view of Horizon's: whoever has no good token is sent to get one."""

    request: HttpRequest

    def after_login(self) -> str:
        """The page to come back to."""
        return self.request.path

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """What the view answers, or the login page."""
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
