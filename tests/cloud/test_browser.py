# SPDX-License-Identifier: Apache-2.0
"""The tests' own browser, on a page that will not rest."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import pages
from tests.cloud.browser import Browser

# Loads itself again and again, as a page does when its form is sent, then rests, and only then has the row.
_PAGE = """<div id="content_body"><table><tbody>ROWS</tbody></table></div><script>
const loads = Number(sessionStorage.loads || 0)
if (loads < 100) {
    sessionStorage.loads = loads + 1
    setTimeout(() => location.reload(), 20)
} else {
    document.querySelector("tbody").insertRow().insertCell().textContent = "at rest"
}
</script>""".replace("ROWS", "<tr><td>another</td></tr>" * 30)


@pytest.fixture(autouse=True)
def _give_everything_back() -> None:
    """No cloud is needed here."""


@pytest.fixture
def restless(tmp_path: Path) -> Iterator[str]:
    """The address of the page."""
    (tmp_path / "index.html").write_text(_PAGE)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_that_was_left_is_looked_at(restless: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Chromedriver does not always call an element of the page before a stale one."""
    browser = Browser(restless, tmp_path_factory.mktemp("chromium"))
    try:
        browser.open("/")
        assert pages.see_row(browser, "at rest").text == "at rest"
    finally:
        browser.quit()
