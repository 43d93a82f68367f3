# SPDX-License-Identifier: Apache-2.0
"""Where things are on Horizon's pages, and what a person does there."""

from __future__ import annotations

import re
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.cloud.browser import Browser
from tests.cloud.conftest import Cloud

INSTANCES = "/project/instances/"
DEVICES = "/project/usb/"
ADMIN_DEVICES = "/admin/usb/"
DIALOG = "#modal_wrapper .modal.in:not(.loading)"
CONTENT = "#content_body"
MESSAGES = ".messages .alert, .toast, hz-toast .alert"


def find_row(browser: Browser, word: str, within: str = CONTENT) -> WebElement | None:
    """The row that is there now of a table, with a word in one of its cells."""
    rows = browser.find(f"{within} tbody tr")
    return next((row for row in rows if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", row.text)), None)


def see_row(browser: Browser, word: str, text: str = "", within: str = CONTENT) -> WebElement:
    """The row of a table with a word in one of its cells, as soon as it has the text as well."""

    def look() -> WebElement | None:
        row = find_row(browser, word, within)
        return row if row is not None and text in row.text else None

    row: WebElement = browser.until(look, f"no row with {word!r} and {text!r} in {within}")
    return row


def row_gone(browser: Browser, word: str, within: str = CONTENT) -> None:
    """Wait until no row of a table has the word in one of its cells."""
    browser.until(lambda: find_row(browser, word, within) is None, f"there is still a row with {word!r}")


def choose_action(browser: Browser, word: str, action: str) -> None:
    """Choose an action in the row of a table with a word in one of its cells."""

    def choose() -> bool:
        row = see_row(browser, word)
        offered = row.find_elements(By.CSS_SELECTOR, "td.actions_column a, td.actions_column button")
        wanted = [it for it in offered if str(it.get_property("textContent")).strip() == action]
        if not wanted:
            return False
        if not wanted[0].is_displayed():
            row.find_element(By.CSS_SELECTOR, ".dropdown-toggle").click()
        wanted[0].click()
        return True

    browser.until(choose, f"{action!r} cannot be chosen for {word!r}")


def press_action(browser: Browser, word: str, action: str) -> str:
    """Open an action of a row with the keyboard alone; the id of its link.

    :param action: its name in the code, which is the same in all languages.
    """
    row = see_row(browser, word)
    link = row.find_element(By.CSS_SELECTOR, f"[id$='__action_{action}']")
    link_id = str(link.get_attribute("id"))
    if not link.is_displayed():
        browser.script("arguments[0].focus()", row.find_element(By.CSS_SELECTOR, ".dropdown-toggle"))
        browser.press(Keys.ENTER)
        for _ in row.find_elements(By.CSS_SELECTOR, ".dropdown-menu a, .dropdown-menu button"):
            browser.press(Keys.TAB)
            if browser.script("return document.activeElement.id") == link_id:
                break
    else:
        browser.script("arguments[0].focus()", link)
    assert browser.script("return document.activeElement.id") == link_id, f"no key leads to {action}"
    browser.press(Keys.ENTER)
    return link_id


def open_attach(browser: Browser, server: str) -> None:
    """Instances, Attach USB Device: the dialog, when it has come to rest."""
    browser.open(INSTANCES)
    choose_action(browser, server, "Attach USB Device")
    see_dialog(browser)


def see_dialog(browser: Browser) -> None:
    """Wait for a dialog that has come to rest."""
    browser.until(
        lambda: (
            browser.see(DIALOG).value_of_css_property("opacity") == "1"
            and not browser.find(".modal-backdrop.fade:not(.in)")
        ),
        "no dialog",
    )


def open_tab(browser: Browser, server_id: str) -> None:
    """The tab USB Devices of a server."""
    browser.open(f"{INSTANCES}{server_id}/?tab=instance_details__usb")


def choose(browser: Browser, word: str) -> None:
    """Choose the row of a dialog with a word in one of its cells."""

    def choose() -> bool:
        see_row(browser, word, within=DIALOG).find_element(By.CSS_SELECTOR, "input").click()
        return word in chosen(browser)

    browser.until(choose, f"{word!r} cannot be chosen")


def chosen(browser: Browser) -> str:
    """The text of the row that is chosen in a dialog; nothing where none is."""
    rows = browser.find(f"{DIALOG} tbody tr")
    return next((row.text for row in rows if row.find_elements(By.CSS_SELECTOR, "input:checked")), "")


def submit(browser: Browser, name: str) -> None:
    """Press the button that sends a dialog."""
    browser.click(f"{DIALOG} input[type=submit][value={name!r}]")


def filter_devices(browser: Browser, text: str) -> None:
    """Filter the table of a panel; Horizon remembers the filter until the next."""
    field = browser.see(f"{CONTENT} .table_search input[type=text]")
    field.clear()
    field.send_keys(text, Keys.ENTER)


def listed(cloud: Cloud, serial: str) -> bool:
    """Whether the service knows of a device with a serial."""
    return any(device["serial"] == serial for device in cloud.usb("admin").devices.list())


def device(cloud: Cloud, serial: str) -> dict[str, Any]:
    """The device with a serial, as the operator sees it."""
    [found] = [it for it in cloud.usb("admin").devices.list() if it["serial"] == serial]
    return found


def give_back(cloud: Cloud, serial: str) -> None:
    """Detach the device with a serial, from whichever server has it."""
    usb, held = cloud.usb("admin"), device(cloud, serial)
    usb.attachments.delete(held["server_id"], held["id"])
    usb.attachments.wait_detached(held["server_id"], held["id"])
