"""Scores of a server count only where its weights are identified, and the verdict says how they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from gate_cases import GOOD, evaluation, references, verdict

from pipeline.facts import Evaluation, Served, read_evaluation, write_evaluation

CHECKED = Served(
    identity="checked",
    method="greedy answers",
    probes=16,
    tokens=200,
    agreeing=199,
    largest_gap=0.12,
    limit=0.5,
    compared=190,
    largest_difference=0.03,
)
ANN = Served("trusted", by="Ann Lee")
ALL = ("merged", *references())


def behind(served: Served | None) -> Callable[[Evaluation], Evaluation]:
    return lambda found: replace(found, served=served)


@pytest.mark.parametrize("served", [None, CHECKED, ANN])
def test_identified_weights_are_judged(served: Served | None) -> None:
    assert verdict(swap=dict.fromkeys(ALL, behind(served))).outcome == "promote"


@pytest.mark.parametrize("name", ALL)
def test_unidentified_weights_cannot_be_judged_whichever_variant_they_are(name: str) -> None:
    swap = {**dict.fromkeys(ALL, behind(CHECKED)), name: behind(Served("unidentified"))}
    found = verdict(swap=swap)
    assert found.outcome == "cannot judge"
    assert any("nothing shows that the server had its weights" in r.text for r in found.reasons)


@pytest.mark.parametrize(
    "changes",
    [
        {"largest_gap": 0.6},
        {"largest_gap": float("nan")},
        {"largest_difference": 0.6},
        {"probes": 0},
        {"agreeing": 0},
        {"agreeing": 201},
        {"identity": "sworn"},
        {"identity": "trusted", "by": " "},
    ],
)
def test_a_check_whose_figures_do_not_pass_is_none(changes: dict[str, Any]) -> None:
    found = verdict(swap={"base": behind(replace(CHECKED, **changes))})
    assert found.outcome == "cannot judge"


def test_the_verdict_says_how_the_weights_were_identified() -> None:
    swap = {**dict.fromkeys(ALL, behind(CHECKED)), "plain": behind(ANN)}
    notes = verdict(swap=swap).notes
    (checked,) = [note for note in notes if "likeliest of the weights" in note]
    assert (
        "servers answered for the candidate, base, tone-lora, json-lora and policy-lora" in checked
    )
    assert "of 1,000 tokens of their answers to probes 995 are the likeliest" in checked
    assert "no token is more than 0.12 nats less likely (0.5 allowed)" in checked
    assert "950 tokens differ by at most 0.03 nats" in checked
    (vouched,) = [note for note in notes if "vouches" in note]
    assert "servers answered for plain, and Ann Lee vouches" in vouched


@pytest.mark.parametrize(
    ("apart", "words"),
    [("merged", "tell the quantized weights from the merged ones"), ("", "do not tell apart")],
)
def test_the_verdict_says_whether_quantized_weights_are_told_from_the_merged(
    apart: str, words: str
) -> None:
    ours = replace(evaluation("quantized", GOOD), served=replace(CHECKED, apart_from=apart))
    (note,) = [note for note in verdict(ours, artifact="quantized").notes if "server" in note]
    assert words in note


def test_nothing_is_said_of_servers_where_there_was_none() -> None:
    assert not [note for note in verdict().notes if "server" in note]


def test_how_weights_were_identified_is_among_the_inputs_of_the_verdict() -> None:
    def digest(served: Served | None) -> str:
        found = verdict(swap={"base": behind(served)})
        return str(found.inputs["merged"]["evaluations"]["base"])

    digests = [digest(None), digest(CHECKED), digest(ANN), digest(replace(CHECKED, tokens=201))]
    assert len({*digests}) == 4


def test_an_evaluation_keeps_how_its_weights_were_identified(tmp_path: Path) -> None:
    for served in (None, CHECKED, ANN):
        made = replace(evaluation("merged", GOOD, 3), served=served)
        write_evaluation(tmp_path, made)
        head = json.loads((tmp_path / "merged.json").read_text())
        assert head["served"] == (asdict(served) if served else None)
        assert read_evaluation(tmp_path / "merged.json") == made


def test_an_evaluation_of_before_there_were_servers_was_made_in_process(tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluation("merged", GOOD, 3))
    path = tmp_path / "merged.json"
    head = json.loads(path.read_text())
    del head["served"]
    path.write_text(json.dumps(head))
    assert read_evaluation(path).served is None
