"""Sealed golden sets: another one is not judged on, and one that is used up asks for a fresh one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from gate_cases import POLICY, everywhere, reason, verdict, with_task

from gates import Policy, Verdict
from pipeline.errors import InputError

GOLDEN = "a" * 64


def sealed(**seal: Any) -> dict[str, Any]:
    policy = copy.deepcopy(POLICY)
    policy["sealed"] = {"json": {"golden": GOLDEN, **seal}}
    return policy


def judged(policy: dict[str, Any], golden: str = GOLDEN, **more: Any) -> Verdict:
    return verdict(policy=policy, swap=everywhere(with_task("json", golden_digest=golden)), **more)


def test_the_golden_set_that_the_policy_was_written_for_is_judged_on() -> None:
    assert judged(sealed()).outcome == "promote"


@pytest.mark.parametrize("golden", ["b" * 64, ""])
def test_another_golden_set_cannot_be_judged_on(golden: str) -> None:
    found = judged(sealed(), golden)
    assert found.outcome == "cannot judge"
    shown = f"{golden[:12]}…" if golden else "unknown"
    assert found.reasons[0].text == (
        "json: cannot be judged, because its golden set is sealed as aaaaaaaaaaaa… in the policy, "
        f"and the scores are of one whose digest is {shown}. Restore the golden set, or seal the "
        "new one in the policy."
    )


def test_a_broken_seal_cannot_be_waived() -> None:
    waiver = {"check": "json", "name": "Ann Lee", "reason": "x", "expires": "2026-06-30"}
    assert judged({**sealed(), "waivers": [waiver]}, "b" * 64).outcome == "cannot judge"


@pytest.mark.parametrize(("count", "noted"), [(0, False), (20, False), (21, True)])
def test_after_the_stated_number_of_candidates_the_gate_asks_for_fresh_examples(
    count: int, noted: bool
) -> None:
    found = judged(sealed(uses=20), uses={GOLDEN: count, "b" * 64: 99})
    assert found.outcome == "promote"
    assert bool(found.notes) == noted
    assert found.inputs["merged"]["uses"] == {"json": count}
    if noted:
        assert found.notes == (
            "json: 21 candidates were judged on its golden set, and the policy allows 20; the more "
            "are tried, the likelier one passes by luck. Write fresh examples, and seal them.",
        )


def test_a_set_that_is_used_up_blocks_where_the_policy_says_so() -> None:
    policy = sealed(uses=20, when_used_up="block")
    assert judged(policy, uses={GOLDEN: 20}).outcome == "promote"
    found = judged(policy, uses={GOLDEN: 21})
    assert found.outcome == "cannot judge"
    assert "21 candidates were judged on its golden set" in reason(found, "json").text


def test_a_set_that_nobody_counted_on_yet_is_fresh() -> None:
    assert judged(sealed(uses=1, when_used_up="block"), uses={}).outcome == "promote"


def test_where_no_ledger_is_kept_a_limit_of_uses_does_not_pass_in_silence() -> None:
    found = judged(sealed(uses=20))
    assert "how many candidates were judged on its golden set is not known" in found.notes[0]
    assert judged(sealed(uses=20, when_used_up="block")).outcome == "cannot judge"
    assert judged(sealed()).notes == ()


def test_the_seal_is_part_of_the_policy_that_was_fixed() -> None:
    digests = {Policy.parse(p).fixed_digest for p in (POLICY, sealed(), sealed(uses=3))}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"jsno": {"golden": GOLDEN}}, "sealed names 'jsno', which is no skill or safety suite"),
        ({"json": {}}, "sealed.json.golden is missing; it must be the SHA-256"),
        ({"json": {"golden": "A" * 64}}, "sealed.json.golden is"),
        ({"json": {"golden": "a" * 63}}, "64 hexadecimal digits"),
        ({"json": {"golden": GOLDEN, "uses": 0}}, "sealed.json.uses is 0"),
        ({"json": {"golden": GOLDEN, "uses": True}}, "sealed.json.uses is True"),
        ({"json": {"golden": GOLDEN, "when_used_up": "block"}}, "when_used_up needs `uses`"),
        ({"json": {"golden": GOLDEN, "uses": 1, "when_used_up": "stop"}}, "note or block"),
        ({}, "sealed is {}; it must be a mapping"),
        ({"json": GOLDEN}, "sealed.json is a str; it must be a mapping"),
    ],
)
def test_a_faulty_seal_is_refused_where_it_stands(value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Policy.parse({**POLICY, "sealed": value})
    assert words in str(caught.value)
