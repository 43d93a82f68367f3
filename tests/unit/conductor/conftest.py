# SPDX-License-Identifier: Apache-2.0
"""A conductor with a Nova to ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests_mock

from tests.unit.clock import clock
from tests.unit.conductor.cloud import Cloud, Compute


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """One host, no claims yet."""
    with requests_mock.Mocker() as mocker, clock() as told:
        yield Cloud(Compute(mocker), told)
