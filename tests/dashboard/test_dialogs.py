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
DETACH_STICK = reverse("horizon:project:usb:detach_device", args=(SERVER, "id-of-stick"))
INSTANCES = reverse("horizon:project:instances:index")
PANEL = reverse("horizon:project:usb:index")
TAB = reverse("horizon:project:instances:detail", args=(SERVER,)) + "?tab=instance_details__usb"
ATTACHMENTS = f"servers/{SERVER}/attachments"


class DialogTest(PlayedTest):
    """What is the same for all. The server is called demo."""

    def setUp(self) -> None:
        super().setUp()
        self.server = mock.Mock(id=SERVER, status="ACTIVE")
        self.server.name = "demo"
        server_get = mock.patch.object(horizon_api.nova, "server_get", return_value=self.server)
        self.server_get = server_get.start()
        self.addCleanup(server_get.stop)
        self.plug_attached()

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

    def plug_attached(self, *attachments: dict[str, Any], ports: tuple[int, int] | None = (4, 1)) -> None:
        """What the server has, and how many USB ports, and how many of them are taken."""
        usb_ports = None if ports is None else {"total": ports[0], "used": ports[1]}
        body = {"attachments": list(attachments), "usb_ports": usb_ports}
        self.service.get(f"{SERVICE}/v1/{ATTACHMENTS}", json=body)
        for one in attachments:
            self.service.get(f"{SERVICE}/v1/{ATTACHMENTS}/{one['device_id']}", json={"attachment": one})
            self.service.get(f"{SERVICE}/v1/devices/{one['device_id']}", json={"device": one["device"]})


class AttachTest(DialogTest):
    def test_two_calls(self) -> None:
        self.plug(device("stick"))
        self.open(ATTACH)
        queries = [(call.path, call.qs) for call in self.service.request_history]
        assert queries == [
            ("/v1/devices", {"server_id": [SERVER], "transport": ["any"]}),
            (f"/v1/{ATTACHMENTS}", {"limit": ["1"]}),
        ]
        self.server_get.assert_called_once()

    def test_it_says_what_will_happen(self) -> None:
        self.plug(device("stick"))
        for status, told in (
            ("ACTIVE", "is Active. The device appears in it within seconds."),
            ("SHUTOFF", "is Shutoff. The device is attached when it starts."),
            ("SUSPENDED", "is Suspended. The device is attached when it is resumed."),
            ("ERROR", "is Error. No USB device can be attached to it now."),
        ):
            self.server.status = status
            text = self.open(ATTACH)
            assert f"<span ng-non-bindable>demo</span> {told}" in text
            assert "Attach a USB Device to <span ng-non-bindable>demo</span>" in text
            assert "3 of 4 USB ports of the instance are free." in text

    def test_a_server_without_a_free_port(self) -> None:
        self.plug(device("stick"))
        self.plug_attached(ports=(4, 4))
        text = self.open(ATTACH)
        assert "All 4 USB ports of the instance are in use." in text
        assert 'type="submit"' not in text

    def test_where_nova_and_the_host_do_not_tell(self) -> None:
        self.server_get.side_effect = self.exceptions.nova
        self.plug(device("stick"))
        self.plug_attached(ports=None)
        text = self.open(ATTACH)
        assert f"Attach a USB Device to <span ng-non-bindable>{SERVER}</span>" in text
        assert "USB ports" not in text
        assert 'type="submit"' in text

    def test_a_server_of_a_hostile_name(self) -> None:
        self.server.name = HOSTILE
        self.plug(device("stick"))
        self.assert_shown_as_it_is(self.open(ATTACH))

    def test_who_has_what_is_taken(self) -> None:
        taken = {"available": False, "state": "attached"}
        self.plug(
            device("a", server_id=SERVER, **taken),
            device("b", server_id="other", **taken),
            device("c", **taken | {"state": "unavailable", "reason_code": "in_use"}),
        )
        other = mock.Mock(id="other")
        other.name = "demo2"
        with mock.patch.object(horizon_api.nova, "server_list", return_value=([other], False)) as listed:
            text = self.open(ATTACH)
        listed.assert_called_once()
        assert "Attached to this instance" in text
        assert "Attached to <span ng-non-bindable>demo2</span>" in text
        assert ">In use by another project<" in text

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
            (label,) = re.findall(rf'<label for="choice_id-of-{name}">(.*?)</label>', text, re.DOTALL)
            assert f">{name}<" in label
            # Two of one model sound different.
            assert "4C530001" in label
            assert f'aria-describedby="state_id-of-{name}"' in self.radio(text, f"id-of-{name}")
            assert f'id="state_id-of-{name}"' in text

    def test_a_vendor_that_the_name_repeats_is_dropped(self) -> None:
        self.plug(device("QEMU QEMU USB HARDDRIVE", id="q", vendor="QEMU", product="QEMU USB HARDDRIVE"))
        assert ">QEMU USB HARDDRIVE<" in self.open(ATTACH)

    def test_the_free_ones_come_first_and_the_others_cannot_be_chosen(self) -> None:
        taken = {"available": False, "state": "unavailable", "state_reason": "in use"}
        self.plug(device("a", **taken), device("c"), device("b"))
        text = self.open(ATTACH)
        assert re.findall(r'value="id-of-(\w)"', text) == ["b", "c", "a"]
        assert "disabled" in self.radio(text, "id-of-a")
        assert "disabled" not in self.radio(text, "id-of-b")
        assert "Unavailable: <span ng-non-bindable>in use</span>" in text

    def test_nothing_is_chosen_that_was_not_named(self) -> None:
        self.plug(device("a"), device("b"))
        assert "checked" not in self.open(ATTACH).partition("<script>")[0]
        self.plug(device("a", available=False, state="unavailable"), device("b"))
        text = self.open(ATTACH)
        assert "checked" not in self.radio(text, "id-of-a") + self.radio(text, "id-of-b")

    def test_many_can_be_filtered(self) -> None:
        devices = [device(f"n{number}") for number in range(9)]
        self.plug(*devices[:8])
        assert "table_search client" not in self.open(ATTACH)
        self.plug(*devices)
        assert "table_search client" in self.open(ATTACH)

    def test_there_is_none(self) -> None:
        self.plug()
        text = self.open(ATTACH)
        assert "No USB devices are available for this instance." in text
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
        assert self.back(response) == TAB
        assert self.messages(response) == [
            "Attaching <span ng-non-bindable>stick (4C530001)</span> to <span ng-non-bindable>demo</span>."
        ]
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}
        assert self.calls() == [f"POST /v1/{ATTACHMENTS}"]

    def test_attach_a_hostile_device(self) -> None:
        body = {"attachment": attachment(HOSTILE, SERVER, id="h")}
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json=body)
        self.send(f"{ATTACH}?place=panel", choice="h")
        self.plug(device(HOSTILE, id="h"))
        with mock.patch.object(horizon_api.nova, "server_list", return_value=([], False)):
            self.assert_shown_as_it_is(self.client.get(PANEL).content.decode())

    def test_back_to_where_the_user_was(self) -> None:
        """After an attach to where the state is seen; without one to where the dialog was opened."""
        body = {"attachment": attachment("stick", SERVER)}
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json=body)
        self.plug(device("stick"))
        for place, page, cancelled in (
            ("tab", TAB, TAB),
            ("panel", PANEL, PANEL),
            ("http://evil.example.org", TAB, INSTANCES),
        ):
            address = f"{ATTACH}?place={place}"
            text = self.open(address)
            assert f'action="{html.escape(address)}"' in text
            assert f'<a href="{html.escape(cancelled)}" class="btn btn-default cancel">' in text
            assert self.back(self.send(address, choice="id-of-stick")) == page

    def test_nothing_is_chosen(self) -> None:
        self.plug(device("a"), device("b"))
        text = self.send(ATTACH).content.decode()
        assert self.errors(text) == ["Choose one first."]
        assert self.calls() == ["GET /v1/devices", f"GET /v1/{ATTACHMENTS}"]

    def test_the_service_refuses(self) -> None:
        why = "USB device id-of-a is in use. Choose another device, or wait until it is free."
        self.refuse("POST", ATTACHMENTS, 409, why, "device_taken")
        self.plug(device("a", available=False, state="unavailable"), device("b"), device("c"))
        response = self.send(ATTACH, choice="id-of-a")
        text = response.content.decode()
        told = "a (4C530001) is in use. Choose another device, or wait until it is free."
        assert self.errors(text) == [f"<p><span ng-non-bindable>{told}</span></p>"]
        assert "disabled" in self.radio(text, "id-of-a")
        assert "X-Horizon-Location" not in response

    def test_what_the_page_has_no_words_for_the_service_says(self) -> None:
        """But for the ids, which Horizon shows nowhere."""
        why = f"USB device id-of-a is too late for server {SERVER}. Server {SERVER} is tired."
        self.refuse("POST", ATTACHMENTS, 409, why, "some_new_code")
        self.plug(device("a"))
        text = self.send(ATTACH, choice="id-of-a").content.decode()
        told = "a (4C530001) is too late for demo. demo is tired."
        assert self.errors(text) == [f"<p><span ng-non-bindable>{told}</span></p>"]

    def test_a_refusal_names_the_instance(self) -> None:
        self.plug(device("a"))
        for code, told in (
            ("server_locked", "Instance demo is locked. Unlock it first."),
            ("no_free_usb_port", "All USB ports of demo are in use. Detach a USB device from it first."),
            ("device_on_other_host", "a (4C530001) is on a different host than demo."),
            (
                "no_network_transport",
                "The host of a (4C530001) or of demo does not support USB over the network.",
            ),
        ):
            self.refuse("POST", ATTACHMENTS, 409, "why", code)
            text = self.send(ATTACH, choice="id-of-a").content.decode()
            assert self.errors(text) == [f"<p><span ng-non-bindable>{told}</span></p>"]

    def test_the_choice_is_kept(self) -> None:
        self.refuse("POST", ATTACHMENTS, 503, "No USB agent is alive on the host of the server.")
        self.plug(device("a"), device("b"))
        text = self.send(ATTACH, choice="id-of-b").content.decode()
        assert "checked" in self.radio(text, "id-of-b")

    def test_a_hostile_refusal(self) -> None:
        self.refuse("POST", ATTACHMENTS, 409, HOSTILE)
        self.service.get(re.compile(f"{SERVICE}/v1/devices/AT.*"), status_code=404)
        self.plug(device("a"))
        self.assert_shown_as_it_is(self.send(ATTACH, choice=HOSTILE).content.decode())


class AttachOverNetworkTest(DialogTest):
    """Devices of other hosts are offered as well."""

    FAR = "On another host, over the network"

    def setUp(self) -> None:
        super().setUp()
        self.service.post(
            f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json={"attachment": attachment("stick", SERVER)}
        )

    def far(self, name: str, **values: Any) -> dict[str, Any]:
        """A device on another host than the server."""
        return device(name, **{"other_host": True, "over_network": True, "host_id": "far", **values})

    def near(self, name: str, **values: Any) -> dict[str, Any]:
        """A device on the host of the server, which others may have over the network."""
        return device(name, **{"other_host": False, "over_network": True, **values})

    def test_free_ones_of_its_own_host_come_first(self) -> None:
        taken = {"available": False, "state": "unavailable", "reason_code": "in_use"}
        self.plug(self.far("a"), self.near("b"), self.near("c", **taken), self.far("d"))
        text = self.open(ATTACH)
        assert re.findall(r'type="radio"[^>]*value="id-of-(\w)"', text) == ["b", "a", "d", "c"]

    def test_they_are_marked(self) -> None:
        self.plug(self.far("a"), self.near("b"))
        text = self.open(ATTACH)
        assert text.count(self.FAR) == 1
        assert f'<div id="network_id-of-a">{self.FAR}</div>' in text
        assert 'aria-describedby="state_id-of-a network_id-of-a"' in self.radio(text, "id-of-a")
        assert 'aria-describedby="state_id-of-b"' in self.radio(text, "id-of-b")
        assert "It is slower: each transfer waits for the network." in " ".join(text.split())

    def test_what_is_taken_there_is_not_listed(self) -> None:
        taken = {"available": False, "state": "attached", "server_id": "other"}
        self.plug(self.far("a", **taken), self.near("b"))
        with mock.patch.object(horizon_api.nova, "server_list") as listed:
            text = self.open(ATTACH)
        listed.assert_not_called()
        assert "id-of-a" not in text
        assert "slower" not in text

    def test_what_the_server_has_from_there_is_listed(self) -> None:
        used = {"state": "attached", "server_id": SERVER, "available": False, "used_over_network": True}
        self.plug(self.far("a", **used), self.near("b"))
        text = self.open(ATTACH)
        assert "disabled" in self.radio(text, "id-of-a")
        assert "Attached to this instance" in text
        assert text.lower().count("over the network") == text.lower().count("used over the network") + 1

    def test_one_that_waits_for_the_server_to_come_back_is_not_used_over_the_network(self) -> None:
        waits = {"state": "waiting", "reason_code": "server_on_other_host", "server_id": SERVER}
        self.plug(self.far("a", over_network=False, available=False, **waits))
        text = self.open(ATTACH)
        assert "the instance is on another host" in text
        assert "network" not in text.partition("<table")[2].partition("</table>")[0]
        assert "slower" not in text

    def test_without_any_the_dialog_is_as_ever(self) -> None:
        self.plug(self.near("a"), device("b"))
        text = self.open(ATTACH)
        assert "network" not in text.partition("<table")[2].partition("</table>")[0]
        assert "slower" not in text

    def test_attach_one(self) -> None:
        self.plug(self.far("stick"), self.far("a"), self.near("b"))
        shown = re.findall(r'<input type="hidden" name="by_network" value="([^"]*)">', self.open(ATTACH))
        assert shown == ["id-of-a", "id-of-stick"]
        self.calls()
        assert self.back(
            self.client.post(ATTACH, {"choice": "id-of-stick", "by_network": shown}, headers=AJAX)
        )
        wanted = {"device_id": "id-of-stick", "transport": "any"}
        assert self.service.last_request.json() == {"attachment": wanted}
        assert self.calls() == [f"POST /v1/{ATTACHMENTS}"]

    def test_attach_one_of_its_own_host(self) -> None:
        sent = {"choice": "id-of-stick", "by_network": ["id-of-a"]}
        assert self.back(self.client.post(ATTACH, sent, headers=AJAX)) == TAB
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}


class AttachOverNetworkAsOperatorTest(AttachOverNetworkTest):
    roles_of_user = ("admin", "member", "reader")

    def test_the_host_is_named(self) -> None:
        self.plug(self.far("a", host="AT&T-{$1$}"), self.near("b", host="compute1"))
        text = self.open(reverse("horizon:admin:usb:attach", args=(SERVER,)))
        named = "On <span ng-non-bindable>AT&amp;T-{$1$}</span>, over the network"
        assert f'<div id="network_id-of-a">{named}</div>' in text
        assert "compute1" not in text


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

    def test_nothing_is_chosen_that_was_not_named(self) -> None:
        self.plug_attached(attachment("a", SERVER))
        assert "checked" not in self.radio(self.open(DETACH), "id-of-a")

    def test_it_has_none(self) -> None:
        self.plug_attached()
        text = self.open(DETACH)
        assert "No USB devices are attached or pending." in text
        assert 'type="submit"' not in text

    def test_a_hostile_device(self) -> None:
        values = {"id": "h", "serial": HOSTILE, "state_reason": HOSTILE}
        self.plug_attached(attachment(HOSTILE, SERVER, **values))
        self.assert_shown_as_it_is(self.open(DETACH))

    def test_detach(self) -> None:
        self.plug(device("stick"))
        self.service.delete(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", status_code=202)
        response = self.send(f"{DETACH}?place=tab", choice="id-of-stick")
        assert self.back(response) == TAB
        assert self.messages(response) == [
            "Detaching <span ng-non-bindable>stick (4C530001)</span> from <span ng-non-bindable>demo</span>."
        ]
        assert self.calls()[0] == f"DELETE /v1/{ATTACHMENTS}/id-of-stick"

    def test_the_service_refuses(self) -> None:
        self.refuse(
            "DELETE", f"{ATTACHMENTS}/id-of-stick", 409, f"Server {SERVER} is locked.", "server_locked"
        )
        self.plug_attached(attachment("stick", SERVER))
        text = self.send(DETACH, choice="id-of-stick").content.decode()
        told = "Instance demo is locked. Unlock it first."
        assert self.errors(text) == [f"<p><span ng-non-bindable>{told}</span></p>"]

    def test_a_hint_to_unmount(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        assert "Unmount a storage device" in self.open(DETACH)
        self.plug_attached(attachment("reader", SERVER, device_class="0b"))
        assert "Unmount" not in self.open(DETACH)


class DetachDeviceTest(DialogTest):
    """Of the row of a device: there is nothing to choose."""

    def test_it_is_about_that_device(self) -> None:
        """Though the server has another one by now, and no longer this one (H1)."""
        self.plug_attached(attachment("stick", SERVER), attachment("other", SERVER))
        text = self.open(DETACH_STICK)
        question = (
            "Detach <span ng-non-bindable>stick (4C530001)</span> from <span ng-non-bindable>demo</span>?"
        )
        assert question in text
        assert "other" not in text
        assert 'name="choice"' not in text
        assert "Unmount a storage device" in text
        self.refuse("GET", f"{ATTACHMENTS}/id-of-stick", 404, "no", "attachment_not_found")
        text = self.open(DETACH_STICK)
        told = "demo does not have stick (4C530001) any more."
        assert self.errors(text) == [f"<span ng-non-bindable>{told}</span>"]
        assert 'type="submit"' not in text

    def test_detach(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        self.service.delete(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", status_code=202)
        response = self.send(f"{DETACH_STICK}?place=panel")
        assert self.back(response) == PANEL
        assert self.messages(response) == [
            "Detaching <span ng-non-bindable>stick (4C530001)</span> from <span ng-non-bindable>demo</span>."
        ]
        assert f"DELETE /v1/{ATTACHMENTS}/id-of-stick" in self.calls()

    def test_what_is_sent_beside_changes_nothing(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        self.service.delete(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", status_code=202)
        self.send(DETACH_STICK, choice="id-of-other")
        assert f"DELETE /v1/{ATTACHMENTS}/id-of-stick" in self.calls()

    def test_the_service_refuses(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        self.refuse("DELETE", f"{ATTACHMENTS}/id-of-stick", 404, "no", "attachment_not_found")
        text = self.send(DETACH_STICK).content.decode()
        told = "demo does not have stick (4C530001) any more."
        assert self.errors(text) == [f"<p><span ng-non-bindable>{told}</span></p>"]

    def test_a_hostile_device(self) -> None:
        self.plug_attached(
            attachment(HOSTILE, SERVER, id="id-of-stick", serial=HOSTILE, state_reason=HOSTILE)
        )
        text = self.open(DETACH_STICK)
        assert html.escape(HOSTILE) in text
        for bad in ("AT&T", "<b>", "&lt;b&gt;&quot;"):
            assert bad not in re.sub("<span ng-non-bindable>[^<]*</span>", "", text)

    def test_as_a_page(self) -> None:
        self.plug_attached(attachment("stick", SERVER))
        self.assertTemplateUsed(self.client.get(DETACH_STICK), "usb/detach_device.html")


class TroubleTest(DialogTest):
    """Of whatever kind, it is told in the dialog."""

    def both(self) -> list[tuple[str, str]]:
        return [(ATTACH, "devices"), (DETACH, ATTACHMENTS)]

    def setUp(self) -> None:
        super().setUp()
        self.service.get(f"{SERVICE}/v1/devices/a", status_code=404)

    def test_the_service_is_down(self) -> None:
        self.service.register_uri(
            requests_mock.ANY, requests_mock.ANY, exc=requests.exceptions.ConnectionError("refused")
        )
        told = "<span ng-non-bindable>The USB service is unavailable. Try again later"
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
            assert "is not from a usb-passthrough service" in error

    def test_the_token_is_no_longer_good(self) -> None:
        self.refuse("POST", ATTACHMENTS, 401, "no")
        self.refuse("DELETE", f"{ATTACHMENTS}/a", 401, "no")
        for address, path in self.both():
            self.refuse("GET", path, 401, "no")
            for response in (self.client.get(address, headers=AJAX), self.send(address, choice="a")):
                assert not response.wsgi_request.user.is_authenticated
                self.assert_leads_to_login(response)
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
            "": tab,
            "?place=tab": tab,
            "?place=panel": reverse("horizon:admin:usb:index"),
        }
        self.plug(device("stick"))
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
        assert "checked" not in self.radio(text, self.here.id)
        assert "Attach <span ng-non-bindable>stick (4C530001)</span>" in text
        assert self.elsewhere.name not in text
        assert set(self.calls()) == {"GET /v1/devices/id-of-stick"}
        self.server_list.assert_called_once()

    def test_one_that_cannot_be_given_any_now(self) -> None:
        self.here._apiresource.status = "ERROR"
        assert "disabled" in self.radio(self.open(self.ADDRESS), self.here.id)

    def test_there_is_none(self) -> None:
        self.server_list.return_value = ([self.elsewhere], False)
        assert "No instance of this project is on the host" in self.open(self.ADDRESS)

    def test_attach(self) -> None:
        path = f"servers/{self.here.id}/attachments"
        body = {"attachment": attachment("stick", self.here.id)}
        self.service.post(f"{SERVICE}/v1/{path}", status_code=202, json=body)
        assert self.back(self.send(self.ADDRESS, choice=self.here.id)) == PANEL
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}
        assert self.calls() == [f"POST /v1/{path}"]
        self.server_list.assert_not_called()

    def test_servers_on_other_hosts_if_the_network_is_allowed(self) -> None:
        self.plug(device("stick", host_id=self.here._apiresource.hostId, over_network=True))
        self.server_list.return_value = ([self.elsewhere, self.here], False)
        text = self.open(self.ADDRESS)
        assert re.findall(r'type="radio"[^>]*value="([^"]*)"', text) == [self.here.id, self.elsewhere.id]
        assert text.count("On another host, over the network") == 1
        assert f"network_{self.elsewhere.id}" in self.radio(text, self.elsewhere.id)
        assert "It is slower" in text
        path = f"servers/{self.elsewhere.id}/attachments"
        body = {"attachment": attachment("stick", self.elsewhere.id)}
        self.service.post(f"{SERVICE}/v1/{path}", status_code=202, json=body)
        self.send(self.ADDRESS, choice=self.elsewhere.id, by_network=self.elsewhere.id)
        wanted = {"device_id": "id-of-stick", "transport": "any"}
        assert self.service.last_request.json() == {"attachment": wanted}

    def test_a_server_on_another_host_queues_where_the_network_is_allowed(self) -> None:
        address = reverse("horizon:project:usb:queue", args=("id-of-stick",))
        for allowed, servers in ((False, [self.here.id]), (True, [self.here.id, self.elsewhere.id])):
            self.plug(device("stick", host_id=self.here._apiresource.hostId, over_network=allowed))
            found = re.findall(r'type="radio"[^>]*value="([^"]*)"', self.open(address))
            assert found == servers

    def test_the_service_refuses(self) -> None:
        self.refuse("POST", f"servers/{self.here.id}/attachments", 409, "It is taken.")
        text = self.send(self.ADDRESS, choice=self.here.id).content.decode()
        assert self.errors(text) == ["<p><span ng-non-bindable>It is taken.</span></p>"]

    def test_nova_refuses(self) -> None:
        self.server_list.side_effect = self.exceptions.nova
        assert len(self.errors(self.open(self.ADDRESS))) == 1


class ChooseServerOfAnyProjectTest(DialogTest):
    """From the operator's panel: a server of whichever project, for a device."""

    ADDRESS = reverse("horizon:admin:usb:attach_device", args=("id-of-stick",))
    roles_of_user = ("admin", "member", "reader")

    def setUp(self) -> None:
        super().setUp()
        self.here = horizon_api.nova.Server(self.servers.first(), self.request)
        self.plug(device("stick", host="compute1"))
        servers = mock.patch.object(horizon_api.nova, "server_list", return_value=([self.here], False))
        self.server_list = servers.start()
        self.addCleanup(servers.stop)
        projects = mock.patch.object(
            horizon_api.keystone, "tenant_list", return_value=(self.tenants.list(), False)
        )
        self.tenant_list = projects.start()
        self.addCleanup(projects.stop)

    def test_servers_on_the_host_of_the_device_and_their_projects(self) -> None:
        text = self.open(self.ADDRESS)
        assert self.here.name in text
        names = {project.id: project.name for project in self.tenants.list()}
        assert f"<td><span ng-non-bindable>{names[self.here.tenant_id]}</span></td>" in text
        [call] = self.server_list.call_args_list
        assert call.args[1] == {"all_tenants": True, "host": "compute1"}

    def test_the_names_of_projects_cannot_be_had(self) -> None:
        self.tenant_list.side_effect = self.exceptions.keystone
        assert f"<td><span ng-non-bindable>{self.here.tenant_id}</span></td>" in self.open(self.ADDRESS)

    def test_there_is_none(self) -> None:
        self.server_list.return_value = ([], False)
        assert "No instance is on the host of the USB device." in self.open(self.ADDRESS)

    def test_attach(self) -> None:
        path = f"servers/{self.here.id}/attachments"
        body = {"attachment": attachment("stick", self.here.id)}
        self.service.post(f"{SERVICE}/v1/{path}", status_code=202, json=body)
        answer = self.send(self.ADDRESS, choice=self.here.id)
        assert self.back(answer) == reverse("horizon:admin:usb:index")
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}
