"""What params.yaml asks of a server is checked before anything runs, all faults at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.evaluate.served.command import command_words
from pipeline.evaluate.served.plan import serving_faults
from pipeline.params import EvaluateParams, load_params

ROOT = Path(__file__).parents[2]
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
OWN = {"backend": "local-chat-completions", "batch_size": 1}
OWN["model_args"] = {"base_url": "http://localhost:8000/v1/chat/completions", "model": "{variant}"}
STARTED = {**OWN, "model_args": {}, "serve": "python server.py --model {model} --port {port}"}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """evaluate of the shipped params.yaml with other values."""

    def params(**changes: Any) -> EvaluateParams:
        path = tmp_path / "params.yaml"
        value = {**SHIPPED, "evaluate": {**SHIPPED["evaluate"], **changes}}
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        return load_params(path).evaluate

    monkeypatch.chdir(ROOT)
    return params


def faults(evaluate: EvaluateParams, adapters: bool = True) -> list[str]:
    return serving_faults(evaluate, adapters=adapters)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        OWN,
        STARTED,
        {**STARTED, "serve": "python server.py {variant} {model} {port}"},
        {**STARTED, "backend": "local-completions", "served_by": {"trusted": "Ann Lee"}},
    ],
)
def test_what_can_run_has_no_fault(params: Any, changes: dict[str, Any]) -> None:
    assert faults(params(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {**OWN, "model_args": {"base_url": "x", "model": "harbor"}},
            r"no value of model_args contains",
        ),
        ({**OWN, "model_args": {"model": "{variant}"}}, r"base_url is missing"),
        (
            {**OWN, "batch_size": "auto"},
            r"batch_size is auto, which local-chat-completions does not",
        ),
        (
            {"serve": STARTED["serve"]},
            r"serve is given, and evaluate\.backend is hf, which loads the",
        ),
        ({**STARTED, "backend": "openai-completions"}, r"openai-completions, which asks another"),
        ({**STARTED, "serve": "python x {port}"}, r"serve has no \{model\}"),
        ({**STARTED, "serve": "python x {model}"}, r"serve has no \{port\}"),
        (
            {**STARTED, "serve": "python x {model} {port} {gpu}"},
            r"\{gpu\}, which stands for nothing",
        ),
        ({**STARTED, "serve": "no-such-server {model} {port}"}, r"there is no such program here"),
        ({**STARTED, "serve": "python 'x {model} {port}"}, r"does not read as a command"),
        ({**STARTED, "model_args": {"model": "x"}}, r"model_args\.model is set by mergegate"),
        ({**STARTED, "model_args": {"base_url": "x"}}, r"model_args\.base_url is set by mergegate"),
        ({"backend": "sglang", "batch_size": 1}, r"does not load adapters through lm-eval"),
        ({"served_by": {"trusted": "Ann Lee"}}, r"served_by is given, and evaluate\.backend is hf"),
        (
            {"backend": "litellm", "batch_size": 1, "model_args": {"model": "{variant}"}},
            r"litellm, which cannot be asked probes",
        ),
        ({**OWN, "backend": "openai-chat-completions"}, r"OPENAI_API_KEY is not set"),
    ],
)
def test_each_fault_is_told(
    params: Any, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert [fault for fault in faults(params(**changes)) if re.search(words, fault)]


def test_all_faults_are_told_together(params: Any) -> None:
    changes = {
        **STARTED,
        "serve": "python x {gpu}",
        "batch_size": "auto",
        "model_args": {"peft": "x"},
    }
    assert len(faults(params(**changes))) == 5


@pytest.mark.parametrize("value", ["Ann Lee", {}, {"trusted": ""}, {"name": "Ann"}, []])
def test_served_by_names_one_person(params: Any, value: Any) -> None:
    with pytest.raises(InputError, match=r"served_by"):
        params(**OWN, served_by=value)


@pytest.mark.parametrize(
    ("own", "included", "refused"),
    [
        ("output_type: multiple_choice", "", True),
        ("", "output_type: loglikelihood", True),
        ("output_type: generate_until", "output_type: multiple_choice", False),
        ("process_results: !function metrics.score", "", False),
    ],
)
def test_a_log_likelihood_over_chat_is_found_in_the_task_file_and_what_it_includes(
    params: Any, tmp_path: Path, own: str, included: str, refused: bool
) -> None:
    (tmp_path / "common.yaml").write_text(f"test_split: test\n{included}\n")
    (tmp_path / "task.yaml").write_text(f"task: words\ninclude: common.yaml\n{own}\n")
    skills = SHIPPED["evaluate"]["skills"]
    changed = {**skills, "json": {**skills["json"], "task": str(tmp_path / "task.yaml")}}
    found = faults(params(**OWN, skills=changed))
    assert ("skills.json is of output_type" in "".join(found)) == refused
    completions = {**OWN, "backend": "local-completions", "skills": changed}
    assert faults(params(**completions)) == []


def test_a_placeholder_is_one_word_whatever_it_stands_for() -> None:
    values = {"model": "/a b/c; rm", "port": "80", "variant": "json"}
    words = command_words("serve '{model}' --port={port} {variant} {{other}}", values)
    assert words == ["serve", "/a b/c; rm", "--port=80", "json", "{{other}}"]
