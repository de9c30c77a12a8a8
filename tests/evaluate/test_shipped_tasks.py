"""A task of lm-eval's own is scored over its own data, by log-likelihood as well."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.reuse import Store


@pytest.fixture
def arc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_rows: Any) -> str:
    """A multiple-choice task in place of lm-eval's 14,000; the name to ask for."""
    import lm_eval.tasks

    rows = [{"question": "late order", "choices": ["yes", "no"], "gold": i % 2} for i in range(4)]
    data = write_rows(tmp_path / "arc.jsonl", rows)
    (tmp_path / "arc.yaml").write_text(
        f"""
task: arc_tiny
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {tmp_path / "cache"}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    )
    few = functools.partial(
        lm_eval.tasks.TaskManager, include_path=str(tmp_path), include_defaults=False
    )
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)
    return "arc_tiny"


def test_a_choice_between_answers_is_scored_per_document(
    arc: str, model: Path, tmp_path: Path
) -> None:
    evaluation = evaluate(
        "base",
        str(model),
        adapter=None,
        model_digest="d",
        skills={"general": SkillSpec(arc, None, ("acc",))},
        settings=Settings(max_new_tokens=6),
        out=tmp_path / "out",
    )
    scores = [s.score for s in evaluation.scores]
    # The question is always the same, so the model always chooses the same answer.
    assert sorted(scores) == [0, 0, 1, 1]
    assert evaluation.scores[0].sample_id == "general/arc_tiny:000000"
    assert evaluation.tasks["general"].golden_digest == ""


def test_a_task_of_lm_evals_own_is_evaluated_again_only_when_its_documents_change(
    arc: str, model: Path, tmp_path: Path
) -> None:
    def reused(name: str) -> list[str]:
        store = Store(tmp_path / "kept")
        evaluate(
            "base",
            str(model),
            adapter=None,
            model_digest="d",
            skills={"general": SkillSpec(arc, None, ("acc",))},
            settings=Settings(max_new_tokens=6),
            out=tmp_path / name,
            store=store,
        )
        return store.reused

    assert reused("one") == []
    assert reused("two") == ["general"]
    assert (tmp_path / "one/base.json").read_bytes() == (tmp_path / "two/base.json").read_bytes()
    data = tmp_path / "arc.jsonl"
    data.write_text(data.read_text().replace("late order", "order"))
    assert reused("three") == []


def test_a_task_that_states_no_length_of_its_answers_is_scored(
    arc: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "arc.yaml").write_text(
        f"""
task: arc_tiny
output_type: generate_until
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path}/arc.jsonl}}, cache_dir: {tmp_path / "cache"}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "yes"
generation_kwargs: {{until: ['yes', 'no']}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
    )
    evaluation = evaluate(
        "base",
        str(model),
        adapter=None,
        model_digest="d",
        skills={"general": SkillSpec(arc, None, ("exact_match",))},
        settings=Settings(max_new_tokens=6, model_args={"max_length": 400}),
        out=tmp_path / "out",
    )
    assert [s.score for s in evaluation.scores] == [0] * 4
