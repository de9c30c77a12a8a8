"""Latency is measured alike for the merge and for base plus adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate import latency
from pipeline.evaluate.latency import measure_latency

PROMPTS = ("late order", "refund yes no", "ticket")


def test_report_has_both_sides_and_their_ratio(model: Path, adapter: Path) -> None:
    report = measure_latency(model, model, adapter, PROMPTS, system="", max_new_tokens=4, repeats=1)
    for key in ("p50", "p95"):
        assert report["merged"][key] > 0
        ratio = report["merged"][key] / report["unmerged"][key]
        assert report["ratio"][key] == pytest.approx(ratio)
    assert (report["prompts"], report["new_tokens"]) == (3, 4)


def test_a_prompt_counts_with_its_least_time_and_sides_take_turns(
    model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"merged": iter((99.0, 1.0, 9.0)), "unmerged": iter((99.0, 8.0, 4.0))}
    order: list[str] = []

    def timed(lm: Any, ids: Any, count: int) -> float:
        side = "unmerged" if hasattr(lm, "peft_config") else "merged"
        order.append(side)
        return next(clock[side])

    monkeypatch.setattr(latency, "_time", timed)
    report = measure_latency(
        model, model, adapter, ["late"], system="", max_new_tokens=4, repeats=2
    )
    assert (report["merged"]["p50"], report["unmerged"]["p50"]) == (1.0, 4.0)
    assert order == ["merged", "unmerged", "merged", "unmerged", "unmerged", "merged"]


def test_prompts_are_counted_once_for_both_sides(
    model: Path, adapter: Path, metered: list[Any]
) -> None:
    measure_latency(model, model, adapter, PROMPTS, system="", max_new_tokens=2, repeats=2)
    assert metered == [("latency", done, 6, "prompts") for done in range(7)]


def test_every_answer_has_the_same_number_of_tokens(model: Path, adapter: Path) -> None:
    report = measure_latency(
        model, model, adapter, PROMPTS, system="", max_new_tokens=500, repeats=1
    )
    assert report["new_tokens"] == latency.NEW_TOKENS


def test_no_prompts_are_refused(model: Path, adapter: Path) -> None:
    with pytest.raises(InputError, match="at least one prompt"):
        measure_latency(model, model, adapter, [], system="", max_new_tokens=4)
