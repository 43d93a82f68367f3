# SPDX-License-Identifier: Apache-2.0
"""axe-core, which finds what keeps people from using a page: https://github.com/dequelabs/axe-core."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from typing import Any

from lab.paths import CACHE
from tests.cloud.browser import Browser

_VERSION = "4.10.3"
_URL = f"https://registry.npmjs.org/axe-core/-/axe-core-{_VERSION}.tgz"
_SHA512 = (
    "5e6edba515e70d25f6604d9815f064d859c5d1ea7ab661bbc4f87c88779ef0c2"
    "1cae0abbeb636471ef39e9d62d2582e4b88a1866f19f4ecfcf6d986275e4dc12"
)
_SCRIPT = CACHE / f"axe-core-{_VERSION}.js"
_GRAVE = ("serious", "critical")


def grave_faults(browser: Browser, css: str) -> list[str]:
    """The serious and critical faults below an element: what it is, and where."""
    browser.script(_source())
    found: dict[str, Any] = browser.driver.execute_async_script(
        "axe.run(arguments[0], {resultTypes: ['violations']}).then(arguments[1])", css
    )
    return [
        f"{fault['impact']} {fault['id']}: {fault['help']}: {[node['html'] for node in fault['nodes']]}"
        for fault in found["violations"]
        if fault["impact"] in _GRAVE
    ]


def _source() -> str:
    """The script, which is fetched once."""
    if not _SCRIPT.exists():
        with urllib.request.urlopen(_URL, timeout=60) as answer:
            package = answer.read()
        assert hashlib.sha512(package).hexdigest() == _SHA512, f"{_URL} is not what it was"
        with tarfile.open(fileobj=io.BytesIO(package)) as files:
            script = files.extractfile("package/axe.min.js")
            assert script is not None
            _SCRIPT.write_bytes(script.read())
    return _SCRIPT.read_text()
