# SPDX-License-Identifier: Apache-2.0
"""What a person does with USB devices in Horizon, in a real browser, on the real cloud."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lab.cloud import config, services
from lab.cloud.process import Processes, http_answers, wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import LOG, PIDS, VENV
from lab.ports import free_port
from tests.cloud import pages
from tests.cloud.axe import grave_faults
from tests.cloud.browser import Browser
from tests.cloud.conftest import Cloud
from tests.lab.gadget import gadget

STICK = "LABSTICK01"
_SECONDS = 120
_USB_API = "usb-shim-api"
# What Horizon asks.
_APIS = ("keystone", "nova-api", "glance", "neutron", _USB_API)
# Of uWSGI's log: "... [Wed Nov 25 00:51:40 2026] GET /v1/devices => generated 5 bytes ...".
_REQUEST = re.compile(r"\] ([A-Z]+) (/\S*) => generated ")


@contextlib.contextmanager
def agent_asleep(cloud: Cloud) -> Iterator[None]:
    """The agent of the compute host does nothing meanwhile."""
    agent = "$(cat /run/lab/usb-shim-agent.pid)"
    cloud.host.run(f"kill -STOP {agent}")
    try:
        yield
    finally:
        cloud.host.run(f"kill -CONT {agent}")


def give(cloud: Cloud, server: str, serial: str) -> None:
    """Attach a stick behind the browser's back."""
    cloud.succeed("demo", "usb-attach", "--wait", server, serial)


def requests_of(cloud: Cloud, *names: str) -> list[str]:
    """All requests that services have answered, as ``GET /path``."""
    logs = [Processes(PIDS, LOG).log(name).read_text(errors="replace") for name in names]
    return [f"{method} {path}" for log in logs for method, path in _REQUEST.findall(log)]


# The walk


def test_attach_see_it_come_and_detach(cloud: Cloud, booted: None, demo: Browser) -> None:
    """The whole way: states move without a reload, and the guest itself sees the stick."""
    # A demo may have had it until a moment ago, and its guest says so once a second.
    cloud.wait_guest("demo", STICK, present=False)
    with agent_asleep(cloud):
        pages.open_attach(demo, "demo")
        pages.choose(demo, STICK)
        demo.shot("attach-dialog")
        pages.submit(demo, "Attach")
        demo.see(pages.MESSAGES, "Attaching")
        pages.open_tab(demo, cloud.server_id("demo", "demo"))
        pages.see_row(demo, STICK, "Attaching")
        demo.shot("tab-attaching")
        demo.script("window.notLoadedAgain = true")
    pages.see_row(demo, STICK, "Attached")
    demo.shot("tab-attached")
    cloud.wait_guest("demo", STICK, present=True)

    pages.choose_action(demo, STICK, "Detach")
    pages.see_dialog(demo)
    demo.shot("detach-dialog")
    assert demo.script("return window.notLoadedAgain")
    with agent_asleep(cloud):
        pages.submit(demo, "Detach")
        pages.see_row(demo, STICK, "Detaching")
        demo.shot("tab-detaching")
        demo.script("window.notLoadedAgain = true")
    pages.row_gone(demo, STICK)
    assert demo.script("return window.notLoadedAgain")
    demo.shot("tab-empty")
    cloud.wait_guest("demo", STICK, present=False)


def test_with_the_keyboard_alone(cloud: Cloud, demo: Browser) -> None:
    pages.open_attach(demo, "demo2")
    press_until(demo, Keys.TAB, "return document.activeElement.name === 'choice'")
    # One stop for all that can be chosen; the arrows go from one to the next.
    chosen = set()
    while STICK not in pages.chosen(demo):
        demo.press(Keys.SPACE if not pages.chosen(demo) else Keys.ARROW_DOWN)
        assert pages.chosen(demo) not in chosen, "the arrows do not reach the stick"
        chosen.add(pages.chosen(demo))
    demo.press(Keys.ENTER)
    demo.see(pages.MESSAGES, "Attaching")
    stick = pages.device(cloud, STICK)
    cloud.usb("demo").attachments.wait_attached(cloud.server_id("demo", "demo2"), stick["id"])


def test_lease_queue_and_detach_with_the_keyboard_alone(cloud: Cloud, demo: Browser) -> None:
    give(cloud, "demo", STICK)
    demo.open(pages.DEVICES)
    pages.press_action(demo, STICK, "lease")
    pages.see_dialog(demo)
    demo.press("2h", Keys.ENTER)
    demo.see(pages.MESSAGES, "The lease of demo was changed.")

    pages.press_action(demo, STICK, "queue")
    pages.see_dialog(demo)
    demo.press(Keys.SPACE)
    assert "demo2" in pages.chosen(demo)
    demo.press(Keys.ENTER)
    demo.see(pages.MESSAGES, "demo2 is number 1 in the queue.")
    demo.open(f"{pages.DEVICES}{pages.device(cloud, STICK)['id']}/")
    pages.press_action(demo, "demo2", "leave")
    pages.see_dialog(demo)
    demo.shot("leave-queue")
    demo.press(Keys.ENTER)
    demo.see(pages.MESSAGES, "Removed from Queue: demo2")
    assert cloud.usb("demo").queue.list() == []

    demo.open(pages.DEVICES)
    pages.press_action(demo, STICK, "detach")
    pages.see_dialog(demo)
    demo.press(Keys.ENTER)
    pages.see_row(demo, STICK, "Available")


def press_until(browser: Browser, key: str, true: str) -> None:
    """Press a key until a script returns true."""
    for _ in range(20):
        if browser.script(true):
            return
        browser.press(key)
    raise AssertionError(f"no key leads to: {true}")


def test_from_the_panel(cloud: Cloud, demo: Browser) -> None:
    """The project's devices: attach, with the server to be chosen; filter; detach."""
    demo.open(pages.DEVICES)
    pages.see_row(demo, STICK, "Available")
    demo.shot("project-panel")
    pages.choose_action(demo, STICK, "Attach")
    pages.see_dialog(demo)
    pages.choose(demo, "demo2")
    demo.shot("attach-device-dialog")
    pages.submit(demo, "Attach")
    row = pages.see_row(demo, STICK, "Attached")
    assert "demo2" in row.text
    demo.click(f"{pages.CONTENT} th a[href*='sort_key=port']")
    demo.see(f"{pages.CONTENT} th[aria-sort=ascending]", "Port")
    pages.filter_devices(demo, "LABSTICK02")
    pages.row_gone(demo, STICK)
    pages.filter_devices(demo, "labstick01")
    pages.see_row(demo, STICK)
    pages.filter_devices(demo, "")
    pages.choose_action(demo, STICK, "Detach")
    pages.see_dialog(demo)
    pages.submit(demo, "Detach")
    pages.see_row(demo, STICK, "Available")


def test_the_tab_tells_what_a_device_waits_for(cloud: Cloud, demo: Browser) -> None:
    usb, server = cloud.usb("demo"), cloud.server_id("demo", "demo")
    give(cloud, "demo", STICK)
    give(cloud, "demo", "08e6:4433")
    cloud.host.unplug("reader")
    try:
        waiting = [device for device in usb.devices.list(server_id=server) if device["vendor_id"] == "08e6"]
        wait_until(
            lambda: usb.devices.get(waiting[0]["id"])["state"] == "waiting",
            "a reader that is pulled out counts as attached",
            _SECONDS,
            cloud.host.running,
            every=1,
        )
        pages.open_tab(demo, server)
        pages.see_row(demo, "08e6:4433", "Waiting: unplugged. Attached again when plugged in.")
        pages.see_row(demo, STICK, "Attached")
        demo.shot("tab-states")
        demo.open(f"{pages.INSTANCES}{server}/")
        demo.see("#usb_overview", "Waiting: unplugged")
        demo.see("#usb_overview", STICK)
        demo.shot("instance-overview")
    finally:
        cloud.host.plug("reader")


def test_an_action_is_about_the_device_of_its_row(cloud: Cloud, demo: Browser) -> None:
    """Though the page is old, and the instance has only another device by now (H1)."""
    give(cloud, "demo", STICK)
    give(cloud, "demo", "08e6:4433")
    demo.open(pages.DEVICES)
    pages.see_row(demo, STICK, "Attached")
    # The page does not look for itself before it is clicked.
    demo.script(HIDE)
    pages.give_back(cloud, STICK)
    pages.choose_action(demo, STICK, "Detach")
    pages.see_dialog(demo)
    demo.see(f"{pages.DIALOG} .alert", f"does not have QEMU USB HARDDRIVE ({STICK}) any more")
    demo.shot("detached-elsewhere")
    assert not demo.find(f"{pages.DIALOG} input[type=submit]")
    [reader] = [it for it in cloud.usb("demo").devices.list() if it["vendor_id"] == "08e6"]
    assert reader["state"] == "attached"


def test_what_the_filter_hides_is_not_sent(cloud: Cloud, demo: Browser) -> None:
    with contextlib.ExitStack() as plugged:
        plugged.enter_context(gadget(cloud.host, "One", "more", "MORE1"))
        wait_until(lambda: pages.listed(cloud, "MORE1"), "no gadget", _SECONDS, cloud.host.running)
        pages.open_attach(demo, "demo")
        demo.until(
            lambda: demo.script("return document.activeElement.name") == "choice",
            "the focus is not at what can be chosen",
        )
        pages.choose(demo, STICK)
        demo.see("#attach_usb_form_chosen", STICK)
        demo.see(f"{pages.DIALOG} .table_search input").send_keys("MORE1")
        demo.until(lambda: not demo.script(CHOSEN), "what is hidden is still chosen")
        assert demo.find("#attach_usb_form_chosen")[0].text == ""
        demo.shot("filtered-dialog")
        demo.press(Keys.ESCAPE)
        demo.gone(pages.DIALOG)
        # The focus is back at the menu that the dialog was opened from.
        demo.until(
            lambda: "dropdown-toggle" in demo.script("return document.activeElement.className"),
            "the focus is lost",
        )
    wait_until(lambda: pages.device(cloud, "MORE1")["bus"] is None, "it stays", _SECONDS, cloud.host.running)
    cloud.usb("admin").devices.delete(pages.device(cloud, "MORE1")["id"])


# The page counts as hidden, or as seen again.
HIDE = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})"
UNHIDE = "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
CHOSEN = "return document.querySelector('input[name=choice]:checked') !== null"


def test_a_page_that_is_watched_stays_true(cloud: Cloud, demo: Browser) -> None:
    """A stick is pulled and plugged, the service goes and comes back; nobody loads the page again (H4)."""
    give(cloud, "demo", STICK)
    demo.open(pages.DEVICES)
    pages.see_row(demo, STICK, "Attached")
    demo.script("window.notLoadedAgain = true")
    cloud.host.unplug("stick1")
    try:
        pages.see_row(demo, STICK, "Waiting: unplugged")
    finally:
        cloud.host.plug("stick1")
    pages.see_row(demo, STICK, "Attached")
    processes = Processes(PIDS, LOG)
    processes.stop(_USB_API)
    try:
        demo.see(f"{pages.CONTENT} .alert", "Not up to date since")
        pages.see_row(demo, STICK, "Attached")
        demo.shot("not-up-to-date")
    finally:
        services.start_wsgi(_USB_API, cloud.site, processes)
    demo.gone(f"{pages.CONTENT} .alert")
    assert demo.script("return window.notLoadedAgain")


def test_a_page_that_is_watched_asks_seldom_and_a_hidden_one_never(cloud: Cloud, demo: Browser) -> None:
    # Other browsers watch their pages meanwhile; this one is known by what it asks for.
    demo.open(f"{pages.DEVICES}?mine=1")
    pages.see_row(demo, STICK, "Available")

    def looks() -> int:
        return sum("mine=1&watch=1" in line for line in requests_of(cloud, "horizon"))

    def looks_within(seconds: float) -> int:
        before = looks()
        time.sleep(seconds)
        return looks() - before

    assert looks_within(32) in (1, 2, 3)
    demo.script(HIDE)
    time.sleep(1)
    assert looks_within(32) == 0
    before = looks()
    demo.script(UNHIDE)
    wait_until(lambda: looks() > before, "it does not look", _SECONDS, cloud.host.running)


def test_the_history(cloud: Cloud, demo: Browser) -> None:
    give(cloud, "demo", STICK)
    pages.open_tab(demo, cloud.server_id("demo", "demo"))
    pages.choose_action(demo, STICK, "History")
    pages.see_dialog(demo)
    pages.see_row(demo, "requested", "Attached", within=pages.DIALOG)
    demo.shot("history")


# Whose it is


def test_the_page_of_a_device(cloud: Cloud, demo: Browser) -> None:
    """What it needs to be attached to which instance; a lease is set from there."""
    give(cloud, "demo", STICK)
    demo.open(pages.DEVICES)
    demo.click(f"{pages.CONTENT} tr[data-object-id='{pages.device(cloud, STICK)['id']}'] td.usb-name a")
    demo.see(".detail-title", f"QEMU USB HARDDRIVE ({STICK})")
    demo.see("#usb_events", "requested")
    demo.see("#usb_explain_server").send_keys("demo2")
    demo.click(f"{pages.CONTENT} button[type=submit]", "Explain")
    pages.see_row(demo, "No other instance has the device", "another instance has it")
    assert grave_faults(demo, pages.CONTENT) == []
    demo.shot("device-page")
    demo.click(".detail-actions .dropdown-toggle")
    demo.click(".detail-actions a", "Change Lease")
    pages.see_dialog(demo)
    demo.see(f"{pages.DIALOG} input[name=choice]").send_keys("2h")
    demo.shot("lease-dialog")
    assert grave_faults(demo, pages.DIALOG) == []
    pages.submit(demo, "Save")
    demo.see(pages.MESSAGES, "The lease of demo was changed.")
    [held] = cloud.usb("demo").attachments.list(cloud.server_id("demo", "demo"))
    assert held["lease_until"] is not None


def test_another_project_is_refused_and_sees_why(cloud: Cloud, demo: Browser, other: Browser) -> None:
    pages.open_attach(other, "other")
    pages.choose(other, STICK)
    give(cloud, "demo", STICK)
    # Taken between opening the dialog and pressing Attach.
    pages.submit(other, "Attach")
    other.see(f"{pages.DIALOG} .alert", "is in use")
    other.shot("taken-meanwhile")
    assert "demo" not in other.see(f"{pages.DIALOG} .alert").text
    pages.open_attach(other, "other")
    row = pages.see_row(other, "In use by another project", within=pages.DIALOG)
    assert not row.find_element(By.CSS_SELECTOR, "input").is_enabled()
    assert STICK not in other.see(pages.DIALOG).text
    other.shot("taken-already")
    other.open(f"{pages.DEVICES}{cloud.server_id('demo', 'demo')}/attach")
    other.see(".alert", "could not be found")
    other.shot("server-of-another-project")


def test_a_disabled_device_is_not_offered(cloud: Cloud, demo: Browser, admin: Browser) -> None:
    admin.open(pages.ADMIN_DEVICES)
    pages.choose_action(admin, STICK, "Disable USB Device")
    pages.see_dialog(admin)
    admin.shot("disable-dialog")
    admin.click(f"{pages.DIALOG} .btn-danger")
    pages.see_row(admin, STICK, "disabled")
    admin.shot("admin-panel")
    try:
        pages.open_attach(demo, "demo")
        row = pages.see_row(demo, STICK, "disabled", within=pages.DIALOG)
        assert not row.find_element(By.CSS_SELECTOR, "input").is_enabled()
        demo.shot("disabled-device")
    finally:
        admin.open(pages.ADMIN_DEVICES)
        pages.choose_action(admin, STICK, "Enable USB Device")
        pages.see_row(admin, STICK, "Available")
    pages.open_attach(demo, "demo")
    pages.choose(demo, STICK)


def test_the_operator_describes_a_device_and_finds_it(cloud: Cloud, demo: Browser, admin: Browser) -> None:
    admin.open(pages.ADMIN_DEVICES)
    pages.choose_action(admin, STICK, "Edit Device")
    pages.see_dialog(admin)
    field = admin.see(f"{pages.DIALOG} input[name=description]")
    field.clear()
    field.send_keys("AT&T {$x$} <b>", Keys.ENTER)
    pages.see_row(admin, STICK, "AT&T {$x$} <b>")
    admin.open(pages.ADMIN_DEVICES)
    pages.filter_devices(admin, "at&t")
    pages.row_gone(admin, "LABSTICK02")
    pages.see_row(admin, STICK)
    pages.filter_devices(admin, "")
    pages.see_row(admin, "LABSTICK02")
    admin.click(f"{pages.CONTENT} td a", cloud.host.name)
    admin.see(f"{pages.CONTENT} .h4", "Port Tree")
    admin.see(f"{pages.CONTENT} li", "Hub")
    admin.shot("port-tree")
    cloud.usb("admin").devices.update(pages.device(cloud, STICK)["id"], description="")


def test_the_operator_shares_and_looks_at_events(cloud: Cloud, admin: Browser) -> None:
    admin.open(pages.ADMIN_DEVICES)
    pages.choose_action(admin, STICK, "Stop Sharing with All")
    pages.see_dialog(admin)
    admin.click(f"{pages.DIALOG} .btn-danger")
    admin.see(pages.MESSAGES, "Stopped Sharing USB Device")
    try:
        assert not pages.device(cloud, STICK)["shared"]
        assert STICK not in [it["serial"] for it in cloud.usb("demo").devices.list()]
        admin.click(f"{pages.CONTENT} .table_actions a", "Event List")
        pages.see_row(admin, "sharing changed", cloud.host.name)
        admin.shot("event-list")
        assert grave_faults(admin, pages.CONTENT) == []
    finally:
        cloud.usb("admin").devices.update(pages.device(cloud, STICK)["id"], shared=None)


def test_the_operator_attaches_a_device(cloud: Cloud, admin: Browser) -> None:
    """Of the instances of all projects, those on the host of the device are offered."""
    admin.open(pages.ADMIN_DEVICES)
    pages.choose_action(admin, STICK, "Attach")
    pages.see_dialog(admin)
    pages.choose(admin, "demo2")
    assert "demo" in pages.see_row(admin, "demo2", within=pages.DIALOG).text.split()
    admin.shot("admin-attach-dialog")
    pages.submit(admin, "Attach")
    assert "demo2" in pages.see_row(admin, STICK, "Attached").text
    pages.give_back(cloud, STICK)


def test_the_operator_forgets_a_device_that_is_gone(cloud: Cloud, admin: Browser) -> None:
    with gadget(cloud.host, "Gone", "for good", "GONE1"):
        admin.open(pages.ADMIN_DEVICES)
        wait_until(lambda: pages.listed(cloud, "GONE1"), "no gadget", _SECONDS, cloud.host.running)
    wait_until(lambda: pages.device(cloud, "GONE1")["bus"] is None, "it stays", _SECONDS, cloud.host.running)
    admin.open(pages.ADMIN_DEVICES)
    pages.choose_action(admin, "GONE1", "Forget USB Device")
    pages.see_dialog(admin)
    admin.click(f"{pages.DIALOG} .btn-danger")
    admin.see(pages.MESSAGES, "Forgot USB Device")
    pages.row_gone(admin, "GONE1")


# What goes wrong


def test_the_service_is_down(cloud: Cloud, demo: Browser) -> None:
    pages.open_attach(demo, "demo")
    pages.choose(demo, STICK)
    processes = Processes(PIDS, LOG)
    processes.stop(_USB_API)
    try:
        pages.submit(demo, "Attach")
        demo.see(f"{pages.DIALOG} .alert", "The USB service is unavailable")
        demo.shot("service-down-on-attach")
        pages.open_attach(demo, "demo")
        demo.see(f"{pages.DIALOG} .alert", "The USB service is unavailable")
        demo.open(pages.DEVICES)
        demo.see(f"{pages.CONTENT} tbody", "The USB service is unavailable")
        demo.shot("service-down-panel")
        pages.open_tab(demo, cloud.server_id("demo", "demo"))
        demo.see(f"{pages.CONTENT} tbody", "The USB service is unavailable")
    finally:
        services.start_wsgi(_USB_API, cloud.site, processes)


def test_the_agent_is_down(cloud: Cloud, demo: Browser, admin: Browser) -> None:
    pages.open_attach(demo, "demo")
    pages.choose(demo, STICK)
    hosts = cloud.usb("admin").hosts
    with agent_asleep(cloud):
        wait_until(
            lambda: hosts.get(cloud.host.name)["state"] == "down",
            "an agent that is asleep counts as up",
            _SECONDS,
            cloud.host.running,
            every=1,
        )
        pages.submit(demo, "Attach")
        demo.see(f"{pages.DIALOG} .alert", "The host of demo does not answer.")
        demo.shot("agent-down-on-attach")
        pages.open_attach(demo, "demo")
        pages.see_row(demo, STICK, "its host does not answer", within=pages.DIALOG)
        demo.shot("agent-down-dialog")
        admin.open(pages.ADMIN_DEVICES)
        pages.see_row(admin, STICK, "(agent down)")
        admin.shot("agent-down-admin")
    wait_until(
        lambda: hosts.get(cloud.host.name)["state"] == "up",
        "an agent that woke up counts as down",
        _SECONDS,
        cloud.host.running,
        every=1,
    )


def test_the_session_has_ended(cloud: Cloud, other: Browser) -> None:
    """Keystone does not know the token any more; nobody is shown an error page."""
    pages.open_attach(other, "other")
    pages.choose(other, STICK)
    revoke(cloud, "other")
    pages.submit(other, "Attach")
    other.see(".alert, .login", "Your session is no longer valid. Log in again.")
    other.shot("session-ended")
    other.log_in("other", cloud.site.passwords["other"])
    other.open(pages.DEVICES)
    pages.see_row(other, STICK)


def revoke(cloud: Cloud, user: str) -> None:
    """Make all tokens of a user invalid, as disabling the account does."""
    identity = Rest(cloud.site, "admin").identity
    found = identity.get("/users", params={"name": user}).json()["users"][0]["id"]
    for enabled in (False, True):
        identity.patch(f"/users/{found}", json={"user": {"enabled": enabled}})
    # Keystone counts whole seconds: what it issues within this one is invalid as well.
    time.sleep(1)


# Hostile names


def test_a_hostile_name_is_shown_as_it_is_and_once(cloud: Cloud, demo: Browser, admin: Browser) -> None:
    name = 'AT&T <b>"quote"</b> {$x$}'
    with gadget(cloud.host, "AT&T", '<b>"quote"</b> {$x$}', "HOSTILE1"):
        wait_until(lambda: pages.listed(cloud, "HOSTILE1"), "no gadget", _SECONDS, cloud.host.running)
        pages.open_attach(demo, "demo")
        row = pages.see_row(demo, "HOSTILE1", within=pages.DIALOG)
        assert row.text.count(name) == 1
        pages.choose(demo, "HOSTILE1")
        demo.shot("hostile-dialog")
        pages.submit(demo, "Attach")
        assert demo.see(pages.MESSAGES, "Attaching").text.count(f"Attaching {name} (HOSTILE1) to demo.") == 1
        demo.shot("hostile-message")
        pages.open_tab(demo, cloud.server_id("demo", "demo"))
        assert pages.see_row(demo, "HOSTILE1", "Attached").text.count(name) == 1
        demo.shot("hostile-tab")
        pages.choose_action(demo, "HOSTILE1", "History")
        pages.see_dialog(demo)
        assert demo.see(pages.DIALOG, "requested").text.count(name) == 1
        demo.open(pages.DEVICES)
        assert pages.see_row(demo, "HOSTILE1").text.count(name) == 1
        pages.choose_action(demo, "HOSTILE1", "Detach")
        pages.see_dialog(demo)
        assert demo.see(f"{pages.DIALOG} .modal-body", "Detach").text.count(name) == 1
        admin.open(pages.ADMIN_DEVICES)
        assert pages.see_row(admin, "HOSTILE1").text.count(name) == 1
        pages.choose_action(admin, "HOSTILE1", "Disable USB Device")
        pages.see_dialog(admin)
        assert admin.see(pages.DIALOG).text.count(name) == 1
        admin.shot("hostile-confirmation")
        for browser in (demo, admin):
            assert not browser.find("b.hostile, #content_body td b")
        pages.give_back(cloud, "HOSTILE1")
    wait_until(
        lambda: pages.device(cloud, "HOSTILE1")["bus"] is None, "it stays", _SECONDS, cloud.host.running
    )
    cloud.usb("admin").devices.delete(pages.device(cloud, "HOSTILE1")["id"])


# For everybody, and at what cost


# Of the project and of the operator: pages, and the dialogs that actions of a device open.
_PROJECT_DIALOGS = ("detach", "lease", "queue", "history")
_ADMIN_PAGES = ("", "events/", "queue/", "hosts/usbhost1/")
_ADMIN_DIALOGS = ("edit", "projects", "detach", "lease", "history", "disable")
_WIDTHS = (375, 1200, 1920)


@pytest.mark.parametrize("language", ["en", "de"])
def test_nothing_keeps_people_from_using_it(
    cloud: Cloud, demo: Browser, admin: Browser, language: str
) -> None:
    """Every page and dialog: no grave fault, no key that leads nowhere, and nothing is cut off."""
    give(cloud, "demo", STICK)
    stick, server = pages.device(cloud, STICK)["id"], cloud.server_id("demo", "demo")
    for browser in (demo, admin):
        browser.driver.add_cookie({"name": "horizon_language", "value": language})
    try:
        for name, path in (
            ("panel", ""),
            ("device", f"{stick}/"),
        ):
            look(demo, f"project-{name}", pages.DEVICES + path, language)
        # Around it is a page of Horizon's own.
        tab = f"{pages.INSTANCES}{server}/?tab=instance_details__usb"
        look(demo, "tab", tab, language, ".tab-pane.active")
        dialogs(demo, "instances", pages.INSTANCES, "demo", ("attach_usb", "detach_usb"), language)
        dialogs(demo, "project", pages.DEVICES, STICK, _PROJECT_DIALOGS, language)
        for path in (*_ADMIN_PAGES, f"{stick}/"):
            look(admin, f"admin-{path.strip('/').replace('/', '-')}", pages.ADMIN_DEVICES + path, language)
        dialogs(admin, "admin", pages.ADMIN_DEVICES, STICK, _ADMIN_DIALOGS, language)
    finally:
        for browser in (demo, admin):
            browser.width(None)
            browser.driver.delete_cookie("horizon_language")


def look(browser: Browser, name: str, path: str, language: str, css: str = pages.CONTENT) -> None:
    """A page, as wide as three screens.

    :param css: what of it is ours
    """
    browser.open(path)
    browser.see(css)
    faults = grave_faults(browser, css)
    assert not faults, f"{name}: {faults}"
    for width in _WIDTHS:
        browser.width(width)
        browser.shot(f"{name}-{language}-{width}")
        fits(browser, name)
    browser.width(None)


def fits(browser: Browser, name: str) -> None:
    """A table may be wider than a telephone: it scrolls then, and the page does not."""
    page = "document.documentElement"
    beyond = browser.script(f"return {page}.scrollWidth - {page}.clientWidth")
    assert beyond <= 0, f"{name} is {beyond} pixels too wide"


def dialogs(browser: Browser, place: str, path: str, row: str, actions: Sequence[str], language: str) -> None:
    """Each dialog of a row, opened and left with the keyboard alone."""
    browser.open(path)
    for action in actions:
        link = pages.press_action(browser, row, action)
        pages.see_dialog(browser)
        name = f"{place}-dialog-{action}"
        faults = grave_faults(browser, pages.DIALOG)
        assert not faults, f"{name}: {faults}"
        inside = browser.script("return $(document.activeElement).closest('.modal').length")
        assert inside, f"{name} does not have the focus"
        if language == "en":
            browser.shot(name)
        browser.press(Keys.ESCAPE)
        browser.gone(pages.DIALOG)
        script = "return $(document.activeElement).closest('tr').find('#' + arguments[0]).length"
        assert browser.script(script, link), f"the focus is lost after {name}"


def test_in_german(cloud: Cloud, demo: Browser) -> None:
    give(cloud, "demo", STICK)
    cloud.host.unplug("stick1")
    try:
        demo.open(pages.DEVICES)
        demo.driver.add_cookie({"name": "horizon_language", "value": "de"})
        demo.open(pages.DEVICES)
        pages.see_row(demo, STICK, "Wartet: ausgesteckt. Wird beim Einstecken wieder angehängt.")
        demo.shot("german-panel")
        fits(demo, "the panel")
        assert grave_faults(demo, pages.CONTENT) == []
        pages.choose_action(demo, STICK, "Abhängen")
        pages.see_dialog(demo)
        demo.see(f"{pages.DIALOG} .modal-body", f"QEMU USB HARDDRIVE ({STICK}) von demo abhängen?")
        demo.shot("german-dialog")
        assert grave_faults(demo, pages.DIALOG) == []
    finally:
        demo.driver.delete_cookie("horizon_language")
        cloud.host.plug("stick1")


def test_on_a_telephone(cloud: Cloud, demo: Browser) -> None:
    demo.width(375)
    try:
        pages.open_attach(demo, "demo")
        demo.shot("telephone")
        assert demo.see(f"{pages.DIALOG} .modal-dialog").rect["width"] <= 375
        buttons = [button.rect for button in demo.find(f"{pages.DIALOG} .modal-footer .btn")]
        assert len(buttons) == 2
        assert all(it["x"] >= 0 and it["x"] + it["width"] <= 375 for it in buttons)
        pages.choose(demo, STICK)
    finally:
        demo.width(None)


def test_the_instances_page_costs_no_call_more_and_a_dialog_two(
    cloud: Cloud, demo: Browser, tmp_path: Path
) -> None:
    with plain_horizon(cloud, tmp_path) as without:
        stock = calls_of_instances_page(cloud, without)
    ours = calls_of_instances_page(cloud, cloud.horizon)
    print(f"requests for the Instances page: {len(stock)} without the plugin, {len(ours)} with it")
    assert len(stock) > 3
    assert ours == stock

    demo.open(pages.INSTANCES)
    before = len(requests_of(cloud, _USB_API))
    pages.open_attach(demo, "demo")
    # Other browsers watch their pages meanwhile.
    server_id = cloud.server_id("demo", "demo")
    asked = [line for line in requests_of(cloud, _USB_API)[before:] if server_id in line]
    assert asked == [
        f"GET /v1/devices?server_id={server_id}&transport=any",
        f"GET /v1/servers/{server_id}/attachments?limit=1",
    ]


def calls_of_instances_page(cloud: Cloud, horizon: str) -> list[str]:
    """What Horizon asks for the page, without the ids; the fewest of some times, for others ask as well.

    Without tokens: services verify each one now and then, and get new ones for themselves.
    """
    with requests.Session() as user:
        login = f"{horizon}/auth/login/"
        user.get(login, timeout=_SECONDS)
        form = {"username": "demo", "password": cloud.site.passwords["demo"], "region": "default"}
        token = {"csrfmiddlewaretoken": user.cookies["csrftoken"]}
        user.post(login, {**form, **token}, headers={"Referer": login}, timeout=_SECONDS)
        tries = []
        for _ in range(4):
            before = {name: len(requests_of(cloud, name)) for name in _APIS}
            page = user.get(f"{horizon}{pages.INSTANCES}", timeout=_SECONDS)
            assert "demo2" in page.text
            made = [line for name in _APIS for line in requests_of(cloud, name)[before[name] :]]
            lines = sorted(re.sub(r"[0-9a-f-]{32,36}|\?.*", "", line) for line in made)
            tries.append([line for line in lines if not line.endswith(" /v3/auth/tokens")])
    return min(tries, key=len)


@contextlib.contextmanager
def plain_horizon(cloud: Cloud, directory: Path) -> Iterator[str]:
    """The address of a Horizon without the plugin, as it was before that was installed."""
    shutil.copytree(config.HORIZON, directory, symlinks=True, dirs_exist_ok=True)
    for file in (directory / "openstack_dashboard/local").glob("*/_*usb*.py"):
        file.unlink()
    port = free_port()
    command: list[str | Path] = [
        *(VENV / "bin/uwsgi", "--http-socket", f"127.0.0.1:{port}", "--virtualenv", VENV),
        *("--module", "openstack_dashboard.wsgi", "--callable", "application", "--threads", "2"),
        *("--need-app", "--die-on-term", "--buffer-size", "65535", "--add-header", "Connection: close"),
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={"PYTHONPATH": str(directory)}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(
                lambda: http_answers(f"{address}/auth/login/"),
                "Horizon without the plugin does not answer",
                _SECONDS,
                lambda: process.poll() is None,
                directory / "log",
            )
            yield address
        finally:
            process.terminate()
            process.wait()
