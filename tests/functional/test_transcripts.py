# SPDX-License-Identifier: Apache-2.0
"""Conversations with the API, as files below ``transcripts/`` tell them.

Each is played against a new cloud (`tests.functional.world`), whose servers and sticks it finds in its
environment: ``$ENVIRON['DEMO']`` and so on. What happens around the API it makes happen at ``/stage``.
"""

from __future__ import annotations

import unittest
from pathlib import Path

import pytest
import yaml
from gabbi import handlers, suitemaker

from tests.functional.world import SERVERS, STICKS, Stage, World

_DIRECTORY = Path(__file__).parent / "transcripts"
_FILES = sorted(_DIRECTORY.glob("*.yaml"))


@pytest.mark.parametrize("file", _FILES, ids=[file.stem for file in _FILES])
def test_transcript(file: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sync("compute1", **{name: {} for name in STICKS if name != "STICK4"})
    world.sync("compute2", STICK4={})
    for name, server in SERVERS.items():
        monkeypatch.setenv(name, server.id)
    for name in STICKS:
        monkeypatch.setenv(name, world.device_id(name))
    suite = suitemaker.test_suite_from_dict(
        unittest.TestLoader(),
        file.stem,
        yaml.safe_load(file.read_text()),
        str(_DIRECTORY),
        host="usb.example",
        port=80,
        fixture_module=None,
        intercept=lambda: Stage(world),
        handlers=[handler() for handler in handlers.RESPONSE_HANDLERS],
        test_loader_name=__name__,
    )
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == suite.countTestCases() > 0
    complaints = [f"{test}\n{text}" for test, text in [*result.failures, *result.errors]]
    assert not complaints, "\n".join(complaints)
    assert not result.skipped
    assert not result.unexpectedSuccesses
    assert not result.expectedFailures
