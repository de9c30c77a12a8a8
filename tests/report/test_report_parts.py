"""The parts by themselves: plot geometry, marks of the table, shades, lineage, words and characters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from rendered import evidence, judged, promoted, row

from pipeline.report.checks import Check, checks_of, directions
from pipeline.report.facts import digests_of, latency_of, waivers_of
from pipeline.report.forest import NARROW, WIDE, Layout, forest
from pipeline.report.interference import STEPS, interference
from pipeline.report.lineage import lineage, sources_of
from pipeline.report.variants import variants_of
from pipeline.report.visible import clipped, cut, tail, visible
from pipeline.report.wording import gap, look, number, signed, value

BOTH = pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])


def _checks(*rows: dict[str, Any]) -> list[Check]:
    return checks_of({"rows": list(rows)})


def _place(layout: Layout, low: float, high: float, at: float) -> float:
    return layout.left + (at - low) / (high - low) * (layout.right - layout.left)


@BOTH
def test_intervals_are_drawn_in_units_of_their_own_margin(layout: Layout) -> None:
    five = row("json", "merged", difference=-0.025, lower=-0.04, upper=-0.01, margin=0.05)
    quarter = row("tone", "merged", difference=-0.125, lower=-0.2, upper=-0.05, margin=0.25)
    plot = forest(_checks(five, quarter), layout)
    for drawn in plot["rows"]:
        assert drawn["limit"] == pytest.approx(_place(layout, -1.5, 0.75, -1), abs=0.06)
        assert drawn["lower"] == pytest.approx(_place(layout, -1.5, 0.75, -0.8), abs=0.06)
        assert drawn["middle"] == pytest.approx(_place(layout, -1.5, 0.75, -0.5), abs=0.06)
        assert drawn["upper"] == pytest.approx(_place(layout, -1.5, 0.75, -0.2), abs=0.06)
        assert not drawn["off_left"]
        assert not drawn["off_right"]
    assert plot["zero"] == pytest.approx(_place(layout, -1.5, 0.75, 0), abs=0.06)


@BOTH
def test_what_lies_beyond_the_plot_ends_in_an_arrow(layout: Layout) -> None:
    far = row("json", "merged", difference=-0.3, lower=-0.4, upper=0.4, margin=0.05)
    plot = forest(_checks(far), layout)
    (drawn,) = plot["rows"]
    assert (drawn["lower"], drawn["upper"]) == (layout.left, layout.right)
    assert drawn["off_left"]
    assert drawn["off_right"]
    assert drawn["off"]


@BOTH
def test_where_no_loss_is_allowed_the_limit_is_zero(layout: Layout) -> None:
    plot = forest(
        _checks(row("json[vs plain]", "merged", lower=-0.01, upper=0.03, margin=0.0)), layout
    )
    assert plot["rows"][0]["limit"] == plot["zero"]


@BOTH
def test_no_difference_at_all_can_be_drawn(layout: Layout) -> None:
    none = row("json", "merged", difference=0.0, lower=0.0, upper=0.0, margin=0.0)
    (drawn,) = forest(_checks(none), layout)["rows"]
    assert drawn["lower"] == drawn["middle"] == drawn["upper"] == drawn["limit"]


@BOTH
def test_rows_do_not_overlap_and_lie_inside(layout: Layout) -> None:
    safety = row("refusal", "merged", kind="safety")
    rows = [row(name, a) for name in ("a", "b") for a in ("merged", "quantized")] + [safety]
    plot = forest(_checks(*rows), layout)
    tops = [drawn["top"] for drawn in plot["rows"]]
    assert len(tops) == 5
    assert all(b - a >= layout.row for a, b in itertools.pairwise(tops))
    assert [title["text"] for title in plot["titles"]] == ["Skills", "Safety suites: vetoes"]
    assert tops[-1] + layout.row <= plot["bottom"] < plot["height"]
    assert plot["titles"][1]["y"] > tops[-2] + layout.row


def test_a_check_without_figures_is_in_the_table_and_not_in_the_plot() -> None:
    figures = dict.fromkeys(("difference", "lower", "upper", "candidate_mean", "reference_mean"))
    checks = _checks(row("json", "merged", outcome="cannot judge", **figures))
    assert [check.look["word"] for check in checks] == ["Cannot judge"]
    assert checks[0].shown["candidate_mean"] == "–"
    assert forest(checks, WIDE)["rows"] == []


def test_artifacts_of_a_check_stand_together_and_safety_last() -> None:
    rows = [
        row("tone", "merged"),
        row("refusal", "merged", kind="safety"),
        row("json", "merged"),
        row("tone", "quantized"),
    ]
    assert [(c.name, c.artifact) for c in _checks(*rows)] == [
        ("tone", "merged"),
        ("tone", "quantized"),
        ("json", "merged"),
        ("refusal", "merged"),
    ]


@BOTH
def test_a_long_name_has_a_line_of_its_own_and_is_clipped_in_the_plot_only(layout: Layout) -> None:
    name = f"json[language={'x' * 100}]"
    short, long = _checks(row("json", "merged"), row(name, "merged"))
    assert long.name == name
    above, below = forest([short, long], layout)["rows"]
    assert above["name_y"] == above["text_y"]
    assert not above["alone"]
    assert above["top"] + layout.row <= below["name_y"] < below["text_y"] - 12
    assert len(below["name"]) == layout.label


def _marked(record: dict[str, Any]) -> list[list[str]]:
    table = variants_of(record)
    names = [variant["name"] for variant in table["variants"]]
    return [
        [n for n, cell in zip(names, line["cells"], strict=True) if cell["best"]]
        for line in table["rows"]
    ]


@pytest.mark.parametrize(
    ("direction", "means", "best"),
    [
        ("higher", [0.1, 0.9, 0.5], ["b"]),
        ("lower", [0.1, 0.9, 0.5], ["a"]),
        ("higher", [0.9, 0.9, None], []),
        ("higher", [0.9, 0.9, 0.5], ["a", "b"]),
        ("higher", [None, None, None], []),
    ],
)
def test_the_best_of_a_row_is_marked(
    direction: str, means: list[float | None], best: list[str]
) -> None:
    rows = [[name, [mean]] for name, mean in zip("abc", means, strict=True)]
    record = {
        "comparison": {"columns": [["json", "exact"]], "rows": rows},
        "verdict": {"rows": [row("json", "merged", direction=direction)]},
    }
    assert _marked(record) == [best]


def test_nothing_is_best_where_no_direction_is_known() -> None:
    record = promoted()
    assert _marked(record) == [["json"], []]  # the policy names exact, not parse


def test_older_rows_tell_the_direction_by_their_difference() -> None:
    old = {"check": "json", "metric": "loss", "direction": None}
    old |= {"candidate_mean": 0.4, "reference_mean": 0.3}
    assert directions([{**old, "difference": -0.1}]) == {("json", "loss"): "lower"}
    assert directions([{**old, "difference": 0.1}]) == {("json", "loss"): "higher"}
    assert directions([{**old, "difference": 0.0}]) == {}


def test_shades_grow_with_the_magnitude_and_gaps_have_none() -> None:
    found = interference(evidence()["diagnosis.json"])
    cancelled, cosine, size = found["tables"]
    shades = {line["layer"]: [c["shade"] for c in line["cells"]] for line in cancelled["rows"]}
    assert cancelled["kinds"] == ["embed", "mlp"]
    assert shades == {"outside": [None, None], "0": [None, 1], "1": [None, STEPS - 1]}
    assert cosine["rows"][1]["cells"][1] == {"text": "−0.31", "shade": STEPS - 1}
    assert size["title"] == "Size of j, relative to the base"
    assert found["cancelled"] == "39 %"


def test_small_interference_looks_small() -> None:
    cells = [{"layer": 0, "kind": "mlp", "cancelled": 0.01, "pairs": [{"cosine": 0.003}]}]
    for table in interference({"cells": cells})["tables"]:
        assert table["rows"][0]["cells"][0]["shade"] == 0


@pytest.mark.parametrize("shape", ["wide", "narrow"])
def test_boxes_of_the_lineage_neither_overlap_nor_leave_the_drawing(shape: str) -> None:
    record = promoted()
    for n in range(9):
        reference = f"models/base+models/expert-{n}"
        record["rollback"]["experts"][f"e{n}"] = {"reference": reference, "digest": "b" * 64}
    drawing = lineage(record)[shape]
    boxes = [(b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]) for b in drawing["boxes"]]
    assert len(boxes) == 1 + 10 + 2
    for n, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= drawing["width"]
        assert 0 <= top < bottom <= drawing["height"]
        for x, y, to_x, to_y in boxes[n + 1 :]:
            assert right <= x or to_x <= left or bottom <= y or to_y <= top


def test_sources_are_base_experts_and_the_rest_with_licence_and_revision() -> None:
    record = promoted()
    record["identity"]["sources"]["models/other"] = {"model": {"digest": "aa"}, "adapter": None}
    found = [(s["role"], s["licence"], s["revision"]) for s in sources_of(record)]
    assert found == [
        ("base", "mit", "0e9e39f1"),
        ("json", "apache-2.0", ""),
        ("source", "not stated", ""),
    ]


def test_the_lineage_of_a_refusal_ends_with_the_merge() -> None:
    boxes = lineage(judged("reject", "no"))["wide"]["boxes"]
    assert [box["title"] for box in boxes] == ["base", "json", "merge, not quantized"]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"latency": {"metric": "p95", "max_ratio": 1.5}}, ["not judged", "at most 1.5"]),
        ({"skills": {}}, ["not judged", "not judged"]),
        ({}, ["not stored", "not stored"]),
    ],
)
def test_the_limit_of_latency_is_that_of_the_policy(policy: Any, said: list[str]) -> None:
    assert [line["limit"] for line in latency_of(promoted(), policy)["rows"]] == said


def test_a_latency_of_zero_has_no_ratio() -> None:
    record = {"latency": {"merged": {"p50": 1.0}, "unmerged": {"p50": 0.0}}}
    assert latency_of(record, {})["rows"][0]["ratio"] == "–"


def test_waivers_of_the_gate_and_of_the_sources_are_listed() -> None:
    found = waivers_of(promoted(), evidence()["compat.json"])
    assert [(w["check"], w["name"]) for w in found] == [
        ("latency", "Ann Lee"),
        ("values: b", "see compat.json"),
    ]


def test_digests_that_are_not_there_are_left_out() -> None:
    names = [what for what, _ in digests_of(judged("reject", "no"))]
    assert "merged weights" in names
    assert "quantized artifact" not in names


@pytest.mark.parametrize(
    ("found", "digits", "shown"),
    [(-0.04, 1, "0.0"), (-1.25, 1, "−1.2"), (1234.5, 0, "1,234"), (0.0, 2, "0.00")],
)
def test_numbers_have_a_true_minus_and_no_negative_zero(
    found: float, digits: int, shown: str
) -> None:
    assert number(found, digits) == shown


def test_a_sign_is_shown_only_where_the_figure_shows_a_difference() -> None:
    assert [signed(x, 1) for x in (0.04, 0.06, -0.06)] == ["0.0", "+0.1", "−0.1"]


def test_shares_read_as_per_cent_and_points_and_other_metrics_as_they_are() -> None:
    share, rubric = row("json", "merged"), row("tone", "merged", high=5.0)
    assert (value(share, "floor"), gap(share, -0.03)) == ("85.0 %", "−3.0 points")
    assert (value(rubric, "floor"), gap(rubric, -0.03)) == ("0.850", "−0.030")
    assert gap(share, None) == value({}, "floor") == "–"


def test_a_figure_that_misses_a_limit_never_reads_as_if_it_met_it() -> None:
    missed = row("json", "merged", lower=-0.05004, candidate_mean=0.84996, floor=0.85)
    shown = _checks(missed)[0].shown
    assert (shown["lower"], shown["margin"]) == ("−5.004", "−5.0")
    assert (shown["candidate_mean"], shown["floor"]) == ("84.996 %", "85.0 %")
    on_it = _checks(row("json", "merged", lower=-0.05, candidate_mean=0.85))[0].shown
    assert (on_it["lower"], on_it["candidate_mean"]) == ("−5.0", "85.0 %")
    slow = {"latency": {"merged": {"p95": 1.5004}, "unmerged": {"p95": 1.0}}}
    policy = {"latency": {"metric": "p95", "max_ratio": 1.5}}
    assert latency_of(slow, policy)["rows"][0]["ratio"] == "1.5004"


def test_every_outcome_has_a_word_and_a_symbol_of_its_own() -> None:
    outcomes = ("promote", "reject", "inconclusive", "cannot judge")
    looks = [look(outcome) for outcome in outcomes] + [look("reject", waived=True)]
    for key in ("kind", "symbol", "word"):
        assert len({one[key] for one in looks}) == 5
    assert look("bananas")["word"] == "bananas"


def test_hidden_characters_are_named_and_others_stay() -> None:
    assert visible("a\u202eb") == "a⟨U+202E⟩b"
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert visible("\r") == "⟨U+000D⟩"
    kept = "naïve 漢字 שלום مرحبا 👍 ½ «»"
    assert visible(kept) == kept


def test_texts_are_cut_from_the_end_and_paths_from_the_start() -> None:
    assert cut("abcd", 3) == ("abc", True)
    assert cut("abc", 3) == ("abc", False)
    assert clipped("abcd", 3) == "ab…"
    assert tail("models/json-lora", 10) == "…json-lora"
    assert clipped("abc", 3) == tail("abc", 3) == "abc"
