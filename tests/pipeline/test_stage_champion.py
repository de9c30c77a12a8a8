"""The champion as a variant: evaluated where there is one, as it was registered, and skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import CorruptArtifactError
from pipeline.facts import digest_of, read_json, write_json
from pipeline.params import Params, load_params
from pipeline.sources import folder_digests
from pipeline.stages import evaluate

ROOT = Path(__file__).parents[2]
REFERENCE = "models:/harbor-support/3"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    shipped = load_params(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "load_params", lambda: shipped)
    return shipped


@pytest.fixture
def registered(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a registered version: the model, and beside it what MLflow and the release put there."""
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    files = folder_digests(folder)
    write_json(folder / "release" / "release.json", {"quantized_files": files})
    (folder / "README.md").write_text("the card")
    write_json(evaluate.CHAMPION, {"reference": REFERENCE, "digest": digest_of(files)})
    opened: dict[str, Any] = {REFERENCE: SimpleNamespace(model=SimpleNamespace(folder=folder))}
    monkeypatch.setattr(evaluate, "open_reference", lambda text, _uri: opened[text])
    return folder


def test_where_there_is_no_champion_its_evaluation_says_so(params: Params) -> None:
    write_json(evaluate.CHAMPION, {"absent": "there is no champion yet"})
    evaluate.run("champion")
    assert read_json(Path("build/evals/champion.json")) == {"skipped": "there is no champion yet"}
    assert Path("build/evals/champion.samples.jsonl").read_text() == ""


def test_the_champion_is_evaluated_under_the_digest_that_was_judged(
    params: Params, registered: Path
) -> None:
    variant = evaluate._variant(params, "champion", "")
    assert (variant.name, variant.reference, variant.model) == ("champion", REFERENCE, registered)
    assert variant.digest == read_json(evaluate.CHAMPION)["digest"]


@pytest.mark.parametrize("file", ["model.safetensors", "added.json"])
def test_a_champion_whose_files_are_no_longer_those_is_refused(
    params: Params, registered: Path, file: str
) -> None:
    (registered / file).write_bytes(b"Weights")
    with pytest.raises(CorruptArtifactError, match="not those that were judged and registered"):
        evaluate._variant(params, "champion", "")
