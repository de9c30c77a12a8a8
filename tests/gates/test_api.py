"""`judge`: any scores by a policy, from files and from memory; what was not compared is said."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from gates import Policy, Verdict, judge
from pipeline.errors import InputError
from pipeline.facts import Evaluation, Score, TaskFacts, write_evaluation

ROOT = Path(__file__).parents[2]
N = 400
POLICY: dict[str, Any] = {
    "skills": {
        "json": {"metric": "exact", "reference": "best-expert", "margin": 0.05, "floor": 0.85}
    },
    "safety": {},
}
TWO: dict[str, Any] = {
    "skills": {
        **POLICY["skills"],
        "tone": {"metric": "rubric", "range": [0, 5], "reference": "base", "margin": 0.25, "floor": 0},
    },
    "safety": {"refusal": {"metric": "refused", "reference": "plain", "margin": 0.05, "floor": 0.5}},
}  # fmt: skip
LATENCY = {**POLICY, "latency": {"metric": "p95", "max_ratio": 1.5}}


def values(wrong: int = 20, first: int = 0) -> dict[str, float]:
    """Scores of N samples, of which `wrong` are 0, the first of them number `first`."""
    return {f"q{i}": float(not first <= i < first + wrong) for i in range(N)}


def rows(scores: Mapping[str, float], **more: Any) -> list[dict[str, Any]]:
    return [{"id": sample, "score": score, **more} for sample, score in scores.items()]


def written(folder: Path, name: str, lines: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def files(
    folder: Path, wrong: int, *, theirs: dict[str, Any] | None = None, **ours: Any
) -> tuple[Path, Path]:
    """Reference and candidate, the latter with `wrong` wrong answers, and more fields in the rows."""
    return (
        written(folder, "old.jsonl", rows(values(), **(ours if theirs is None else theirs))),
        written(folder, "new.jsonl", rows(values(wrong), **ours)),
    )


def scores(wrong: int = 20) -> list[Score]:
    return [Score("json", "exact", i, f"row {i}", value) for i, value in values(wrong).items()]


def evaluation(variant: str, wrong: int, **more: Any) -> Evaluation:
    facts = {
        "model": f"models/{variant}",
        "model_digest": f"digest of {variant}",
        "harness": "lm-eval 0.4.13",
        "settings": {"system": "", "limit": None},
        "tasks": {"json": TaskFacts("json", "task", "golden", N)},
        "scores": tuple(scores(wrong)),
    }
    return Evaluation(variant=variant, **{**facts, **more})


def notes(verdict: Verdict) -> str:
    return "\n".join(verdict.notes)


@pytest.mark.parametrize(
    ("wrong", "outcome"), [(20, "promote"), (24, "promote"), (35, "inconclusive"), (90, "reject")]
)
def test_the_outcome_is_what_the_scores_deserve(wrong: int, outcome: str, tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, wrong)
    assert judge(POLICY, reference, candidate).outcome == outcome
    assert judge(POLICY, scores(), scores(wrong)).outcome == outcome
    given = ({"json": {"exact": values(count)}} for count in (20, wrong))
    assert judge(POLICY, *given).outcome == outcome


def test_files_and_memory_give_the_same_figures(tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, 30)
    (row,) = judge(POLICY, reference, candidate).rows
    assert row == judge(POLICY, scores(), scores(30)).rows[0]
    assert (row.n, row.candidate_mean, row.reference_mean) == (N, 0.925, 0.95)


def test_a_policy_may_be_a_value_a_mapping_or_a_file_with_or_without_a_key(tmp_path: Path) -> None:
    plain, inside = tmp_path / "policy.yaml", tmp_path / "params.yaml"
    plain.write_text(yaml.safe_dump(POLICY))
    inside.write_text(yaml.safe_dump({"name": "x", "policy": POLICY}))
    found = [judge(p, scores(), scores()) for p in (POLICY, Policy.parse(POLICY), plain, str(inside))]  # fmt: skip
    assert len({json.dumps(verdict.to_json()) for verdict in found}) == 1
    assert found[0].policy_digest == Policy.parse(POLICY).digest


def test_a_policy_that_does_not_parse_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({**POLICY, "alhpa": 0.1}))
    with pytest.raises(InputError, match=r"policy\.yaml\.alhpa is not a key .* Did you mean alpha"):
        judge(path, scores(), scores())
    for content in ("", "[1]", "policy: 3"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"policy\.yaml"):
            judge(path, scores(), scores())


def test_one_reference_stands_for_every_name_in_the_policy() -> None:
    side = {
        "json": {"exact": values()},
        "tone": {"rubric": {i: 4.5 + (n % 3) / 10 for n, i in enumerate(values())}},
        "refusal": {"refused": values()},
    }
    verdict = judge(TWO, side, side)
    assert verdict.outcome == "promote"
    assert {row.reference for row in verdict.rows} == {"the reference"}
    assert verdict.policy_digest == Policy.parse(TWO).digest


def test_a_further_reference_is_given_by_its_name() -> None:
    policy = {
        **POLICY,
        "skills": {"json": {**POLICY["skills"]["json"], "also": {"plain": {"margin": 0.05}}}},
    }
    worse, better = ({"json": {"exact": values(wrong)}} for wrong in (60, 0))
    ours, theirs = ({"json": {"exact": values(20)}} for _ in range(2))
    assert judge(policy, theirs, ours).outcome == "cannot judge"
    assert judge(policy, theirs, ours, also={"plain": worse}).outcome == "promote"
    beaten = judge(policy, theirs, ours, also={"plain": better})
    assert beaten.reasons[0].check == "json[vs plain]"
    assert beaten.outcome == "inconclusive"
    with pytest.raises(
        InputError, match=r"plian is no reference of the policy\. Did you mean plain"
    ):
        judge(policy, theirs, ours, also={"plian": worse})


# What the sides do not state


def test_ids_alone_are_enough_and_the_verdict_says_so(tmp_path: Path) -> None:
    verdict = judge(POLICY, *files(tmp_path, 20))
    assert verdict.outcome == "promote"
    assert (
        "The samples of json were paired by their ids alone: new.jsonl and old.jsonl do not say "
        "what was asked. That both sides were asked the same questions was not checked."
    ) in verdict.notes
    assert "Harness, version and settings were not compared" in notes(verdict)


def test_digests_on_both_sides_are_compared(tmp_path: Path) -> None:
    same = judge(POLICY, *files(tmp_path, 20, digest="d"))
    assert same.outcome == "promote"
    assert "by their ids alone" not in notes(same)
    other = judge(POLICY, *files(tmp_path, 20, theirs={"digest": "e"}, digest="d"))
    assert other.outcome == "cannot judge"
    assert "asked different things" in other.reasons[0].text


def test_a_digest_on_one_side_only_is_no_comparison(tmp_path: Path) -> None:
    verdict = judge(POLICY, *files(tmp_path, 20, theirs={}, digest="d"))
    assert verdict.outcome == "promote"
    assert "paired by their ids alone: old.jsonl does not say what was asked" in notes(verdict)


def test_a_prompt_and_a_digest_cannot_be_compared_and_that_is_said(tmp_path: Path) -> None:
    verdict = judge(POLICY, *files(tmp_path, 20, theirs={"prompt": "?"}, digest="d"))
    assert "the sides do not say in the same way what was asked" in notes(verdict)


def test_evaluations_are_compared_in_everything(tmp_path: Path) -> None:
    given = evaluation("expert", 20), evaluation("merge", 21)
    for one in given:
        write_evaluation(tmp_path, one)
    stored = tmp_path / "expert.json", tmp_path / "merge.json"
    for verdict in (judge(POLICY, *given), judge(POLICY, *stored)):
        assert (verdict.outcome, verdict.notes) == ("promote", ())
        assert verdict.candidate_digests == {"candidate": "digest of merge"}
    again = judge(POLICY, evaluation("merge", 20), evaluation("merge", 20))
    assert "is the same model as the candidate" in again.reasons[0].text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"harness": "lm-eval 0.4.12"}, "its harness was"),
        ({"settings": {"system": "Be brief.", "limit": None}}, "its setting system was"),
        ({"tasks": {"json": TaskFacts("json", "task", "other", N)}}, "golden set's digest"),
        ({"tasks": {"json": TaskFacts("json", "other", "golden", N)}}, "task's digest"),
    ],
)
def test_evaluations_made_differently_cannot_be_judged(change: dict[str, Any], words: str) -> None:
    verdict = judge(POLICY, evaluation("x", 20, **change), evaluation("y", 20))
    assert verdict.outcome == "cannot judge"
    assert any(words in reason.text for reason in verdict.reasons)


def test_two_models_may_score_the_same_and_a_copy_is_pointed_out(tmp_path: Path) -> None:
    verdict = judge(POLICY, *files(tmp_path, 20))
    assert verdict.outcome == "promote"
    assert "new.jsonl and old.jsonl hold the same, byte for byte." in notes(verdict)
    assert "byte for byte" not in notes(judge(POLICY, *files(tmp_path, 21)))


def test_one_file_for_both_sides_is_refused(tmp_path: Path) -> None:
    path, _ = files(tmp_path, 20)
    with pytest.raises(InputError, match="is given as the reference and as the candidate"):
        judge(POLICY, path, tmp_path / "." / "old.jsonl")


# What cannot be judged


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5, 1.5, 10**400])
def test_a_score_that_is_none_cannot_be_judged(value: float) -> None:
    sick = {"json": {"exact": {**values(), "q7": value}}}
    for pair in (({"json": {"exact": values()}}, sick), (sick, {"json": {"exact": values()}})):
        verdict = judge(POLICY, *pair)
        assert verdict.outcome == "cannot judge"
        assert "q7" in verdict.reasons[0].text


def test_a_missing_sample_is_named(tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, 20)
    candidate.write_text("".join(candidate.read_text().splitlines(keepends=True)[:-1]))
    verdict = judge(POLICY, reference, candidate)
    assert verdict.outcome == "cannot judge"
    assert "new.jsonl lacks 1 sample of json: q399" in notes(verdict)


def test_a_doubled_sample_cannot_be_judged(tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, 20)
    candidate.write_text(candidate.read_text() + '{"id": "q3", "score": 1.0}\n')
    verdict = judge(POLICY, reference, candidate)
    assert verdict.outcome == "cannot judge"
    assert "more than one score for sample q3" in verdict.reasons[0].text


def test_a_skill_without_a_rule_cannot_be_judged(tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, 20)
    candidate.write_text(candidate.read_text() + '{"id": "a", "skill": "tone", "score": 1}\n')
    verdict = judge(POLICY, reference, candidate)
    assert verdict.outcome == "cannot judge"
    assert verdict.reasons[0].text.startswith("tone: was evaluated, but the policy does not say")


def test_nothing_at_all_cannot_be_judged() -> None:
    nothing: list[Mapping[str, Any] | list[Score]] = [{}, [], {"json": {}}, {"json": {"exact": {}}}]
    for side in nothing:
        assert judge(POLICY, side, side).outcome == "cannot judge"


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ([{"id": "a", "score": 1}], "is no Score. Pass a path, a sequence of Score"),
        ({"json": [1.0]}, r"json: \[1.0\] is no mapping. Pass skill -> metric -> {id: score}"),
        ({"json": {"exact": 1.0}}, "json, exact: 1.0 is no mapping"),
        ({"json": {"exact": {"a": "1"}}}, 'the score is "1"; it must be one number'),
        ({"json": {"exact": {None: 1}}}, "no field id or sample_id"),
    ],
)
def test_what_is_no_side_is_refused(side: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        judge(POLICY, scores(), side)


def test_latency_cannot_be_judged_by_scores_and_may_be_passed_over() -> None:
    verdict = judge(LATENCY, scores(), scores())
    assert verdict.outcome == "cannot judge"
    assert "scores say nothing of time" in verdict.reasons[0].text
    passed = judge(LATENCY, scores(), scores(), without_latency=True)
    assert passed.outcome == "promote"
    assert "latency check was passed over" in notes(passed)


def test_a_waiver_holds_until_its_day() -> None:
    waiver = {"check": "json", "name": "A. Person", "reason": "known", "expires": "2027-01-31"}
    policy = {**POLICY, "waivers": [waiver]}
    held = judge(policy, scores(), scores(90), today=date(2027, 1, 31))
    assert (held.outcome, len(held.waivers)) == ("promote", 1)
    assert judge(policy, scores(), scores(90), today=date(2027, 2, 1)).outcome == "cannot judge"
    for_time = {**LATENCY, "waivers": [{**waiver, "check": "latency"}]}
    waived = judge(for_time, scores(), scores(), today=date(2027, 1, 1))
    assert (waived.outcome, len(waived.waivers)) == ("promote", 1)
    assert Verdict.from_json(waived.to_json()) == waived


def test_names_must_be_of_the_policy_and_of_the_files(tmp_path: Path) -> None:
    pair = files(tmp_path, 20)
    with pytest.raises(
        InputError, match=r"jsno is no skill or safety suite of the policy\. Did you"
    ):
        judge(POLICY, *pair, skill="jsno")
    with pytest.raises(InputError, match="jsno is no skill"):
        judge(POLICY, *pair, tasks={"t": "jsno"})
    with pytest.raises(InputError, match="t is to stand for the skill json, but no file names it"):
        judge(POLICY, *pair, tasks={"t": "json"})


def test_a_verdict_reads_back_and_names_what_it_saw(tmp_path: Path) -> None:
    reference, candidate = files(tmp_path, 30)
    verdict = judge(POLICY, reference, candidate)
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert verdict.to_json() == judge(POLICY, reference, candidate).to_json()
    candidate.write_text(candidate.read_text().replace("q399", "q400"))
    assert judge(POLICY, reference, candidate).candidate_digests != verdict.candidate_digests


def test_the_collector_is_left_as_it_was(tmp_path: Path) -> None:
    assert gc.isenabled()
    judge(POLICY, *files(tmp_path, 20))
    assert gc.isenabled()
    with pytest.raises(InputError):
        judge(POLICY, tmp_path / "no.jsonl", tmp_path / "none.jsonl")
    assert gc.isenabled()


def test_the_example_of_the_documentation_hides_a_loss_that_a_slice_shows() -> None:
    folder = ROOT / "examples" / "gate"
    verdict = judge(folder / "policy.yaml", folder / "reference.jsonl", folder / "candidate.jsonl")
    assert {row.check: row.outcome for row in verdict.rows} == {
        "calls": "promote",
        "calls[language=de]": "reject",
        "calls[language=en]": "promote",
    }


CHAMPION = {"skills": {"json": {**POLICY["skills"]["json"], "reference": "champion", "floor": 0.1}},
            "safety": {}}  # fmt: skip


def test_the_candidate_cannot_stand_as_a_further_reference_to_itself(tmp_path: Path) -> None:
    old, new = files(tmp_path, 200)
    with pytest.raises(InputError, match="given as the reference and as the candidate"):
        judge(CHAMPION, old, new, also={"champion": new})


def test_a_reference_that_no_rule_would_look_at_is_refused(tmp_path: Path) -> None:
    old, new = files(tmp_path, 200)
    copy = written(tmp_path, "copy.jsonl", rows(values(200)))
    with pytest.raises(InputError, match="itself would not be looked at"):
        judge(CHAMPION, old, new, also={"champion": copy})


def test_a_file_with_a_policy_within_a_policy_is_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({**POLICY, "policy": POLICY}))
    old, new = files(tmp_path, 0)
    with pytest.raises(InputError, match="one of them would be ignored"):
        judge(path, old, new)


@pytest.mark.parametrize("wrong", [200, None])
def test_a_waiver_forgives_a_bad_result_and_not_a_missing_one(
    wrong: int | None, tmp_path: Path
) -> None:
    waiver = {"check": "json", "name": "A", "reason": "known", "expires": "2099-01-01"}
    policy = {**POLICY, "waivers": [waiver]}
    old, new = files(tmp_path, wrong or 0)
    if wrong is None:
        new = written(tmp_path, "new.jsonl", rows({q: float("nan") for q in values()}))
    outcome = judge(policy, old, new).outcome
    assert outcome == ("promote" if wrong else "cannot judge")
