# SPDX-License-Identifier: Apache-2.0
"""What an agent counts of devices that come and go."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from compute_shim.agent import metrics
from compute_shim.objects import ClaimStatus, ReasonCode, State
from compute_shim.relay.traffic import Traffic


def outcome(device_id: str, state: State) -> ClaimStatus:
    return ClaimStatus(
        device_id, 1, state, reason_code=ReasonCode.UNPLUGGED if state == State.WAITING else None
    )


def count(metric: Counter | Histogram, name: str, **labels: str) -> float:
    samples = [sample for family in metric.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and sample.labels == labels)


def flaps(device_id: str) -> float:
    return count(metrics.flaps.counter, "usb_shim_flaps_total", device_id=device_id)


def test_a_device_that_goes_and_comes_back() -> None:
    replugs = metrics.Replugs()
    number = "usb_shim_replug_seconds_count"
    before = flaps("replugged"), count(metrics.replug_seconds, number)
    replugs.see({"replugged"}, [outcome("replugged", State.ATTACHED)])
    replugs.see(set(), [outcome("replugged", State.WAITING)])
    replugs.see({"replugged"}, [outcome("replugged", State.FAILED)])
    replugs.see({"replugged"}, [outcome("replugged", State.ATTACHED)])
    replugs.see({"replugged"}, [outcome("replugged", State.ATTACHED)])
    assert (flaps("replugged"), count(metrics.replug_seconds, number)) == (before[0] + 1, before[1] + 1)


def test_a_device_that_nobody_has_is_not_timed() -> None:
    replugs = metrics.Replugs()
    number = "usb_shim_replug_seconds_count"
    before = count(metrics.replug_seconds, number)
    for present in ({"free"}, set(), {"free"}):
        replugs.see(present, [outcome("free", State.AVAILABLE)])
    replugs.see({"free"}, [outcome("free", State.ATTACHED)])
    assert count(metrics.replug_seconds, number) == before


def test_what_is_there_at_the_first_look_has_not_come_back() -> None:
    replugs = metrics.Replugs()
    before = flaps("first")
    replugs.see({"first"}, [outcome("first", State.ATTACHED)])
    assert flaps("first") == before


def test_what_relays_carry() -> None:
    registry = metrics.registry(lambda: {"one": Traffic(10, 20, 1500)})
    shown = {
        (direction, registry.get_sample_value("usb_shim_channel_bytes_total", labels))
        for direction in ("sent", "received")
        for labels in [{"device_id": "one", "direction": direction}]
    }
    assert shown == {("sent", 10), ("received", 20)}
    seconds = registry.get_sample_value("usb_shim_channel_round_trip_seconds", {"device_id": "one"})
    assert seconds == 0.0015
