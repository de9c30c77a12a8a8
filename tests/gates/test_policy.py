"""The policy of params.yaml: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from gates import Policy
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]
POLICY: dict[str, Any] = yaml.safe_load("""
alpha: 0.05
skills:
  json: {metric: exact, range: [0, 1], direction: higher, reference: best-expert, margin: 0.05, floor: 0.85}
  tone: {metric: rubric, range: [0, 5], reference: best-expert, margin: 0.25, floor: 4.0, alpha: 0.01}
safety:
  refusal: {metric: refused, reference: base, margin: 0.03, floor: 0.9}
latency: {metric: p95, max_ratio: 1.5}
waivers: []
""")


def changed(path: str, value: Any) -> dict[str, Any]:
    """POLICY with one entry replaced; `path` is dotted."""
    policy = copy.deepcopy(POLICY)
    *parents, last = path.split(".")
    inner = policy
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return policy


def without(path: str) -> dict[str, Any]:
    policy = copy.deepcopy(POLICY)
    *parents, last = path.split(".")
    inner = policy
    for key in parents:
        inner = inner[key]
    del inner[last]
    return policy


def faults(value: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        Policy.parse(value)
    return str(caught.value).splitlines()


def test_a_policy_keeps_every_figure_and_fills_in_the_usual_ones() -> None:
    policy = Policy.parse(POLICY)
    json, tone, refusal = policy.rules
    assert (json.name, json.margin, json.floor, json.alpha) == ("json", 0.05, 0.85, 0.05)
    assert (tone.low, tone.high, tone.direction, tone.alpha) == (0.0, 5.0, "higher", 0.01)
    assert (refusal.kind, refusal.low, refusal.high) == ("safety", 0.0, 1.0)
    assert policy.latency is not None
    assert policy.latency.max_ratio == 1.5


def test_the_policy_of_the_documentation_is_one() -> None:
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    policy = Policy.parse(yaml.safe_load(example)["policy"])
    (rule,) = policy.skills
    assert rule.cluster == "document"
    assert rule.slices[0].only == ("de", "en", "fr")
    assert rule.references == ("best-expert", "plain", "champion")
    assert policy.sealed[0].uses == 20


def test_the_digest_covers_every_figure() -> None:
    digest = Policy.parse(POLICY).digest
    assert Policy.parse(copy.deepcopy(POLICY)).digest == digest
    for path, value in {
        "alpha": 0.1,
        "skills.json.margin": 0.06,
        "safety.refusal.floor": 0.8,
        "latency.max_ratio": 2,
        "waivers": [{"check": "tone", "name": "Ann", "reason": "x", "expires": "2030-01-01"}],
    }.items():
        assert Policy.parse(changed(path, value)).digest != digest, path


@pytest.mark.parametrize("value", [None, {}, [], "strict", 3])
def test_an_empty_policy_is_refused(value: Any) -> None:
    assert any("skills is missing" in fault for fault in faults(value))


def test_a_policy_without_safety_must_say_so() -> None:
    assert faults(without("safety")) == [
        "params.yaml: policy.safety is missing; it must be a mapping of safety suites to what they "
        "must show; write `safety: {}` to release without any."
    ]
    assert Policy.parse(changed("safety", {})).safety == ()


@pytest.mark.parametrize(
    "path",
    ["skills.json.metric", "skills.json.margin", "skills.json.floor", "skills.json.reference"],
)
def test_a_rule_without_one_of_its_figures_is_refused(path: str) -> None:
    assert faults(without(path))[0].startswith(f"params.yaml: policy.{path} is missing")


def test_a_mistyped_key_names_the_nearest_valid_one() -> None:
    policy = changed("skills.json.margins", 0.1)
    assert faults(policy) == [
        "params.yaml: policy.skills.json.margins is not a key of params.yaml: policy.skills.json. "
        "Did you mean margin?"
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("alpha", 0),
        ("alpha", 0.5),
        ("alpha", True),
        ("alpha", "5 %"),
        ("alpha", float("nan")),
        ("skills.json.margin", -0.01),
        ("skills.json.margin", 1),
        ("skills.json.margin", 5),
        ("skills.json.margin", 10**400),
        ("skills.tone.floor", 5.5),
        ("skills.json.floor", None),
        ("skills.json.range", [1, 0]),
        ("skills.json.range", [0]),
        ("skills.json.range", [0, float("inf")]),
        ("skills.json.direction", "up"),
        ("skills.json.metric", ""),
        ("skills.json", None),
        ("skills", []),
        ("latency.max_ratio", 0),
        ("latency.metric", "mean"),
        ("waivers", {"check": "json"}),
    ],
)
def test_a_figure_out_of_range_is_refused_where_it_stands(path: str, value: Any) -> None:
    assert any(
        fault.startswith(f"params.yaml: policy.{path}") for fault in faults(changed(path, value))
    )


def test_a_margin_in_points_is_told_how_to_write_it() -> None:
    assert faults(changed("skills.json.margin", 5)) == [
        "params.yaml: policy.skills.json.margin is 5; it must be a number, 0 or more and below 1 (the "
        "width of range): how much worse than the reference is still good enough, in the metric's "
        "units; 5 points of a hundred are 0.05."
    ]


def test_all_faults_are_reported_together() -> None:
    policy = changed("alpha", 2)
    policy["skills"]["json"]["margin"] = -1
    policy["safety"]["refusal"]["flor"] = 1
    assert len(faults(policy)) == 3


def test_a_name_stands_for_one_rule_only() -> None:
    policy = changed("safety.json", POLICY["safety"]["refusal"])
    assert "both in skills and in safety" in faults(policy)[0]
    assert (
        "name of the latency check"
        in faults(changed("skills.latency", POLICY["skills"]["json"]))[0]
    )


DIGEST = "017c7aa80ffca7949c7df7e17113d399bd985cb1f8c185250e87f5cb73e952bc"
WAIVER = {"check": "tone", "name": "Ann Lee", "reason": "new brand voice", "expires": "2026-12-31"}


def test_a_policy_knows_the_waiver_of_a_check_while_it_holds() -> None:
    policy = Policy.parse(changed("waivers", [WAIVER]))
    assert policy.waiver("tone", date(2026, 12, 31)) is not None
    assert policy.waiver("tone", date(2027, 1, 1)) is None
    assert policy.waiver("json", date(2026, 12, 31)) is None


def test_a_faulty_waiver_is_reported_with_the_other_faults() -> None:
    policy = changed("waivers", [{**WAIVER, "reason": ""}])
    policy["alpha"] = 2
    assert [fault.split(" is ")[0] for fault in faults(policy)] == [
        "params.yaml: policy.alpha",
        "params.yaml: policy.waivers[1].reason",
    ]


def test_a_safety_veto_cannot_be_waived() -> None:
    (fault,) = faults(changed("waivers", [{**WAIVER, "check": "refusal"}]))
    assert fault == (
        "params.yaml: policy.waivers: 'refusal' is a safety suite, which is a veto; a veto cannot be "
        "waived. Remove the waiver."
    )


def test_what_is_fixed_is_all_but_the_waivers() -> None:
    plain, waived = Policy.parse(POLICY), Policy.parse(changed("waivers", [WAIVER]))
    assert waived.fixed_digest == plain.fixed_digest == plain.digest != waived.digest
    assert Policy.parse(changed("skills.json.margin", 0.06)).fixed_digest != plain.fixed_digest


def test_new_keys_change_no_digest_of_a_policy_that_does_not_use_them() -> None:
    """Digests stand in releases: that of a policy must stay what it was when it was written."""
    assert Policy.parse(POLICY).digest == DIGEST


def test_a_name_with_brackets_is_refused_for_they_mark_slices() -> None:
    policy = changed("skills.json[language=de]", POLICY["skills"]["json"])
    assert faults(policy) == [
        "params.yaml: policy: 'json[language=de]' holds a bracket, which marks slices: "
        "«json[language=de]». Rename it."
    ]


def test_a_rule_names_all_that_it_compares_with() -> None:
    rule = Policy.parse(changed("skills.json.also", {"champion": {"margin": 0.1}})).rules[0]
    assert rule.references == ("best-expert", "champion")


def test_a_check_is_waived_once() -> None:
    assert "waived 2 times" in faults(changed("waivers", [WAIVER, WAIVER]))[0]
