"""A task YAML is run over the golden set, its digest covers its code, and what cannot be scored whole is refused."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest

from pipeline.errors import EnvironmentFault, InputError
from pipeline.evaluate.tasks import SkillSpec, SkillTask, load_skills


def load(task: Path, golden: Path, skill: str = "words") -> SkillTask:
    (loaded,) = load_skills({skill: SkillSpec(str(task), golden, ("length",))}, 8)
    return loaded


def test_documents_are_the_golden_rows_as_written(task: Path, golden: Path) -> None:
    loaded = load(task, golden)
    assert list(loaded.parts["words"].eval_docs) == list(loaded.rows)


def test_answers_end_at_the_end_token_alone_unless_the_yaml_names_a_stop(
    task: Path, golden: Path
) -> None:
    assert load(task, golden).parts["words"].config.generation_kwargs == {
        "until": [],
        "do_sample": False,
        "max_gen_toks": 8,
    }
    task.write_text(task.read_text() + "generation_kwargs: {until: [late], max_gen_toks: 3}\n")
    stated = load(task, golden).parts["words"].config.generation_kwargs
    assert (stated["until"], stated["max_gen_toks"]) == (["late"], 3)


def test_two_skills_may_share_a_task(task: Path, golden: Path) -> None:
    spec = SkillSpec(str(task), golden, ("length",))
    loaded = load_skills({"one": spec, "two": spec}, 8)
    assert [list(skill.parts) for skill in loaded] == [["one"], ["two"]]


def test_task_digest_covers_yaml_includes_and_code_but_not_the_place(
    task: Path, golden: Path
) -> None:
    (task.parent / "common.yaml").write_text("repeats: 1\n")
    task.write_text("include: common.yaml\n" + task.read_text())
    digests = [load(task, golden).digest]
    moved = shutil.copytree(task.parent, task.parent.parent / "moved") / task.name
    assert load(moved, golden).digest == digests[0]
    for name in ("words.yaml", "common.yaml", "metrics.py"):
        path = task.parent / name
        path.write_text(path.read_text() + "# changed\n")
        digests.append(load(task, golden).digest)
    assert len(set(digests)) == 4


def test_golden_digest_is_of_the_file_read(task: Path, golden: Path) -> None:
    before = load(task, golden).golden_digest
    golden.write_text(golden.read_text().replace("refund", "return"))
    assert load(task, golden).golden_digest != before


def test_faults_of_all_skills_are_reported_together(task: Path, golden: Path) -> None:
    specs = {
        "one": SkillSpec("evals/none.yaml", golden, ("length",)),
        "two": SkillSpec(str(task), golden.with_name("none.jsonl"), ("length",)),
        "three": SkillSpec(str(task), golden, ()),
    }
    with pytest.raises(InputError) as raised:
        load_skills(specs, 8)
    lines = str(raised.value).splitlines()
    for word, line in zip(("none.yaml", "none.jsonl", "skills.three"), lines, strict=True):
        assert word in line


def test_no_skills_are_refused() -> None:
    with pytest.raises(InputError, match=r"evaluate.skills is empty"):
        load_skills({}, 8)


def test_shots_out_of_the_golden_set_are_refused(task: Path, golden: Path) -> None:
    task.write_text(task.read_text() + "num_fewshot: 2\n")
    with pytest.raises(InputError, match=r"num_fewshot is 2; it must be 0"):
        load(task, golden)


def test_a_task_that_drops_rows_is_refused(task: Path, golden: Path) -> None:
    code = task.parent / "metrics.py"
    code.write_text(
        code.read_text() + "\ndef drop(docs):\n    return type(docs)(d for d in docs[1:])\n"
    )
    task.write_text(task.read_text() + "process_docs: !function metrics.drop\n")
    with pytest.raises(InputError, match=r"keeps 5 of the 6 rows"):
        load(task, golden)


@pytest.mark.parametrize("text", ["- a list\n", "task: [unclosed\n", "doc_to_text: x\n"])
def test_what_is_no_task_is_refused(task: Path, golden: Path, text: str) -> None:
    task.write_text(text)
    with pytest.raises(InputError, match=r"not an lm-eval task"):
        load(task, golden)


def test_a_task_name_of_another_file_is_refused(task: Path, golden: Path) -> None:
    twin = task.with_name("zwin.yaml")
    twin.write_text(task.read_text())
    with pytest.raises(InputError, match=r"zwin.yaml: not an lm-eval task"):
        load(twin, golden)


def test_broken_metric_code_names_the_task_file(task: Path, golden: Path) -> None:
    (task.parent / "metrics.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(InputError, match=r"words.yaml: lm-eval cannot load it: .*nothing_of"):
        load(task, golden)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """lm-eval's own tasks, replaced by a folder that the test fills: its index takes 15 s."""
    import lm_eval.tasks

    folder = tmp_path / "shipped"
    folder.mkdir()
    few = functools.partial(
        lm_eval.tasks.TaskManager, include_path=str(folder), include_defaults=False
    )
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)
    return folder


def test_an_unknown_task_name_hints_at_the_nearest(shipped: Path) -> None:
    (shipped / "arc.yaml").write_text("task: arc_easy\n")
    with pytest.raises(InputError, match=r"'arc_esay', which lm-eval does not .*mean arc_easy"):
        load_skills({"general": SkillSpec("arc_esay", None, ("acc",))}, 8)


def test_data_out_of_reach_is_a_fault_of_the_environment(shipped: Path) -> None:
    (shipped / "arc.yaml").write_text(
        "task: arc_easy\ndataset_path: nobody/nothing\ntest_split: test\n"
    )
    with pytest.raises(EnvironmentFault, match=r"cannot be loaded.*Check the network"):
        load_skills({"general": SkillSpec("arc_easy", None, ("acc",))}, 8)
