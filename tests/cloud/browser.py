# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that looks at Horizon, as one user."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from lab.paths import RUN

SCREENSHOTS = RUN / "screenshots"

# The processors emulate a host and three guests beside.
_SECONDS = 120
_POLL_SECONDS = 0.2

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    # It looks for nobody but Horizon.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)

# How chromedriver calls an element of a page that was left between two of its calls, where it does not say
# "stale": https://github.com/SeleniumHQ/selenium/issues/15401
_LEFT = "does not belong to the document"

# In pixels; all that is narrower is one.
_TELEPHONE = 600

_number = itertools.count(1)


class Browser:
    """What a person does with Horizon, and what there is to be seen. Every look waits for it to be there.

    :param address: of Horizon
    :param profile: an empty directory
    """

    def __init__(self, address: str, profile: Path):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(executable_path="/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(options=options, service=service)
        self._address = address

    def quit(self) -> None:
        """End Chromium."""
        self.driver.quit()

    def open(self, path: str) -> None:
        """Load a page of Horizon."""
        self.driver.get(f"{self._address}{path}")

    def log_in(self, user: str, password: str) -> None:
        """Log in."""
        self.open("/auth/login/")
        self.see("#id_username").send_keys(user)
        self.see("#id_password").send_keys(password + Keys.ENTER)
        self.see("#sidebar-accordion, .sidebar")

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait until something is so; what was found.

        Elements that the page has replaced meanwhile are looked for again.
        """

        def look(_: Any) -> Any:
            try:
                return true()
            except exceptions.WebDriverException as error:
                if _LEFT in str(error.msg):
                    return None
                raise

        waiting = WebDriverWait(
            self.driver,
            _SECONDS,
            _POLL_SECONDS,
            ignored_exceptions=[
                exceptions.NoSuchElementException,
                exceptions.StaleElementReferenceException,
                exceptions.ElementClickInterceptedException,
                exceptions.ElementNotInteractableException,
            ],
        )
        return waiting.until(look, what)

    def see(self, css: str, text: str = "") -> WebElement:
        """The first element that can be seen and has the text."""

        def look() -> WebElement | None:
            return next((it for it in self.find(css) if it.is_displayed() and text in it.text), None)

        found: WebElement = self.until(look, f"{css} with {text!r} is not to be seen")
        return found

    def gone(self, css: str) -> None:
        """Wait until there is none to be seen."""
        self.until(lambda: not any(it.is_displayed() for it in self.find(css)), f"{css} is still to be seen")

    def find(self, css: str) -> list[WebElement]:
        """All elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def click(self, css: str, text: str = "") -> None:
        """Click the first element that can be seen and has the text, as soon as nothing covers it."""

        def click() -> bool:
            self.see(css, text).click()
            return True

        self.until(click, f"{css} with {text!r} cannot be clicked")

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def script(self, text: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(text, *arguments)

    def width(self, pixels: int | None) -> None:
        """Be as wide as a telephone, or another screen; None: as at the beginning."""
        if pixels is None:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        else:
            is_telephone = pixels < _TELEPHONE
            height = 812 if is_telephone else 1080
            size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": is_telephone}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def shot(self, name: str) -> None:
        """Keep a picture of what is to be seen."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{next(_number):02}-{name}.png"))
