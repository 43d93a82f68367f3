# SPDX-License-Identifier: Apache-2.0
"""A user of Horizon, and a USB service that is played: the plugin's real views and its real client."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any
from unittest import mock
from urllib import parse

import requests_mock
from compressor.templatetags.compress import CompressorNode
from django.conf import settings
from django.contrib.messages import get_messages
from django.test import override_settings
from keystoneauth1 import exceptions
from openstack_auth import policy as enforcer
from openstack_dashboard.test import helpers
from openstack_dashboard.test.test_data import neutron_data

SERVICE = "http://usb.example.org:9797"
HOSTILE = "AT&T <b>\"quote\"</b> {$x$} 'é'"
AJAX = {"X-Requested-With": "XMLHttpRequest"}
REAL_POLICY = override_settings(POLICY_CHECK_FUNCTION="openstack_auth.policy.check")
# Horizon's test data take the text from every exception of these classes.
ERRORS = {
    (known, name): getattr(known, name)
    for known in (exceptions.ClientException, exceptions.Unauthorized)
    for name in ("__init__", "__str__")
}


def device(name: str, **values: Any) -> dict[str, Any]:
    """A free stick, as the service tells a tenant of it."""
    return {
        "id": f"id-of-{name}",
        "name": name,
        "vendor_id": "0781",
        "product_id": "5567",
        "vendor": "SanDisk Corp.",
        "product": "Cruzer Blade",
        "serial": "4C530001",
        "device_class": "08",
        "speed": "480",
        "port": "1-2",
        "bus": 1,
        "device": 3,
        "state": "available",
        "reason_code": None,
        "state_reason": None,
        "state_since": "2026-01-01T00:00:00Z",
        "available": True,
        "kind": None,
        "server_id": None,
        "lease_until": None,
        "host_id": "some-host",
        "description": "",
        "enabled": True,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    } | values


def attachment(name: str, server_id: str, **values: Any) -> dict[str, Any]:
    """What a server has, as the service sends it."""
    known = device(name, server_id=server_id, **{"state": "attached", "available": False, **values})
    return {"server_id": server_id, "device_id": known["id"], "device": known}


def _page(devices: Sequence[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """As the service answers: filters, order, marker and limit."""
    filters = {name: query[name] for name in ("state", "host") if name in query}
    found = [device for device in devices if filters.items() <= device.items()]
    key = query.get("sort_key", "created_at")
    found.sort(key=lambda it: str(it[key]), reverse=query.get("sort_dir") == "desc")
    begin = 0
    if "marker" in query:
        begin = [it["id"] for it in found].index(query["marker"]) + 1
    return found[begin : begin + int(query["limit"]) if "limit" in query else None]


class PlayedTest(helpers.TestCase):
    """A member of a project, a catalog with the service, and the service itself."""

    with_service = True
    roles_of_user: tuple[str, ...] = ("member", "reader")

    def setUp(self) -> None:
        super().setUp()
        # Style sheets and scripts, compiled for each page, take most of the time, and are not looked at.
        patch = mock.patch.object(CompressorNode, "render", lambda self, context: "")
        patch.start()
        self.addCleanup(patch.stop)
        for (known, name), method in ERRORS.items():
            patch = mock.patch.object(known, name, method)
            patch.start()
            self.addCleanup(patch.stop)
        self.service = requests_mock.Mocker()
        self.service.start()
        self.addCleanup(self.service.stop)
        enforcer.reset()
        self.addCleanup(enforcer.reset)

    def _setup_test_data(self) -> None:
        # Made anew for each test, the networks take a second, and nothing here shows them.
        with mock.patch.object(neutron_data, "data"):
            super()._setup_test_data()

    def _setup_user(self, **kwargs: Any) -> None:
        if self.with_service:
            places = [
                {
                    "region": "RegionOne",
                    "region_id": "RegionOne",
                    "interface": interface,
                    "url": f"{SERVICE}/v1",
                }
                for interface in ("public", "internal", "admin")
            ]
            self.service_catalog.append(
                {"type": "usb-passthrough", "name": "usb-passthrough", "endpoints": places}
            )
        super()._setup_user(roles=[{"id": role, "name": role} for role in self.roles_of_user], **kwargs)

    def plug(self, *devices: dict[str, Any]) -> None:
        """What devices the service knows of, in the order in which it came to know them."""

        def page(request: Any, context: Any) -> dict[str, Any]:
            return {"devices": _page(devices, dict(parse.parse_qsl(parse.urlsplit(request.url).query)))}

        self.service.get(f"{SERVICE}/v1/devices", json=page)
        for one in devices:
            self.service.get(f"{SERVICE}/v1/devices/{one['id']}", json={"device": one})

    def refuse(self, method: str, path: str, code: int, message: str, reason_code: str = "") -> None:
        """The service refuses a call."""
        self.service.request(
            method,
            f"{SERVICE}/v1/{path}",
            status_code=code,
            json={"error": {"code": code, "title": "x", "message": message, "reason_code": reason_code}},
            headers={"Content-Type": "application/json"},
        )

    def calls(self) -> list[str]:
        """What the service was asked since the last time."""
        # Horizon 24 also asks Keystone on each page.
        asked = [call for call in self.service.request_history if call.url.startswith(SERVICE)]
        made = [f"{call.method} {call.path}" for call in asked]
        self.service.reset_mock()
        return made

    def assert_leads_to_login(self, response: Any) -> None:
        """A script is told where to log in again: with 200 by Horizon 24, as all redirects are."""
        assert response.status_code in (200, 401)
        assert response["X-Horizon-Location"].startswith(settings.LOGIN_URL)

    def messages(self, response: Any) -> list[str]:
        """What the user is told on the page after a response, as HTML."""
        return [str(message) for message in get_messages(response.wsgi_request)]

    def assert_shown_as_it_is(self, text: str) -> None:
        """The hostile name is there, escaped once, in a place that Angular leaves alone, and nowhere else."""
        assert f"<span ng-non-bindable>{html.escape(HOSTILE)}</span>" in text
        rest = re.sub("<span ng-non-bindable>[^<]*</span>", "", text)
        for attribute in re.findall('data-display="([^"]*)"', text):
            # Horizon's script makes HTML of the attribute's value (horizon.tables.js, confirm).
            assert HOSTILE in html.unescape(html.unescape(attribute))
            assert "<" not in html.unescape(attribute)
            rest = rest.replace(f'data-display="{attribute}"', "")
        for bad in ("AT&", "&lt;b", "<b>", "{$", "{%x"):
            assert bad not in rest, rest[max(0, rest.index(bad) - 200) : rest.index(bad) + 100]
