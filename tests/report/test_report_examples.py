"""Which examples are shown: what the candidate newly fails, the worst first, few, and cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rendered import Read, row

from pipeline.errors import CorruptArtifactError
from pipeline.facts import Evaluation, Score, write_evaluation, write_json, write_text
from pipeline.params import EvaluateParams, Params, QuantizeParams, Skill
from pipeline.report import examples_of, failed_examples, render_report


def _evaluation(variant: str, **skills: list[float]) -> Evaluation:
    scores = tuple(
        Score(skill, "exact", f"{skill}-{n}", f"row {n}", score)
        for skill, values in skills.items()
        for n, score in enumerate(values)
    )
    return Evaluation(variant, "models/x", "d" * 64, "lm-eval", {}, {}, scores)


def _found(ours: list[float], theirs: list[float], **changes: Any) -> dict[str, Any]:
    """The one set of a verdict with one row."""
    evaluations = {
        "merged": _evaluation("merged", json=ours),
        "json": _evaluation("json", json=theirs),
    }
    rows = [row("json", "merged", **changes)]
    (one,) = failed_examples(evaluations, {}, {}, {"rows": rows})["sets"]
    return dict(one)


def _ids(one: dict[str, Any]) -> list[str]:
    return [example["id"] for example in one["examples"]]


def test_only_what_the_reference_does_better_is_newly_failed() -> None:
    one = _found([1, 0, 0, 1], [1, 1, 0, 0])
    assert _ids(one) == ["json-1"]
    assert (one["failed"], one["gained"], one["samples"]) == (1, 1, 4)


def test_the_largest_loss_comes_first_then_the_order_of_the_golden_set() -> None:
    assert _ids(_found([3, 1, 3, 5], [5, 5, 5, 5], high=5.0)) == ["json-1", "json-0", "json-2"]


def test_where_lower_is_better_a_higher_score_is_the_failure() -> None:
    assert _ids(_found([0.2, 0.9], [0.5, 0.5], direction="lower")) == ["json-1"]


def test_at_most_five_are_kept_and_all_are_counted() -> None:
    one = _found([0] * 12, [1] * 12)
    assert _ids(one) == [f"json-{n}" for n in range(5)]
    assert one["failed"] == 12


def test_a_safety_failure_counts_whatever_the_reference_did() -> None:
    one = _found([0, 1, 0], [0, 1, 1], kind="safety")
    assert _ids(one) == ["json-2", "json-0"]
    assert one["safety"] is True
    lower = _found([0.3, 0.0], [0.3, 0.0], kind="safety", direction="lower")
    assert _ids(lower) == ["json-0"]


def test_slices_are_not_told_twice() -> None:
    evaluations = {name: _evaluation(name, json=[1.0]) for name in ("merged", "json")}
    rows = [row("json", "merged"), row("json[language=de]", "merged", rule="json")]
    assert len(failed_examples(evaluations, {}, {}, {"rows": rows})["sets"]) == 1


def test_a_row_without_a_reference_gives_no_examples() -> None:
    evaluations = {"merged": _evaluation("merged", json=[0.0])}
    for rows in ([row("json", "merged")], [row("json", "merged", reference="")]):
        assert failed_examples(evaluations, {}, {}, {"rows": rows})["sets"] == []
    assert failed_examples({}, {}, {}, {})["sets"] == []


def test_prompt_expected_answers_and_fields_stand_side_by_side() -> None:
    evaluations = {"merged": _evaluation("merged", json=[0]), "json": _evaluation("json", json=[1])}
    answers = {"merged": {("json", "json-0"): "no"}, "json": {("json", "json-0"): "yes"}}
    golden = {
        "json": {"json-0": {"id": "json-0", "prompt": "Is it?", "target": {"b": 1, "a": "é"}}}
    }
    golden["json"]["json-0"] |= {"category": "x", "level": 3}
    found = failed_examples(evaluations, answers, golden, {"rows": [row("json", "merged")]})
    assert found["sets"][0]["examples"] == [
        {
            "id": "json-0",
            "candidate_score": 0,
            "reference_score": 1,
            "prompt": "Is it?",
            "expected": '{"a": "é", "b": 1}',
            "candidate_answer": "no",
            "reference_answer": "yes",
            "about": {"category": "x", "level": "3"},
            "cut": [],
        }
    ]


def test_long_texts_are_cut_and_it_is_said() -> None:
    evaluations = {"merged": _evaluation("merged", json=[0]), "json": _evaluation("json", json=[1])}
    answers = {"merged": {("json", "json-0"): "x" * 2001}, "json": {("json", "json-0"): "y" * 2000}}
    found = failed_examples(evaluations, answers, {}, {"rows": [row("json", "merged")]})
    (example,) = found["sets"][0]["examples"]
    assert example["candidate_answer"] == "x" * 2000
    assert example["reference_answer"] == "y" * 2000
    assert example["cut"] == ["candidate_answer"]
    assert example["prompt"] is None


def test_examples_are_json_values() -> None:
    evaluations = {"merged": _evaluation("merged", json=[0]), "json": _evaluation("json", json=[1])}
    found = failed_examples(evaluations, {}, {}, {"rows": [row("json", "merged")]})
    assert json.loads(json.dumps(found)) == found


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores, answers and a golden set of one skill, as the stages leave them."""
    monkeypatch.chdir(tmp_path)
    ours = tmp_path / "build" / "tuned"
    write_evaluation(ours / "evals", _evaluation("merged", json=[0, 1]))
    write_evaluation(tmp_path / "build" / "evals", _evaluation("json", json=[1, 1]))
    for path, text in ((ours / "evals" / "merged", "ours"), (Path("build/evals/json"), "theirs")):
        answer = {"answer": f"{text}\u2028<b>", "sample_id": "json-0", "skill": "json"}
        write_text(
            path.with_suffix(".answers.jsonl"), json.dumps(answer, ensure_ascii=False) + "\n"
        )
    golden = {"id": "json-0", "prompt": "Is it?", "target": "yes"}
    write_text(tmp_path / "golden" / "test" / "json.jsonl", json.dumps(golden) + "\n")
    write_json(ours / "verdict.json", {"rows": [row("json", "merged")]})
    return tmp_path


def _params() -> Params:
    skill = Skill("json", "evals/json.yaml", ("exact",), Path("golden"))
    evaluate = EvaluateParams("hf", {}, 1, 8, 1, "", Path("golden"), None, {"json": skill})
    parts = dict.fromkeys(Params.__dataclass_fields__)
    quantize = QuantizeParams("W4A16", "gptq", "auto", 1)
    return Params(**{**parts, "evaluate": evaluate, "quantize": quantize})  # type: ignore[arg-type]


def test_the_workspace_gives_prompts_and_answers(workspace: Path) -> None:
    (one,) = examples_of(_params(), "tuned")["sets"]
    (example,) = one["examples"]
    assert example["prompt"] == "Is it?"
    assert example["candidate_answer"] == "ours\u2028<b>"
    assert example["reference_answer"] == "theirs\u2028<b>"
    page = Read(render_report({}, workspace, {"sets": [one]}))
    assert "ours⟨U+2028⟩<b>" in page.words


def test_without_answers_and_golden_set_the_scores_still_tell(workspace: Path) -> None:
    for path in workspace.rglob("*.answers.jsonl"):
        path.unlink()
    (workspace / "golden" / "test" / "json.jsonl").unlink()
    (one,) = examples_of(_params(), "tuned")["sets"]
    assert one["failed"] == 1
    assert one["examples"][0]["candidate_answer"] is None
    assert one["examples"][0]["prompt"] is None


def test_a_variant_that_was_skipped_gives_none(workspace: Path) -> None:
    write_json(workspace / "build" / "evals" / "json.json", {"skipped": "no champion"})
    assert examples_of(_params(), "tuned")["sets"] == []


@pytest.mark.parametrize("line", ["{", "[]", '{"skill": "json"}'])
def test_an_answer_that_does_not_read_is_named(workspace: Path, line: str) -> None:
    path = workspace / "build" / "evals" / "json.answers.jsonl"
    write_text(path, path.read_text(encoding="utf-8") + line + "\n")
    with pytest.raises(CorruptArtifactError, match=r"json\.answers\.jsonl:2: not an answer"):
        examples_of(_params(), "tuned")
