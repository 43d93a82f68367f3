# SPDX-License-Identifier: Apache-2.0
"""The alerts for Prometheus and the dashboard for Grafana ask for metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from prometheus_client import CollectorRegistry

from compute_shim.agent import metrics as agent_metrics
from compute_shim.conductor import metrics as conductor_metrics
from compute_shim.db import statistics
from compute_shim.db.api import Database
from compute_shim.db.statistics import Statistics

_ETC = Path(__file__).resolve().parents[2] / "etc"
_RULES = _ETC / "prometheus/usb-shim.rules.yaml"
_DASHBOARD = _ETC / "grafana/usb-shim.json"


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(_RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression, and the text that names labels of its result."""
    for rule in rules():
        yield rule["expr"], rule["annotations"]["summary"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The labels of each series that a conductor or an agent has."""
    one_of_each = Statistics(
        {("host", "state"): 1}, {"state": 1}, hosts_up=1, hosts_down=0, projects={"project": 1}, queue={"": 1}
    )
    monkeypatch.setattr(statistics, "take", lambda *_: one_of_each)
    whole = CollectorRegistry()
    whole.register(conductor_metrics.DatabaseCollector(mock.create_autospec(Database), 60))
    for counted in (*agent_metrics._COUNTED, *conductor_metrics._COUNTED):
        whole.register(counted)
        if counted._labelnames:
            counted.labels(*counted._labelnames)
    samples = (sample for family in whole.collect() for sample in family.samples)
    return {sample.name: {"instance", *sample.labels} for sample in samples}


@pytest.mark.parametrize(("expression", "legend"), expressions())
def test_what_is_asked_for_exists(expression: str, legend: str, labels: dict[str, set[str]]) -> None:
    series = re.findall(r"usb_shim_\w+", expression)
    assert series
    for name in series:
        assert name in labels, f"{name} is not served"
        asked = set(re.findall(r'(\w+)=~?"', expression))
        for grouping in re.findall(r"by \(([^)]+)\)", expression):
            asked.update(grouping.split(", "))
        assert asked <= labels[name]
        shown = set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", legend))
        assert shown <= labels[name]


def test_each_metric_is_shown_or_watched(labels: dict[str, set[str]]) -> None:
    told = {name for expression, _ in expressions() for name in re.findall(r"usb_shim_\w+", expression)}
    served = {name for name in labels if not name.endswith(("_created", "_count", "_sum"))}
    assert served - told == set()


def test_each_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["description"].endswith(".")


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
