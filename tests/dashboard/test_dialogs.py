# SPDX-License-Identifier: Apache-2.0
"""The dialogs that attach and detach."""

from __future__ import annotations

import html
import re
from typing import Any
from unittest import mock

import pytest
import requests
import requests_mock
from django.conf import settings
from django.urls import reverse
from openstack_dashboard import api as horizon_api

from tests.dashboard.played import AJAX, HOSTILE, SERVICE, PlayedTest, attachment, device
from usb_dashboard import api

SERVER = "11111111-2222-3333-4444-555555555555"
ATTACH = reverse("horizon:project:usb:attach", args=(SERVER,))
DETACH = reverse("horizon:project:usb:detach", args=(SERVER,))
INSTANCES = reverse("horizon:project:instances:index")
PANEL = reverse("horizon:project:usb:index")
TAB = reverse("horizon:project:instances:detail", args=(SERVER,)) + "?tab=instance_details__usb"
ATTACHMENTS = f"servers/{SERVER}/attachments"


class DialogTest(PlayedTest):
    """What is the same for both."""

    def open(self, address: str) -> str:
        """The dialog, as the browser gets it."""
        response = self.client.get(address, headers=AJAX)
        assert response.status_code == 200
        return response.content.decode()

    def send(self, address: str, **data: str) -> Any:
        """Press the button."""
        return self.client.post(address, data, headers=AJAX)

    def radio(self, text: str, value: str) -> str:
        """The button to choose something."""
        (found,) = re.findall(rf'<input type="radio"[^>]*value="{value}"[^>]*>', text)
        return " ".join(found.split())

    def errors(self, text: str) -> list[str]:
        """What the dialog says is wrong, as HTML."""
        found = re.findall(r'<div class="alert alert-danger"[^>]*>(.*?)</div>', text, re.DOTALL)
        return [" ".join(it.split()) for it in found]

    def back(self, response: Any) -> str:
        """Where the browser is sent."""
        assert response.status_code == 200
        return response["X-Horizon-Location"]

    def plug_attached(self, *attachments: dict[str, Any]) -> None:
        """What the server has."""
        self.service.get(f"{SERVICE}/v1/{ATTACHMENTS}", json={"attachments": list(attachments)})


class AttachTest(DialogTest):
    def test_one_call(self) -> None:
        self.plug(device("stick"))
        self.open(ATTACH)
        assert self.service.last_request.qs == {"server_id": [SERVER]}
        assert self.calls() == ["GET /v1/devices"]

    def test_what_is_told_of_a_device(self) -> None:
        self.plug(device("Cruzer Blade"))
        text = self.open(ATTACH)
        for told in (
            "Cruzer Blade",
            "0781:5567",
            "Bus 001 Device 003",
            "1-2",
            "480 Mbit/s",
            "4C530001",
            'title="Storage"',
            "fa-hdd",
        ):
            assert told in text, told

    def test_every_radio_button_has_its_label(self) -> None:
        self.plug(device("stick"), device("reader"))
        text = self.open(ATTACH)
        for name in ("stick", "reader"):
            assert f'id="choice_id-of-{name}"' in self.radio(text, f"id-of-{name}")
            (label,) = re.findall(rf'<label for="choice_id-of-{name}">(.*?)</label>', text)
            assert f">{name}<" in label

    def test_the_free_ones_come_first_and_the_others_cannot_be_chosen(self) -> None:
        taken = {"available": False, "state": "unavailable", "state_reason": "in use"}
        self.plug(device("a", **taken), device("c"), device("b"))
        text = self.open(ATTACH)
        assert re.findall(r'value="id-of-(\w)"', text) == ["b", "c", "a"]
        assert "disabled" in self.radio(text, "id-of-a")
        assert "disabled" not in self.radio(text, "id-of-b")
        assert "Unavailable: <span ng-non-bindable>in use</span>" in text

    def test_the_only_one_is_chosen_already(self) -> None:
        self.plug(device("a", available=False, state="unavailable"), device("b"))
        assert "checked" in self.radio(self.open(ATTACH), "id-of-b")

    def test_nothing_is_chosen_already_if_there_is_a_choice(self) -> None:
        self.plug(device("a"), device("b"))
        assert "checked" not in self.open(ATTACH)

    def test_many_can_be_filtered(self) -> None:
        devices = [device(f"n{number}") for number in range(9)]
        self.plug(*devices[:8])
        assert "table_search client" not in self.open(ATTACH)
        self.plug(*devices)
        assert "table_search client" in self.open(ATTACH)

    def test_there_is_none(self) -> None:
        self.plug()
        text = self.open(ATTACH)
        assert "no USB device that this instance could be given" in text
        assert 'type="submit"' not in text

    def test_none_of_them_is_free(self) -> None:
        self.plug(device("a", available=False, state="unavailable"))
        assert 'type="submit"' not in self.open(ATTACH)

    def test_a_hostile_device(self) -> None:
        self.plug(device(HOSTILE, id="h", serial=HOSTILE, state_reason=HOSTILE, available=False))
        self.assert_shown_as_it_is(self.open(ATTACH))

    def test_attach(self) -> None:
        self.service.post(
            f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json={"attachment": attachment("stick", SERVER)}
        )
        response = self.send(ATTACH, choice="id-of-stick")
        assert self.back(response) == INSTANCES
        assert self.messages(response) == ["Attaching <span ng-non-bindable>stick</span>."]
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}
        assert self.calls() == [f"POST /v1/{ATTACHMENTS}"]

    def test_attach_a_hostile_device(self) -> None:
        body = {"attachment": attachment(HOSTILE, SERVER, id="h")}
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json=body)
        self.send(f"{ATTACH}?place=panel", choice="h")
        self.plug()
        self.assert_shown_as_it_is(self.client.get(PANEL).content.decode())

    def test_back_to_where_the_user_was(self) -> None:
        body = {"attachment": attachment("stick", SERVER)}
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json=body)
        self.plug(device("stick"))
        for place, page in (("tab", TAB), ("panel", PANEL), ("http://evil.example.org", INSTANCES)):
            address = f"{ATTACH}?place={place}"
            assert f'action="{html.escape(address)}"' in self.open(address)
            assert self.back(self.send(address, choice="id-of-stick")) == page

    def test_nothing_is_chosen(self) -> None:
        self.plug(device("a"), device("b"))
        text = self.send(ATTACH).content.decode()
        assert self.errors(text) == ["Choose one first."]
        assert self.calls() == ["GET /v1/devices"]

    def test_the_service_refuses(self) -> None:
        why = "USB device id-of-a is taken. Choose another, or wait until it is free."
        self.refuse("POST", ATTACHMENTS, 409, why)
        self.plug(device("a", available=False, state="unavailable"), device("b"), device("c"))
        response = self.send(ATTACH, choice="id-of-a")
        text = response.content.decode()
        assert self.errors(text) == [f"<p><span ng-non-bindable>{why}</span></p>"]
        assert "disabled" in self.radio(text, "id-of-a")
        assert "X-Horizon-Location" not in response
        assert self.calls() == [f"POST /v1/{ATTACHMENTS}", "GET /v1/devices"]

    def test_the_choice_is_kept(self) -> None:
        self.refuse("POST", ATTACHMENTS, 503, "No USB agent is alive on the host of the server.")
        self.plug(device("a"), device("b"))
        text = self.send(ATTACH, choice="id-of-b").content.decode()
        assert "checked" in self.radio(text, "id-of-b")

    def test_a_hostile_refusal(self) -> None:
        self.refuse("POST", ATTACHMENTS, 409, HOSTILE)
        self.plug(device("a"))
        self.assert_shown_as_it_is(self.send(ATTACH, choice=HOSTILE).content.decode())


class DetachTest(DialogTest):
    def test_one_call(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        self.open(DETACH)
        assert self.calls() == [f"GET /v1/{ATTACHMENTS}"]

    def test_what_the_server_has(self) -> None:
        waiting = {"state": "waiting", "state_reason": "unplugged", "bus": None, "device": None}
        self.plug_attached(
            attachment("Cruzer", SERVER),
            attachment("Reader", SERVER, **waiting),
            attachment("Key", SERVER, state="detaching"),
        )
        text = self.open(DETACH)
        for told in ("Cruzer", "0781:5567", "Bus 001 Device 003", "4C530001", "Attached"):
            assert told in text, told
        assert "Waiting: <span ng-non-bindable>unplugged</span>" in text
        assert "disabled" not in self.radio(text, "id-of-Reader")
        assert "disabled" in self.radio(text, "id-of-Key")

    def test_the_device_of_the_row_is_chosen(self) -> None:
        self.plug_attached(attachment("a", SERVER), attachment("b", SERVER))
        text = self.open(f"{DETACH}?device=id-of-b")
        assert "checked" in self.radio(text, "id-of-b")
        assert "checked" not in self.radio(text, "id-of-a")

    def test_it_has_none(self) -> None:
        self.plug_attached()
        text = self.open(DETACH)
        assert "This instance has no USB device" in text
        assert 'type="submit"' not in text

    def test_a_hostile_device(self) -> None:
        values = {"id": "h", "serial": HOSTILE, "state_reason": HOSTILE}
        self.plug_attached(attachment(HOSTILE, SERVER, **values))
        self.assert_shown_as_it_is(self.open(DETACH))

    def test_detach(self) -> None:
        self.service.delete(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", status_code=202)
        response = self.send(f"{DETACH}?place=tab", choice="id-of-stick")
        assert self.back(response) == TAB
        assert self.messages(response) == ["Detaching the USB device."]
        assert self.calls() == [f"DELETE /v1/{ATTACHMENTS}/id-of-stick"]

    def test_the_service_refuses(self) -> None:
        why = f"Server {SERVER} is locked. Unlock it first."
        self.refuse("DELETE", f"{ATTACHMENTS}/id-of-stick", 409, why)
        self.plug_attached(attachment("stick", SERVER))
        text = self.send(DETACH, choice="id-of-stick").content.decode()
        assert self.errors(text) == [f"<p><span ng-non-bindable>{why}</span></p>"]
        assert self.calls() == [f"DELETE /v1/{ATTACHMENTS}/id-of-stick", f"GET /v1/{ATTACHMENTS}"]

    def test_the_row_of_the_tab(self) -> None:
        row = f"{DETACH}?action=row_update&table=server_usb_devices&obj_id=id-of-stick"
        for state, again in (
            ("detaching", True),
            ("attaching", True),
            ("attached", False),
            ("waiting", False),
        ):
            self.plug(device("stick", state=state, server_id=SERVER))
            text = self.open(row)
            (classes,) = re.findall(r'<tr[^>]* class="([^"]*)"', text)
            assert ({"warning", "ajax-update"} <= set(classes.split())) is again
            assert state.capitalize() in text
            assert self.calls() == ["GET /v1/devices/id-of-stick"]

    def test_the_row_of_the_tab_goes_away(self) -> None:
        row = f"{DETACH}?action=row_update&table=server_usb_devices&obj_id=id-of-stick"
        self.plug(device("stick"))
        assert self.client.get(row, headers=AJAX).status_code == 404
        self.refuse("GET", "devices/id-of-stick", 404, "USB device id-of-stick could not be found.")
        assert self.client.get(row, headers=AJAX).status_code == 404
        self.refuse("GET", "devices/id-of-stick", 503, "busy")
        assert self.client.get(row, headers=AJAX).status_code == 503


class TroubleTest(DialogTest):
    """Of whatever kind, it is told in the dialog."""

    def both(self) -> list[tuple[str, str]]:
        return [(ATTACH, "devices"), (DETACH, ATTACHMENTS)]

    def test_the_service_is_down(self) -> None:
        self.service.register_uri(
            requests_mock.ANY, requests_mock.ANY, exc=requests.exceptions.ConnectionError("refused")
        )
        told = "<span ng-non-bindable>The USB service cannot be reached. Try again later"
        for address, _path in self.both():
            (error,) = self.errors(self.open(address))
            assert told in error
            (error,) = self.errors(self.send(address, choice="a").content.decode())
            assert told in error

    def test_it_refuses_to_list(self) -> None:
        for address, path in self.both():
            self.refuse("GET", path, 403, "Policy does not allow that.")
            text = self.open(address)
            assert self.errors(text) == ["<span ng-non-bindable>Policy does not allow that.</span>"]
            assert 'type="submit"' not in text

    def test_it_answers_nonsense(self) -> None:
        for address, path in self.both():
            self.service.get(f"{SERVICE}/v1/{path}", text="<html>")
            (error,) = self.errors(self.open(address))
            assert "does not answer as the usb-passthrough service does" in error

    def test_the_token_is_no_longer_good(self) -> None:
        self.refuse("POST", ATTACHMENTS, 401, "no")
        self.refuse("DELETE", f"{ATTACHMENTS}/a", 401, "no")
        for address, path in self.both():
            self.refuse("GET", path, 401, "no")
            for response in (self.client.get(address, headers=AJAX), self.send(address, choice="a")):
                assert response.status_code == 401
                assert not response.wsgi_request.user.is_authenticated
                assert response["logout"]
                assert response["X-Horizon-Location"] == f"{settings.LOGIN_URL}?next={INSTANCES}"
                assert "no longer valid" in response.cookies["logout_reason"].value

    def test_without_a_browsers_script(self) -> None:
        self.refuse("GET", "devices", 401, "no")
        self.assertRedirectsNoFollow(self.client.get(ATTACH), f"{settings.LOGIN_URL}?next={INSTANCES}")
        self.plug(device("stick"))
        response = self.client.get(ATTACH)
        self.assertContains(response, "id-of-stick")
        self.assertTemplateUsed(response, "usb/attach.html")

    def test_our_own_faults_are_not_told_as_if_they_were_not(self) -> None:
        with (
            mock.patch.object(api, "device_list", side_effect=ValueError),
            pytest.raises(ValueError),
        ):
            self.open(ATTACH)
        with mock.patch.object(api, "attach", side_effect=ValueError), pytest.raises(ValueError):
            self.send(ATTACH, choice="a")


class WithoutServiceTest(DialogTest):
    with_service = False

    def test_there_are_no_dialogs(self) -> None:
        for address in (ATTACH, DETACH):
            assert self.client.get(address, headers=AJAX).status_code == 403
        assert self.calls() == []


class OperatorTest(DialogTest):
    roles_of_user = ("admin", "member", "reader")

    def test_back_to_the_operators_pages(self) -> None:
        body = {"attachment": attachment("stick", SERVER)}
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json=body)
        self.service.delete(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", status_code=202)
        tab = reverse("horizon:admin:instances:detail", args=(SERVER,)) + "?tab=instance_details__usb"
        pages = {
            "": reverse("horizon:admin:instances:index"),
            "?place=tab": tab,
            "?place=panel": reverse("horizon:admin:usb:index"),
        }
        for action in ("attach", "detach"):
            address = reverse(f"horizon:admin:usb:{action}", args=(SERVER,))
            for query, page in pages.items():
                assert self.back(self.send(f"{address}{query}", choice="id-of-stick")) == page


class ChooseServerTest(DialogTest):
    """From the panel: a server for a device."""

    ADDRESS = reverse("horizon:project:usb:attach_device", args=("id-of-stick",))

    def setUp(self) -> None:
        super().setUp()
        self.here, self.elsewhere, *_others = [
            horizon_api.nova.Server(server, self.request) for server in self.servers.list()
        ]
        self.elsewhere._apiresource.hostId = "another-host"
        self.plug(device("stick", host_id=self.here._apiresource.hostId))
        servers = mock.patch.object(
            horizon_api.nova, "server_list", return_value=([self.here, self.elsewhere], False)
        )
        self.server_list = servers.start()
        self.addCleanup(servers.stop)

    def test_servers_on_the_host_of_the_device(self) -> None:
        text = self.open(self.ADDRESS)
        assert self.here.name in text
        assert "checked" in self.radio(text, self.here.id)
        assert self.elsewhere.name not in text
        assert self.calls() == ["GET /v1/devices/id-of-stick"]
        self.server_list.assert_called_once()

    def test_one_that_cannot_be_given_any_now(self) -> None:
        self.here._apiresource.status = "ERROR"
        assert "disabled" in self.radio(self.open(self.ADDRESS), self.here.id)

    def test_there_is_none(self) -> None:
        self.server_list.return_value = ([self.elsewhere], False)
        assert "None of the instances of this project is on the host" in self.open(self.ADDRESS)

    def test_attach(self) -> None:
        path = f"servers/{self.here.id}/attachments"
        body = {"attachment": attachment("stick", self.here.id)}
        self.service.post(f"{SERVICE}/v1/{path}", status_code=202, json=body)
        assert self.back(self.send(self.ADDRESS, choice=self.here.id)) == PANEL
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}
        assert self.calls() == [f"POST /v1/{path}"]
        self.server_list.assert_not_called()

    def test_the_service_refuses(self) -> None:
        self.refuse("POST", f"servers/{self.here.id}/attachments", 409, "It is taken.")
        text = self.send(self.ADDRESS, choice=self.here.id).content.decode()
        assert self.errors(text) == ["<p><span ng-non-bindable>It is taken.</span></p>"]

    def test_nova_refuses(self) -> None:
        self.server_list.side_effect = self.exceptions.nova
        assert len(self.errors(self.open(self.ADDRESS))) == 1
