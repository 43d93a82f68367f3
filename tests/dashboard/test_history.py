# SPDX-License-Identifier: Apache-2.0
"""The history of a device, from the panels and from the tab."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.conf import settings
from django.test import override_settings
from django.urls import reverse
from openstack_dashboard.api import nova

from tests.dashboard.played import AJAX, HOSTILE, SERVICE, PlayedTest, device

INDEX = reverse("horizon:project:usb:index")
URL = reverse("horizon:project:usb:history", args=("id-of-stick",))


def event(cause: str, **values: Any) -> dict[str, Any]:
    """As the service sends it."""
    return {
        "created_at": "2026-01-02T03:04:05Z",
        "cause": cause,
        "cause_code": None,
        "state": "attached",
        "reason_code": None,
        "state_reason": None,
        "server_id": "the-server",
        "project_id": "p1",
        "user_id": None,
        "request_id": None,
    } | values


class HistoryTest(PlayedTest):
    def setUp(self) -> None:
        super().setUp()
        named = mock.Mock(id="the-server")
        named.name = "demo"
        servers = mock.patch.object(nova, "server_list", return_value=([named], False))
        self.server_list = servers.start()
        self.addCleanup(servers.stop)

    def happened(self, *events: dict[str, Any]) -> None:
        """What the service knows of the stick."""
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick/events", json={"events": list(events)})

    def cells(self, response: Any) -> list[list[str]]:
        """The rows as they are shown."""
        return [[str(cell.value) for cell in row] for row in response.context["table"].get_rows()]

    def test_the_latest_first_as_the_service_sends_it(self) -> None:
        self.plug(device("stick"))
        self.happened(
            event("unplugged", state="waiting", state_reason="unplugged"),
            event("asked", state="attaching", user_id="u1", request_id="req-1"),
        )
        response = self.client.get(URL, headers=AJAX)
        self.assertTemplateUsed(response, "usb/_history.html")
        last, first = self.cells(response)
        assert last[0].startswith("2026-01-02 03:04:05")
        assert ["unplugged" in last[1], "Waiting" in last[2] and "unplugged" in last[2]] == [True, True]
        assert last[3:] == ["<span ng-non-bindable>demo</span>", "-", "-"]
        assert first[4:] == ["u1", "req-1"]
        self.server_list.assert_called_once()

    def test_codes_are_translated_and_times_are_those_of_the_user(self) -> None:
        self.plug(device("stick"))
        self.happened(
            event(
                "the device is unplugged", cause_code="unplugged", reason_code="unplugged", state="waiting"
            ),
            event(
                "requested", cause_code="requested", reason_code="host_mount", state_reason="mounted at /srv"
            ),
        )
        self.client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
        self.client.cookies["django_timezone"] = "Europe/Berlin"
        response = self.client.get(URL, headers=AJAX)
        for told in (
            "2026-01-02 04:04:05 CET",
            "<span ng-non-bindable>ausgesteckt</span>",
            "Wartet: ausgesteckt. Wird beim Einstecken wieder angehängt.",
            "<span ng-non-bindable>angefordert</span>",
            "Angehängt: <span ng-non-bindable>der Compute-Host benutzt es (mounted at /srv)</span>",
        ):
            self.assertContains(response, told)

    def test_a_place_in_line_has_no_state(self) -> None:
        self.plug(device("stick"))
        self.happened(
            event("joined the queue", state=None), event("left the queue", state=None, state_reason="why")
        )
        first, last = self.cells(self.client.get(URL, headers=AJAX))
        assert first[2] == "-"
        assert "why" in last[2]

    def test_as_a_page(self) -> None:
        self.plug(device("stick"))
        self.happened()
        response = self.client.get(URL)
        self.assertTemplateUsed(response, "usb/history.html")
        self.assertContains(response, "No events are recorded for this USB device")

    def test_a_hostile_device(self) -> None:
        self.plug(device(HOSTILE, id="id-of-stick"))
        self.happened(event("unplugged", state_reason=HOSTILE))
        self.assert_shown_as_it_is(self.client.get(URL, headers=AJAX).content.decode())

    def test_what_the_service_says_stands_in_the_dialog(self) -> None:
        self.refuse("GET", "devices/id-of-stick", 404, "USB device id-of-stick could not be found.")
        self.assertContains(self.client.get(URL, headers=AJAX), "USB device id-of-stick could not be found.")

    def test_a_token_that_is_no_longer_good(self) -> None:
        self.refuse("GET", "devices/id-of-stick", 401, "The request you have made requires authentication.")
        self.assertRedirectsNoFollow(self.client.get(URL), f"{settings.LOGIN_URL}?next={URL}")

    def test_the_panel_links_to_it(self) -> None:
        self.plug(device("stick"))
        self.assertContains(self.client.get(INDEX), f'href="{URL}"')

    def test_only_where_the_policy_allows_it(self) -> None:
        self.plug(device("stick"))

        def refuse_events(rules: Any, request: Any, target: Any = None) -> bool:
            return "usb-passthrough:events:list" not in dict(rules).values()

        with override_settings(POLICY_CHECK_FUNCTION=refuse_events):
            self.assertNotContains(self.client.get(INDEX), f'href="{URL}"')
