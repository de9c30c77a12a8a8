"""The stage evaluate behind a server that it starts: an adapter is served merged, and its weights are shown."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.facts import read_evaluation
from pipeline.stages import evaluate as stage
from pipeline.stages import sources

SERVER = Path(__file__).with_name("openai_server.py")
SERVE = [sys.executable, str(SERVER), "--model", "{model}", "--port", "{port}"]


@pytest.fixture
def workspace(
    tmp_path: Path, task: Path, model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A workspace whose only expert is `adapter` over `model`; a function that sets keys of `evaluate`."""
    rows = [
        {"id": f"words-{i}", "prompt": text, "target": {"order": i}}
        for i, text in enumerate(("order late", "refund warm yes", "ship no queue", "cold ticket"))
    ]
    for split in ("tune", "test"):
        path = tmp_path / "golden" / split / "words.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate = {
        "backend": "local-chat-completions",
        "batch_size": 1,
        "max_new_tokens": 6,
        "golden": "golden",
        "skills": {"words": {"task": str(task.relative_to(tmp_path)), "metrics": ["length"]}},
        "serve": shlex.join(SERVE),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "signer", dict)

    def write(**changes: Any) -> Path:
        params = {"name": "words", "base": str(model), "release": "tuned", "policy": {"skills": {}}}
        params |= {"experts": {"json": f"{model}+{adapter}"}, "candidates": {"tuned": "r.yaml"}}
        params["evaluate"] = {**evaluate, **changes}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("r.yaml").write_text("merge_method: linear\nmodels: []\n")
        sources.run()
        return tmp_path

    return write


def test_an_expert_is_served_as_base_and_adapter_in_one_folder(workspace: Any) -> None:
    folder = workspace()
    stage.run("expert", "json")
    found = read_evaluation(folder / "build" / "evals" / "json.json")
    assert found.served
    assert (found.served.identity, found.served.probes) == ("checked", 4)
    assert found.settings["serve"] == shlex.join(SERVE)
    assert found.settings["model_args"] == {}
    assert not any((folder / ".mergegate" / "served").iterdir())
    log = (folder / ".mergegate" / "logs" / "serve-json.log").read_text()
    assert log.startswith(f"loading {folder}/.mergegate/served/")
    assert not (folder / ".mergegate" / "evaluations").exists()  # nothing is kept of a server


def test_a_server_that_ignores_the_adapter_is_refused(workspace: Any, model: Path) -> None:
    serve = shlex.join([*SERVE, "--names", "{model}"]).replace("'{model}'", str(model), 1)
    folder = workspace(serve=serve)
    with pytest.raises(InputError, match=r"json: the server at .* does not have the weights of"):
        stage.run("expert", "json")
    assert not (folder / "build" / "evals" / "json.json").exists()
    assert not any((folder / ".mergegate" / "served").iterdir())


def test_the_stage_by_itself_refuses_what_a_release_refuses_before_it(workspace: Any) -> None:
    workspace(serve="no-such-server")
    with pytest.raises(InputError, match=r"(?s)no \{model\}.*no \{port\}.*no such program"):
        stage.run("expert", "json")
