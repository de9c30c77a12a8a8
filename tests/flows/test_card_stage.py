"""Stages `sources` and `card`: who signs, and a release folder that is the same each time it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from stored_workspace import METRICS, load, write_workspace

from pipeline.errors import InputError
from pipeline.facts import digest_file
from pipeline.release import read_bundle
from pipeline.release.keys import load_signing_key
from pipeline.stages import card, gate, judge, sources
from pipeline.stages.workspace import SIGNING

RELEASE = Path("build/tuned/release")
KEY = Path(".mergegate/signing/key.pem")


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose candidate is judged; the current folder."""
    for name in ("MERGEGATE_SIGNING_KEY", "MERGEGATE_SIGNING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path)
    judge.run("tuned")
    gate.run("tuned")
    return tmp_path


def content() -> dict[str, str]:
    files = (path for path in RELEASE.rglob("*") if path.is_file())
    return {path.relative_to(RELEASE).as_posix(): digest_file(path) for path in files}


@pytest.mark.usefixtures("judged")
def test_the_same_candidate_and_key_give_the_same_folder_to_the_byte() -> None:
    card.run("tuned")
    first = content()
    card.run("tuned")
    assert content() == first


@pytest.mark.usefixtures("judged")
def test_the_release_is_signed_and_holds_what_its_scores_depend_on() -> None:
    card.run("tuned")
    record = read_bundle(RELEASE)
    assert record["signing"]["fingerprint"] == load_signing_key().fingerprint
    assert set(record["tasks"]) == set(METRICS)
    assert record["merged_files"] == {
        path.name: digest_file(path) for path in Path("build/tuned/merged").iterdir()
    }
    assert record["environment"]["hardware"]["cores"] >= 1
    assert "calibration.jsonl" in record["files"]


@pytest.mark.usefixtures("judged")
def test_another_key_signs_the_same_release() -> None:
    card.run("tuned")
    first = read_bundle(RELEASE)
    KEY.unlink()
    card.run("tuned")
    second = read_bundle(RELEASE)
    assert first["signing"]["fingerprint"] != second["signing"]["fingerprint"]
    assert first["release_digest"] == second["release_digest"]


@pytest.mark.usefixtures("judged")
def test_no_release_tells_where_it_was_made(tmp_path: Path) -> None:
    card.run("tuned")
    for path in (p for p in RELEASE.rglob("*") if p.is_file()):
        assert str(tmp_path).encode() not in path.read_bytes(), path


def _params(base: str) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**params, "base": base, "experts": {"a": base}}))


def test_sources_writes_down_who_signs_and_nothing_else_depends_on_it(
    judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("models/base").mkdir(parents=True)
    _params("models/base")
    monkeypatch.setattr(sources, "open_reference", lambda *_: None)
    monkeypatch.setattr(sources, "_pinned", lambda *_: {})
    sources.run()
    before = {path.name: digest_file(path) for path in judged.glob("build/*.json")}
    assert load(SIGNING)["fingerprint"] == load_signing_key().fingerprint
    KEY.unlink()
    sources.run()
    after = {path.name: digest_file(path) for path in judged.glob("build/*.json")}
    assert {name for name in before if before[name] != after[name]} == {"signing.json"}
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    bodies = {name: stage.get("do", stage) for name, stage in stages.items()}
    needing = [n for n, body in bodies.items() if str(SIGNING) in body.get("deps", [])]
    assert needing == ["card"]


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("/home/ann/models/base", "holds a path below the home folder"),
        ("models/hf_" + "a" * 34, "holds a password, a token or a key"),
    ],
)
@pytest.mark.usefixtures("judged")
def test_what_no_release_may_hold_is_refused_before_anything_is_computed(
    base: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    _params(base)
    with pytest.raises(InputError, match=rf"params\.yaml: base: {words}"):
        sources.run()
