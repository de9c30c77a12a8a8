"""Waivers: a name, a reason and a last day, or no waiver."""

from datetime import date
from typing import Any

import pytest

from pipeline.waivers import Waiver, parse_waivers

WHERE = "params.yaml: policy.waivers"
ENTRY = {"check": "tone", "name": "Ann Lee", "reason": "new voice", "expires": "2026-12-31"}


def faults_of(value: Any) -> list[str]:
    faults: list[str] = []
    parse_waivers(value, WHERE, faults)
    return faults


def test_a_waiver_holds_through_its_last_day() -> None:
    (waiver,) = parse_waivers([ENTRY], WHERE, [])
    assert not waiver.expired(date(2026, 12, 31))
    assert waiver.expired(date(2027, 1, 1))


def test_a_waiver_takes_a_date_as_yaml_gives_it() -> None:
    from_text = parse_waivers([ENTRY], WHERE, [])
    assert parse_waivers([{**ENTRY, "expires": date(2026, 12, 31)}], WHERE, []) == from_text


def test_a_waiver_says_who_until_when_and_why() -> None:
    (waiver,) = parse_waivers([ENTRY], WHERE, [])
    assert waiver.words == "by Ann Lee until 2026-12-31: new voice"


def test_a_stored_waiver_is_the_same_waiver() -> None:
    (waiver,) = parse_waivers([ENTRY], WHERE, [])
    assert waiver.to_json() == ENTRY
    assert Waiver.from_json(waiver.to_json()) == waiver


@pytest.mark.parametrize("key", sorted(ENTRY))
def test_every_part_of_a_waiver_is_required(key: str) -> None:
    (fault,) = faults_of([{k: v for k, v in ENTRY.items() if k != key}])
    assert fault.startswith(f"{WHERE}[1].{key} is missing; it must be the ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"check": ""}, "check is ''; it must be the skill or the code of the check"),
        ({"expires": "soon"}, "expires is 'soon'; it must be the last day on which it holds"),
        ({"expires": "2026-13-01"}, "expires is '2026-13-01'; it must be the last day"),
        ({"expires": 20261231}, "expires is 20261231; it must be the last day"),
        ({"expires": None}, "expires is null; it must be the last day"),
        ({"name": ""}, "name is ''; it must be the name of the person"),
        ({"reason": None}, "reason is null; it must be the reason"),
        ({"resaon": "x"}, "resaon is not a key of params.yaml: policy.waivers[1]. Did you mean"),
    ],
)
def test_a_waiver_with_a_part_that_says_nothing_is_refused(
    change: dict[str, Any], words: str
) -> None:
    (fault,) = faults_of([{**ENTRY, **change}])
    assert fault.startswith(f"{WHERE}[1].{words}")


def test_all_faults_are_reported_together() -> None:
    assert len(faults_of([{**ENTRY, "name": ""}, ENTRY, {**ENTRY, "reason": ""}])) == 2


def test_a_waiver_that_is_no_mapping_is_refused() -> None:
    first, *_ = faults_of(["tone"])
    assert first == f"{WHERE}[1] is a str; it must be a mapping of keys to values."


@pytest.mark.parametrize("value", [None, "tone", {"check": "tone"}])
def test_waivers_that_are_no_list_are_refused(value: Any) -> None:
    assert faults_of(value) == [f"{WHERE} is {value!r}; it must be a list of waivers; [] for none."]
