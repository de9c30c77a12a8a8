"""A skill for which nothing has changed is not evaluated again, and nothing shows that it was not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate import Settings, SkillSpec, evaluate, reuse, runner
from pipeline.evaluate.backend import is_known_by_digest
from pipeline.evaluate.reuse import Key, SkillResult, Store, skill_key
from pipeline.evaluate.tasks import SkillTask
from pipeline.facts import Evaluation, Score, TaskFacts

SETTINGS = Settings(batch_size=4, max_new_tokens=6, system="order yes", seed=7)
RESULT = SkillResult(
    facts=TaskFacts("words", "task", "golden", 1),
    prompts={"words": "prompts"},
    scores=(Score("words", "exact", "one", "row", 0.1 + 0.2, (("language", "de"),)),),
    answers=({"skill": "words", "sample_id": "one", "answer": "a\u2028b «é»"},),
)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The skills that are really evaluated, in order."""
    names: list[str] = []
    score = runner._score

    def counted(lm: Any, task: SkillTask, spec: SkillSpec, settings: Settings) -> SkillResult:
        names.append(task.skill)
        return score(lm, task, spec, settings)

    monkeypatch.setattr(runner, "_score", counted)
    return names


@pytest.fixture
def skills(task: Path, golden: Path, rows: Any, write_rows: Any) -> dict[str, SkillSpec]:
    """The skills «words» and «more»: the same task over two golden sets."""
    more = [{**row, "id": f"more-{row['id']}", "language": "de"} for row in rows[:5]]
    other = write_rows(golden.with_name("more.jsonl"), more)
    return {
        "words": SkillSpec(str(task), golden, ("length", "keys")),
        "more": SkillSpec(str(task), other, ("length",), ("language",)),
    }


@pytest.fixture
def run(
    model: Path, skills: dict[str, SkillSpec], tmp_path: Path
) -> Callable[..., tuple[Evaluation, dict[str, bytes], Store]]:
    """Evaluate; gives the evaluation, the bytes of its files, and the store. Keywords change one thing."""

    def run(**changes: Any) -> tuple[Evaluation, dict[str, bytes], Store]:
        store = Store(tmp_path / "kept")
        arguments: dict[str, Any] = {
            "variant": "base",
            "model": str(model),
            "adapter": None,
            "model_digest": "digest",
            "skills": skills,
            "settings": SETTINGS,
            "out": tmp_path / "out",
            "reference": "acme/base",
            "store": store,
            **changes,
        }
        out = arguments["out"]
        shutil.rmtree(out, ignore_errors=True)
        evaluation = evaluate(arguments.pop("variant"), arguments.pop("model"), **arguments)
        return evaluation, {path.name: path.read_bytes() for path in out.iterdir()}, store

    return run


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "kept").glob("*/result.json"))


def test_a_second_evaluation_reads_no_model_and_writes_the_same_bytes(
    run: Any, evaluated: list[str]
) -> None:
    fresh = run(store=None)[1]
    first, second = run(), run(model="no such folder")
    assert evaluated == ["words", "more"] * 2
    assert fresh == first[1] == second[1]
    assert first[0] == second[0]
    assert second[2].reused == ["words", "more"]
    assert not second[2].notes


def test_only_the_skill_whose_golden_set_changed_is_evaluated_again(
    run: Any, evaluated: list[str], skills: dict[str, SkillSpec], rows: Any, write_rows: Any
) -> None:
    before = run()[1]
    write_rows(skills["words"].golden, rows[:4])
    del evaluated[:]
    mixed = run()[1]
    assert evaluated == ["words"]
    assert mixed == run(store=None)[1] != before


def test_a_skill_scores_the_same_beside_any_other(run: Any, skills: dict[str, SkillSpec]) -> None:
    both = run(store=None)[1]["base.answers.jsonl"]
    alone = [
        run(store=None, skills={name: skills[name]})[1]["base.answers.jsonl"] for name in skills
    ]
    assert b"".join(alone) == both


def test_another_variant_of_the_same_bytes_is_not_evaluated_again(
    run: Any, evaluated: list[str]
) -> None:
    run()
    run(variant="plain")
    assert evaluated == ["words", "more"]


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 3},
        {"max_new_tokens": 5},
        {"system": ""},
        {"seed": 8},
        {"limit": 3},
        {"model_args": {"dtype": "bfloat16"}},
    ],
    ids=str,
)
def test_another_setting_evaluates_every_skill_again(
    run: Any, evaluated: list[str], change: dict[str, Any]
) -> None:
    run()
    run(settings=replace(SETTINGS, **change))
    assert evaluated == ["words", "more"] * 2


def test_another_model_evaluates_every_skill_again(run: Any, evaluated: list[str]) -> None:
    run()
    run(model_digest="another")
    assert evaluated == ["words", "more"] * 2


def test_another_environment_evaluates_every_skill_again(
    run: Any, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(runner, "surroundings", lambda: {"packages": "others"})
    run()
    assert evaluated == ["words", "more"] * 2


def test_changed_metric_code_evaluates_its_skills_again(
    run: Any, evaluated: list[str], task: Path
) -> None:
    run()
    code = task.parent / "metrics.py"
    code.write_text(code.read_text() + "# changed\n")
    run()
    assert evaluated == ["words", "more"] * 2


@pytest.mark.parametrize("change", [{"metrics": ("keys",)}, {"attributes": ("id",)}], ids=str)
def test_other_metrics_or_attributes_evaluate_their_skill_again(
    run: Any, evaluated: list[str], skills: dict[str, SkillSpec], change: dict[str, Any]
) -> None:
    run()
    del evaluated[:]
    run(skills={**skills, "words": replace(skills["words"], **change)})
    assert evaluated == ["words"]


def test_a_skill_of_another_name_is_another(
    run: Any, evaluated: list[str], skills: dict[str, SkillSpec]
) -> None:
    run()
    del evaluated[:]
    run(skills={"renamed": skills["words"], "more": skills["more"]})
    assert evaluated == ["renamed"]


def test_a_failed_evaluation_goes_on_at_the_skill_that_failed(
    run: Any, evaluated: list[str], skills: dict[str, SkillSpec], task: Path
) -> None:
    faulty = shutil.copytree(task.parent, task.parent.with_name("faulty"))
    (faulty / "metrics.py").write_text("def process_results(doc, results):\n    return 1 / 0\n")
    broken = {**skills, "more": replace(skills["more"], task=str(faulty / task.name))}
    with pytest.raises(InputError, match="process_results failed"):
        run(skills=broken)
    del evaluated[:]
    run()
    assert evaluated == ["more"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _raise_a_score(path: Path) -> None:
    value = json.loads(path.read_text())
    value["result"]["scores"][0][3] += 1
    path.write_text(json.dumps(value))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _nest(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def _list(path: Path) -> None:
    path.write_text("[]")


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [_cut, _raise_a_score, _empty, _nest, _list, _binary, _folder, _pipe],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_entry_is_noted_and_kept_anew(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store, key = Store(tmp_path / "kept"), Key({"model": "digest"})
    store.write(key, RESULT)
    (path,) = entries(tmp_path)
    damage(path)
    assert store.read(key) is None
    (note,) = store.notes
    assert f"{path}: does not read back (" in note
    store.write(key, RESULT)
    assert store.read(key) == RESULT
    assert store.notes == [note]


def test_a_damaged_entry_changes_no_byte_of_the_evaluation(run: Any, tmp_path: Path) -> None:
    before = run()[1]
    for path in entries(tmp_path):
        _raise_a_score(path)
    _, after, store = run()
    assert after == before
    assert len(store.notes) == 2
    assert not run(model="no such folder")[2].notes


def test_an_entry_under_another_key_is_not_taken(tmp_path: Path) -> None:
    store, key, other = Store(tmp_path / "kept"), Key({"model": "a"}), Key({"model": "b"})
    store.write(key, RESULT)
    shutil.copytree(store.folder / key.name, store.folder / other.name)
    assert store.read(other) is None
    assert "it is of another key" in store.notes[0]
    assert store.read(key) == RESULT


def test_a_store_that_cannot_be_written_costs_no_evaluation(run: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file in its place")
    evaluation, _, store = run()
    assert evaluation.tasks["words"].samples == 6
    assert len(store.notes) == 2
    assert all("not kept" in note for note in store.notes)


def _filled(tmp_path: Path, **bounds: int) -> tuple[Store, list[Key]]:
    store = Store(tmp_path / "kept", **bounds)
    keys = [Key({"number": number}) for number in range(4)]
    for age, key in enumerate(keys):
        store.write(key, RESULT)
        os.utime(store.folder / key.name / "result.json", (1_000 + age, 1_000 + age))
    return store, keys


def _left(store: Store, keys: list[Key]) -> list[int]:
    return [n for n, key in enumerate(keys) if (store.folder / key.name).exists()]


def test_entries_used_longest_ago_are_pruned_first(tmp_path: Path) -> None:
    store, keys = _filled(tmp_path, max_entries=2)
    assert store.read(keys[0]) == RESULT
    store.prune()
    assert _left(store, keys) == [0, 3]


def test_entries_are_pruned_to_the_bytes_allowed(tmp_path: Path) -> None:
    store, keys = _filled(tmp_path)
    store.max_bytes = 3 * (store.folder / keys[0].name / "result.json").stat().st_size
    store.prune()
    assert _left(store, keys) == [1, 2, 3]


def test_pruning_leaves_alone_what_is_no_entry(tmp_path: Path) -> None:
    store, keys = _filled(tmp_path, max_entries=0)
    (store.folder / "notes").mkdir()
    (store.folder / ("a" * 64)).symlink_to(tmp_path)
    store.prune()
    assert _left(store, keys) == []
    assert sorted(path.name for path in store.folder.iterdir()) == ["a" * 64, "notes"]


@pytest.mark.parametrize(
    ("backend", "arguments", "known"),
    [
        ("hf", {}, True),
        ("hf", {"dtype": "bfloat16", "max_length": 512}, True),
        ("vllm", {"tensor_parallel_size": 2, "enforce_eager": True}, True),
        ("hf", {"tokenizer": "acme/tokenizer"}, False),
        ("hf", {"delta": "weights"}, False),
        ("hf", {"chat_template_args": {"enable_thinking": False}}, False),
        ("local-chat-completions", {"model": "{variant}"}, False),
    ],
)
def test_only_what_the_digest_of_the_folder_covers_is_kept(
    backend: str, arguments: dict[str, Any], known: bool
) -> None:
    assert is_known_by_digest(backend, arguments) is known


def test_a_model_behind_a_tokenizer_of_its_own_is_evaluated_every_time(
    run: Any, evaluated: list[str], model: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        run(settings=replace(SETTINGS, model_args={"tokenizer": str(model)}))
    assert evaluated == ["words", "more"] * 2
    assert not entries(tmp_path)


def _task(rows: tuple[dict[str, Any], ...] = (), **parts: Any) -> SkillTask:
    return SkillTask("s", "name", "digest", "golden" if rows else "", rows, parts)


def _part(docs: list[Any], shots: int = 0, examples: list[Any] | None = None) -> Any:
    config = {"num_fewshot": shots}
    return SimpleNamespace(
        eval_docs=docs, fewshot_docs=lambda: examples or [], get_config=config.get
    )


SPEC = SkillSpec("task", None, ("exact",))


def test_rows_for_a_judge_model_are_judged_every_time() -> None:
    assert skill_key(_task(({"id": "a"},)), SPEC, {}) is not None
    judged = ({"id": "a"}, {"id": "b", "judge": {"model": "guard"}})
    assert skill_key(_task(judged), SPEC, {}) is None


def test_the_key_of_a_task_with_its_own_data_covers_its_documents_and_examples() -> None:
    keys = [
        skill_key(_task(part=part), SPEC, {})
        for part in (
            _part([{"q": 1}]),
            _part([{"q": 2}]),
            _part([{"q": 1}], 1, [{"q": 3}]),
            _part([{"q": 1}], 1, [{"q": 4}]),
        )
    ]
    assert len({key.name for key in keys if key}) == 4
    assert skill_key(_task(part=_part([{"image": object()}])), SPEC, {}) is None


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    store, key = Store(tmp_path / "kept"), Key({"model": "digest"})
    assert store.read(key) is None
    store.write(key, RESULT)
    assert store.read(key) == RESULT
    assert not list(tmp_path.rglob("*.part"))


def test_the_surroundings_cover_the_code_the_packages_and_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from pipeline.evaluate import runtime

    before = runtime.surroundings()
    assert before == runtime.surroundings()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 63)
    monkeypatch.setattr(runtime, "distributions", list)
    monkeypatch.setattr(runtime, "code_digest_of", lambda *_: "another")
    after = runtime.surroundings()
    assert {k for k in before if before[k] != after[k]} == {"threads", "packages", "code"}


def test_the_bounds_of_the_store_are_those_that_are_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "evaluation.md"
    text = page.read_text(encoding="utf-8")
    assert f"{reuse.MAX_ENTRIES:,} entries" in text
    assert f"{reuse.MAX_BYTES >> 30} GiB" in text
