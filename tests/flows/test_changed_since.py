"""`judge --since REV`: the candidates that a change touches, and why."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.changed import changed_since
from pipeline.errors import InputError
from pipeline.params import load_params

ROOT = Path(__file__).parents[2]
ALL = {"naive", "tuned"}
RECIPE = {
    "merge_method": "linear",
    "models": [{"model": "models/a", "parameters": {"weight": 1}}],
}


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose workspace is a folder below its top, all of it committed."""
    folder = tmp_path / "team"
    for name in ("models", "golden/test", "evals/json"):
        (folder / name).mkdir(parents=True)
    (folder / "golden/test/json.jsonl").write_text("{}\n")
    (folder / "evals/json/metrics.py").write_text("A = 1\n")
    monkeypatch.chdir(folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["candidates"] = {"naive": "naive.yaml", "tuned": "tuned.yaml"}
    params["evaluate"]["golden"], params["watch"] = "golden", "models"
    for name in ("naive", "tuned"):
        write(f"{name}.yaml", RECIPE)
    write("params.yaml", params)
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return folder


def write(name: str, content: Any) -> None:
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False))


def edit(change: Callable[[dict[str, Any]], object]) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    change(params)
    write("params.yaml", params)


def changed() -> dict[str, str]:
    return changed_since(load_params(), "HEAD")


def test_without_a_change_nothing_is_judged() -> None:
    assert changed() == {}


def test_a_candidate_that_is_added_is_judged_alone() -> None:
    edit(lambda params: params["candidates"].update(third="third.yaml"))
    write("third.yaml", RECIPE)
    assert changed() == {"third": "it is new"}


def test_a_recipe_that_differs_is_judged_alone() -> None:
    write("tuned.yaml", {**RECIPE, "dtype": "bfloat16"})
    assert changed() == {"tuned": "its recipe differs"}


def test_a_candidate_that_names_another_recipe_is_judged() -> None:
    write("other.yaml", {**RECIPE, "dtype": "bfloat16"})
    edit(lambda params: params["candidates"].update(tuned="other.yaml"))
    assert changed() == {"tuned": "its recipe differs"}


def test_a_recipe_that_only_moved_is_not_judged() -> None:
    Path("tuned.yaml").rename("moved.yaml")
    edit(lambda params: params["candidates"].update(tuned="moved.yaml"))
    assert changed() == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda params: params.update(release="naive"),
        lambda params: params["registry"].update(uri="http://localhost:5000"),
        lambda params: params["evaluate"].update(jobs=1),
        lambda params: params["evaluate"].update(limit=None),
        lambda params: params["experts"]["json"].update(domain="another"),
        lambda params: params["candidates"].pop("naive"),
    ],
)
def test_what_no_verdict_depends_on_judges_nobody(
    change: Callable[[dict[str, Any]], object],
) -> None:
    edit(change)
    assert changed() == {}


def test_a_comment_judges_nobody() -> None:
    for name in ("params.yaml", "tuned.yaml"):
        with Path(name).open("a") as file:
            file.write("# a comment\n")
    assert changed() == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda params: params.update(base="models/b"), "base differs"),
        (lambda params: params.update(seed=8), "seed differs"),
        (lambda params: params["evaluate"].update(system="Another."), "evaluate differs"),
        (lambda params: params["quantize"].update(scheme="W8A8"), "quantize differs"),
        (lambda params: params["policy"].update(alpha=0.01), "policy differs"),
        (lambda params: params["experts"].pop("tone"), "experts differs"),
    ],
)
def test_what_every_candidate_is_judged_by_judges_all(
    change: Callable[[dict[str, Any]], object], why: str
) -> None:
    edit(change)
    assert changed() == dict.fromkeys(("naive", "tuned"), why)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("golden/test/json.jsonl", "the golden sets differ"),
        ("golden.dvc", "the golden sets differ"),
        ("models/json-lora/adapter_model.safetensors", "the sources differ"),
        ("models.dvc", "the sources differ"),
        ("evals/json/metrics.py", "the task of json differs"),
    ],
)
def test_a_golden_set_a_source_or_a_task_that_differs_judges_all(file: str, why: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("changed\n")
    assert changed() == dict.fromkeys(("naive", "tuned"), why)


def test_parameters_that_could_not_be_read_then_judge_all() -> None:
    good = Path("params.yaml").read_text()
    Path("params.yaml").write_text("name: [\n")
    git("commit", "--all", "--quiet", "-m", "broken")
    Path("params.yaml").write_text(good)
    assert changed().keys() == ALL


def test_a_revision_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="not a revision"):
        changed_since(load_params(), "nonsense")
