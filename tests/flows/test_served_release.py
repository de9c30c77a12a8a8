"""A release whose variants were served: card, report and verification say how their weights were identified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stored_workspace import load, write_workspace

from flows.verify import verify
from pipeline.facts import Served, read_evaluation, write_evaluation
from pipeline.stages import card, gate, judge

CHECKED = Served("checked", "", "greedy answers", 16, 200, 199, 0.12, 0.5, 190, 0.03)
ANN = Served("trusted", by="Ann Lee")
Served_ = Callable[[str], Served]


def released(folder: Path, served: Served_, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The release folder of a workspace whose variants were served so."""
    write_workspace(folder)
    for place in (folder / "build" / "evals", folder / "build" / "tuned" / "evals"):
        for path in sorted(place.glob("*.json")):
            found = read_evaluation(path)
            write_evaluation(place, replace(found, served=served(found.variant)))
    monkeypatch.chdir(folder)
    for stage in (judge, gate, card):
        stage.run("tuned")
    return folder / "build" / "tuned" / "release"


@pytest.mark.parametrize(
    ("served", "sentence"),
    [
        (
            CHECKED,
            "of 1,000 tokens of their answers to probes 995 are the likeliest of the weights",
        ),
        (ANN, "Ann Lee vouches that they had these weights: nothing was compared."),
    ],
)
def test_verdict_card_and_report_say_how_the_weights_were_identified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Served, sentence: str
) -> None:
    release = released(tmp_path / "workspace", lambda _: served, monkeypatch)
    assert load(release / "verdict.json")["outcome"] == "promote"
    for name in ("verdict.json", "README.md", "report.html"):
        assert sentence in (release / name).read_text(encoding="utf-8"), name
    found = verify(release)
    assert found.faults == ()
    assert any(sentence in note for note in found.notes)


def test_unidentified_weights_cannot_be_judged_and_verification_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Served("unidentified")
    release = released(
        tmp_path / "workspace", lambda name: unknown if name == "json" else CHECKED, monkeypatch
    )
    assert load(release / "verdict.json")["outcome"] == "cannot judge"
    found = verify(release)
    assert (found.outcome, found.faults) == ("cannot judge", ())


def test_a_forged_identity_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = released(tmp_path / "workspace", lambda _: Served("unidentified"), monkeypatch)
    path = release / "evals" / "json.json"
    path.write_text(path.read_text().replace('"unidentified"', '"trusted"'))
    found = verify(release)
    assert found.faults
    assert any("evals/json.json" in fault for fault in found.faults)
