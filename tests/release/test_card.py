"""The model card: metadata that the hub reads, and what a person must know before serving it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from release_family import RECIPE, verdict

from pipeline.recipe import parse_recipe
from pipeline.release import render_card
from pipeline.release.hub_metadata import base_models
from pipeline.sources.identity import declared_bases

Record = Callable[..., dict[str, Any]]


def test_the_hub_reads_the_metadata(record: Record) -> None:
    data = ModelCard(render_card(record())).data
    assert data.model_name == "harbor"
    assert data.tags == ["merge", "mergegate"]


def test_a_card_of_local_sources_that_declare_nothing_names_no_base_model_and_says_so(
    record: Record,
) -> None:
    text = render_card(record())
    data = ModelCard(text).data
    assert data.base_model is None
    assert data.get("base_model_relation") is None
    assert "names no `base_model`: no source is a model of the hub" in text


LOCAL = "models/base"


@pytest.mark.parametrize(
    ("adapters_say", "model_says", "named"),
    [
        ("acme/base", [], ["acme/base"]),
        ("acme/base", ["acme/parent"], ["acme/base"]),
        (None, ["acme/parent"], ["acme/parent"]),
        ("base", [], None),
        ("./models/base", [], None),
        ("/data/models/base", [], None),
        (LOCAL, [LOCAL], None),
    ],
)
def test_for_local_sources_stands_the_base_that_they_declare_if_it_can_be_one_of_the_hub(
    record: Record,
    pins: dict[str, Any],
    adapters_say: str | None,
    model_says: list[str],
    named: list[str] | None,
) -> None:
    for one in pins.values():
        one["model"]["base_models"] = model_says
        if one["adapter"]:
            one["adapter"]["base_model"] = adapters_say
    card = ModelCard(render_card(record(pins=pins)))
    assert card.data.base_model == named
    assert ("names no `base_model`" in card.content) is (named is None)


def test_sources_of_the_hub_are_named_themselves_whatever_they_declare(
    pins: dict[str, Any],
) -> None:
    for one in pins.values():
        one["model"]["revision"] = "c" * 40
        one["model"]["base_models"] = ["acme/parent"]
    hub = {t.replace(LOCAL, "acme/base@main"): one for t, one in pins.items()}
    tone = hub["acme/base@main+models/tone"]
    tone["adapter"]["revision"] = "d" * 40
    hub["acme/base@main+acme/tone"] = hub.pop("acme/base@main+models/tone")
    assert base_models(hub) == ["acme/base", "acme/tone"]


def test_a_model_declares_its_base_in_its_configuration_or_its_card(tmp_path: Path) -> None:
    def declared(config: str, card: str) -> list[str]:
        (tmp_path / "config.json").write_text(config)
        (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
        return declared_bases(tmp_path)

    assert declared('{"_name_or_path": "acme/own"}', "base_model: acme/parent") == ["acme/own"]
    assert declared('{"_name_or_path": "/data/own"}', "base_model: acme/parent") == ["acme/parent"]
    assert declared("{}", "base_model: [acme/a, acme/b, acme/a, 7, ../c]") == ["acme/a", "acme/b"]
    assert declared("{}", "license: mit") == []


def test_the_hub_s_evaluation_results_are_those_of_the_artifact_that_ships(record: Record) -> None:
    results = ModelCard(render_card(record())).data.eval_results
    found = {(r.dataset_type, r.metric_type): (r.metric_value, r.dataset_revision) for r in results}
    assert found == {("json", "exact"): (0.95, "d" * 64), ("tone", "rubric"): (4.8, "e" * 64)}


def test_a_refused_merge_shows_the_scores_of_the_merge(record: Record) -> None:
    card = render_card(record(verdict=verdict("reject"), quantized_files=None))
    assert [r.metric_value for r in ModelCard(card).data.eval_results] == [0.96, 4.9]
    assert "**rejected**" in card
    assert "59 points worse, at most 5 allowed" in card


def test_sources_of_one_licence_give_that_licence(record: Record, pins: dict[str, Any]) -> None:
    for pin in pins.values():
        for side in filter(None, (pin["model"], pin["adapter"])):
            side["licence"] = "apache-2.0"
    assert ModelCard(render_card(record(pins=pins))).data.license == "apache-2.0"


def test_sources_of_several_or_unknown_licences_are_not_given_one(
    record: Record, pins: dict[str, Any]
) -> None:
    pins["models/base"]["model"]["licence"] = None
    data = ModelCard(render_card(record(pins=pins))).data
    assert data.license == "other"
    assert data.license_name == "apache-2.0-and-unknown"


def test_the_recipe_is_complete_and_reads_back_from_the_card(record: Record) -> None:
    body = render_card(record()).split("```yaml\n")[1].split("\n```")[0]
    assert yaml.safe_load(body) == yaml.safe_load(RECIPE)


def test_a_recipe_cannot_end_its_own_fence(record: Record) -> None:
    text = f"# ```\n# # Promoted by everyone\n{RECIPE}"
    hostile = parse_recipe(yaml.safe_load(RECIPE), "recipe.yaml", text)
    card = render_card(record(recipe=hostile))
    assert f"````yaml\n{text}" in card


def test_every_source_stands_in_the_inventory_with_its_digests(
    record: Record, pins: dict[str, Any]
) -> None:
    section = render_card(record()).split("## Sources")[1].split("##")[0]
    for pin in pins.values():
        top = pin["adapter"] or pin["model"]
        (row,) = [line for line in section.splitlines() if top["digest"] in line]
        assert f"| `{pin['reference']}` |" in row
        assert pin["model"]["architecture_hash"][:12] in row


def test_text_of_users_cannot_break_a_table(record: Record) -> None:
    (row,) = [line for line in render_card(record()).splitlines() if "tool calls" in line]
    assert r"tool calls \| strict" in row


def test_refused_candidates_are_named_with_the_reasons_against_them(record: Record) -> None:
    card = render_card(record(refused={"naive": verdict("reject")}))
    section = card.split("## What was refused, and why")[1].split("##")[0]
    assert "`naive`: Reject: json." in section
    assert "json: 38 % against 97 % of json, 59 points worse, at most 5 allowed" in section


def test_a_waiver_is_in_the_card_with_name_reason_and_expiry(record: Record) -> None:
    waiver = {"check": "json", "name": "Ada", "reason": "known gap", "expires": "2027-01-31"}
    card = render_card(record(verdict=verdict(waivers=[waiver])))
    assert "json, by Ada until 2027-01-31: known gap" in card


def test_the_way_back_is_a_command_and_the_digest_of_its_target(record: Record) -> None:
    made = record()
    section = render_card(made).split("## The way back")[1]
    assert "mergegate rollback harbor\n" in section
    assert made["rollback"]["digest"] in section


@pytest.mark.parametrize("latency", [None, {"merged": {"p50": 9.0, "p95": 12.0}}])
def test_latency_is_shown_where_it_was_measured(
    record: Record, latency: dict[str, Any] | None
) -> None:
    if latency:
        latency |= {"unmerged": {"p50": 11.0, "p95": 15.0}, "device": "cpu"}
    card = render_card(record(latency=latency))
    assert ("P95 12.0 ms merged, 15.0 ms unmerged" in card) == bool(latency)


def test_the_card_tells_what_the_verdict_notes_beside_its_outcome(record: Record) -> None:
    note = "These weights were judged before, under another policy."
    better = {"text": "json: better than json-lora"}
    card = render_card(record(verdict=verdict(notes=[note], improvements=[better])))
    assert f"- {note}\n" in card
    assert "- json: better than json-lora\n" in card
    assert "To know beside it" not in render_card(record())
