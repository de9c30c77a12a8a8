"""Logits of the probe: kept as decimals, compared tightly here and loosely elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from release_family import register_all

from pipeline.errors import EnvironmentFault
from pipeline.facts import read_json, write_json
from pipeline.release import rehearse, rollback
from pipeline.release.logits import ELSEWHERE, ELSEWHERE_HALF, POSITIONS, SAME, TOP, drift, recorded

Bundle = Callable[..., Path]
HERE = {"dtype": "float32", "torch": "2.13.0", "processor": "AVX512"}


def rows(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 50, generator=torch.Generator().manual_seed(seed)) * 5


def test_a_recording_is_within_itself_to_the_last_bit() -> None:
    found = drift(rows(), recorded(rows()), HERE, HERE)
    assert (found.largest, found.within, found.elsewhere) == (0.0, True, ())


def test_a_recording_holds_the_highest_logits_of_each_position() -> None:
    kept = recorded(torch.tensor([[1.0, 3.0, 2.0]]))
    assert kept == [
        {"ids": [1, 2, 0], "values": [3.0, 2.0, 1.0], "spread": pytest.approx(math.sqrt(2 / 3))}
    ]
    assert [len(position["ids"]) for position in recorded(rows())] == [TOP] * 3


def test_decimals_are_the_shortest_that_give_the_same_float32() -> None:
    value = torch.tensor([[0.1, 0.0, -5.0]])
    assert recorded(value)[0]["values"][0] == 0.1  # not 0.10000000149011612


def test_the_difference_counts_in_standard_deviations_whatever_the_scale() -> None:
    for scale in (0.01, 1.0, 100.0):
        before = torch.tensor([[4.0, 0.0, 0.0, -4.0]]) * scale
        after = before + torch.tensor([[0.5, 0.0, 0.0, 0.0]]) * scale
        expected = 0.5 / math.sqrt(8)
        assert drift(after, recorded(before), HERE, HERE).largest == pytest.approx(expected)


def test_an_id_that_rises_above_those_recorded_counts() -> None:
    before = torch.arange(50.0)[None]
    after = before.clone()
    after[0, 0] = 100.0  # was the lowest of all, so its id is not recorded
    assert not drift(after, recorded(before), HERE, HERE).within


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, SAME),
        ({"torch": "2.14.0"}, ELSEWHERE["float32"]),
        ({"processor": "AVX2"}, ELSEWHERE["float32"]),
        ({"dtype": "bfloat16"}, ELSEWHERE_HALF),
    ],
)
def test_the_limit_is_tight_only_where_nothing_else_differs(
    changes: dict[str, str], allowed: float
) -> None:
    found = drift(rows(), recorded(rows()), HERE, {**HERE, **changes})
    assert (found.allowed, found.elsewhere) == (allowed, tuple(changes))


def test_nan_and_a_different_number_of_positions_agree_with_nothing() -> None:
    broken = rows()
    broken[1, 7] = math.nan
    broken[1, :] = math.nan
    assert not drift(broken, recorded(rows()), HERE, HERE).within
    assert not drift(rows()[:2], recorded(rows()), HERE, HERE).within


def test_a_smaller_vocabulary_than_the_recorded_one_agrees_with_nothing() -> None:
    before = torch.arange(50.0)[None]
    assert not drift(before[:, :20], recorded(before), HERE, HERE).within


def test_a_registered_set_keeps_the_logits_of_every_expert(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    kept = read_json(_manifest(uri))["probe"]["logits"]
    assert set(kept) == {"json", "tone"}
    assert [len(p["ids"]) for p in kept["tone"]["last"]] == [TOP] * POSITIONS
    assert kept["tone"]["taken"]["dtype"] == "float32"
    assert kept["tone"]["last"] != kept["json"]["last"]


def test_logits_that_moved_stop_a_rollback_though_the_text_is_the_same(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    _change(uri, lambda probe: _shift(probe["logits"]["tone"]["last"], 0.01))
    with pytest.raises(EnvironmentFault, match=r"tone: logits .* apart, at most 0\.001 allowed"):
        rollback(uri, "harbor", "why")


def test_elsewhere_a_turned_token_is_told_where_the_logits_agree(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())

    def elsewhere(probe: dict[str, Any]) -> None:
        probe["answers"]["tone"] = "Sorry."
        probe["logits"]["tone"]["taken"]["processor"] = "NEON"
        _shift(probe["logits"]["tone"]["last"], 0.005)

    _change(uri, elsewhere)
    report = rehearse(uri, "harbor")
    assert "tone: the answer reads otherwise here" in report.checked
    assert any("since processor differ from the recording" in line for line in report.checked)


def test_a_set_of_before_logits_were_kept_is_compared_by_text_and_says_so(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    _change(uri, lambda probe: probe.pop("logits"))
    assert any("answers only" in line for line in rehearse(uri, "harbor").checked)
    _change(uri, lambda probe: probe["answers"].update(tone="Sorry."))
    with pytest.raises(EnvironmentFault, match=r"instead of 'Sorry\.'"):
        rehearse(uri, "harbor")


def test_an_adapter_that_is_not_applied_is_far_outside_every_limit(
    uri: str, bundle: Bundle
) -> None:
    """The bare base in place of an expert: what the limits must tell from rounding."""
    from pipeline.release.answer import reply

    register_all(uri, bundle())
    kept = read_json(_manifest(uri))["probe"]["logits"]["tone"]
    bare = reply(Path("models/base"), system="", prompt="hello", max_new_tokens=1)
    assert drift(bare.logits, kept["last"], kept["taken"], bare.taken).largest > ELSEWHERE_HALF


def _shift(last: list[dict[str, Any]], by: float) -> None:
    """Move the highest recorded logit of each position by `by` standard deviations."""
    for position in last:
        position["values"][0] += by * position["spread"]


def _change(uri: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = _manifest(uri)
    manifest = read_json(file)
    change(manifest["probe"])
    write_json(file, manifest)


def _manifest(uri: str) -> Path:
    source = MlflowClient(uri, uri).get_model_version_download_uri("harbor", "1")
    return Path(source) / "unmerged.json"
