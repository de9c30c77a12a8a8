"""What is refused before a release starts, within a second: keys, golden sets, packages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from golden_sets import SAMPLES, make_model_folders, row, write_golden_sets, write_rows

from flows.preflight import preflight
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped params.yaml and dvc.yaml, with the folders and files that they name."""
    for name in ("params.yaml", "dvc.yaml", "evals", "recipes"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("examples/harbor/models", "examples/harbor/data", ".dvc"):
        (tmp_path / name).mkdir(parents=True)
    make_model_folders(tmp_path)
    write_golden_sets(tmp_path)
    monkeypatch.setattr("flows.preflight._warn", lambda _: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drop(workspace: Path, *keys: str) -> None:
    """Take a key out of params.yaml."""
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    inner = params
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def test_the_shipped_parameters_pass(workspace: Path) -> None:
    assert preflight("")[1] == "tuned"


@pytest.mark.parametrize("keys", [("seed",), ("policy", "waivers"), ("evaluate", "system")])
def test_an_optional_key_may_be_left_out_of_a_release(
    workspace: Path, keys: tuple[str, ...]
) -> None:
    drop(workspace, *keys)
    assert preflight("")[1] == "tuned"


@pytest.mark.parametrize("keys", [("watch",), ("experts",)])
def test_a_key_that_dvc_reads_by_itself_is_required_for_a_release(
    workspace: Path, keys: tuple[str, ...]
) -> None:
    drop(workspace, *keys)
    with pytest.raises(InputError, match=rf"params\.yaml: {'.'.join(keys)} is missing"):
        preflight("")


def golden(workspace: Path, rows: list[dict[str, object]]) -> str:
    """What preflight says of other rows in the test split of json."""
    write_rows(workspace / "examples/harbor/data/test/json.jsonl", rows)
    with pytest.raises(InputError) as refused:
        preflight("")
    return str(refused.value)


def good(count: int = SAMPLES) -> list[dict[str, object]]:
    return [row("q", number) for number in range(count)]


@pytest.mark.parametrize("field", ["id", "prompt", "target", "category"])
def test_golden_rows_without_a_field_are_refused_with_the_first_line(
    workspace: Path, field: str
) -> None:
    rows = good()
    for one in rows[2:]:
        del one[field]
    said = golden(workspace, rows)
    assert f"json.jsonl: {field} is not a text" in said
    assert "in 98 rows, first in line 3" in said


def test_fewer_samples_than_show_anything_are_refused(workspace: Path) -> None:
    assert "json.jsonl: 99 samples, and a golden set needs 100 or more" in golden(
        workspace, good(99)
    )


def test_an_id_or_a_prompt_that_occurs_twice_is_refused(workspace: Path) -> None:
    rows = good()
    rows[5] |= {"id": "q 1", "prompt": "Q  2?"}
    said = golden(workspace, rows)
    assert "the id occurs before in one row, line 6 (q 1)" in said
    assert "the prompt occurs before in one row, line 6 (q 1)" in said


def test_a_line_that_is_no_object_is_refused(workspace: Path) -> None:
    path = workspace / "examples/harbor/data/test/json.jsonl"
    path.write_text(path.read_text() + "nothing\n")
    with pytest.raises(InputError, match="1 lines are no JSON object, or name a key twice: 101"):
        preflight("")


def test_a_field_that_is_recorded_must_stand_in_every_row(workspace: Path) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["evaluate"]["skills"]["json"]["attributes"] = ["language"]
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(InputError, match="there is no language in 100 rows, first in line 1"):
        preflight("")


def test_a_release_needs_prompts_to_calibrate_with(workspace: Path) -> None:
    shutil.rmtree(workspace / "examples/harbor/data/tune")
    with pytest.raises(InputError, match="has no prompts in its tune split"):
        preflight("")


def test_what_is_not_installed_is_said_before_hours_of_stages(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["evaluate"]["backend"] = "vllm"
    path.write_text(yaml.safe_dump(params))
    monkeypatch.setattr("flows.preflight_files.find_spec", lambda _: None)
    with pytest.raises(InputError) as refused:
        preflight("")
    assert "pip install 'mergegate[quantize]'" in str(refused.value)
    assert "evaluate.backend is vllm, and the package vllm is not installed" in str(refused.value)


def test_every_fault_of_serving_is_told_at_once(workspace: Path) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["evaluate"] |= {"backend": "local-chat-completions", "batch_size": "auto"}
    params["evaluate"]["model_args"] = {"model": "harbor"}
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"(?s)batch_size is auto.*no value of model_args contains \{variant\}.*base_url is missing",
    ):
        preflight("")


@pytest.mark.parametrize(
    ("base", "part"),
    [
        ("examples/harbor/models/nope", "examples/harbor/models/nope"),
        ("examples/harbor/models/base+examples/nope", "examples/nope"),
        ("./nope", "./nope"),
        ("/nowhere/nope", "/nowhere/nope"),
    ],
)
def test_a_local_folder_that_is_not_there_is_refused_and_not_looked_for_at_the_hub(
    workspace: Path, base: str, part: str
) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text()) | {"base": base}
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(
        InputError, match=rf"base is {re.escape(base)}, and {re.escape(part)} is no"
    ):
        preflight("")


def test_a_hub_id_is_no_folder_that_is_missing(workspace: Path) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text()) | {"base": "owner/name@main"}
    path.write_text(yaml.safe_dump(params))
    assert preflight("")[1] == "tuned"


def test_a_backend_that_lm_eval_does_not_have_is_refused_with_the_nearest(workspace: Path) -> None:
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["evaluate"]["backend"] = "hff"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(InputError, match=r"'hff', which lm-eval does not have\. Did you mean hf\?"):
        preflight("")
