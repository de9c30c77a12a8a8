"""What MLflow shows of releases: runs with figures that sort, compare and plot, and descriptions that tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name, _validate_param_name
from release_family import register_all, register_shipped, register_target, verdict
from servers import mlflow_server

from pipeline.evaluate.table import Table
from pipeline.release import log_refusal, rollback
from pipeline.release.page import DESCRIPTION_LIMIT, KEY_LIMIT, PARAM_LIMIT, keyed, page_of
from pipeline.release.store import NOTE, connect

Bundle = Callable[..., Path]
Record = Callable[..., dict[str, Any]]
NAME = "harbor"
FIGURES = {"difference": -0.01, "lower": -0.03}


def judged(outcome: str, score: float) -> dict[str, Any]:
    """Arguments of a record with this outcome and this mean of json/exact."""
    said = verdict(outcome)
    said["rows"] = [{**said["rows"][0], **FIGURES}]
    columns = (("json", "exact"), ("tone", "rubric"))
    rows = (("base", (0.0, 1.0)), ("merged", (score, 4.9)), ("quantized", (score - 0.01, None)))
    return {"verdict": said, "comparison": Table(columns, rows)}


@pytest.fixture(params=["sqlite", "server"])
def registry(request: pytest.FixtureRequest, workspace: Path) -> Iterator[str]:
    """The URI of a registry without the model: a file, or `mlflow server` with proxied artifacts."""
    if request.param == "sqlite":
        yield str(request.getfixturevalue("uri"))
        return
    folder = workspace / "server"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(request.getfixturevalue("empty_store").read_bytes())
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as (uri, _):
        yield uri


def test_promotions_and_refusals_stand_in_one_table_that_sorts_by_what_was_measured(
    registry: str, bundle: Bundle
) -> None:
    register_all(registry, bundle(**judged("promote", 0.96)))
    register_all(registry, bundle(candidate="better", seed=8, **judged("promote", 0.98)))
    log_refusal(
        registry, NAME, bundle(candidate="naive", quantized_files=None, **judged("reject", 0.38))
    )
    with connect(registry) as client:
        place = [client.get_experiment_by_name(NAME).experiment_id]
        runs = client.search_runs(place, order_by=["metrics.`merged/json/exact` DESC"])
        versions = {v.run_id: v for v in client.search_model_versions(f"name = '{NAME}'")}
        models = {m.model_id: m for m in client.search_logged_models(place)}
        refused = client.search_runs(
            place, "metrics.promoted = 0 and params.method = 'task_arithmetic'"
        )
    assert [run.data.params["candidate"] for run in runs] == ["better", "tuned", "naive"]
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert [run.data.params["candidate"] for run in refused] == ["naive"]
    best = runs[0]
    assert best.data.metrics == {
        "merged/json/exact": 0.98,
        "merged/tone/rubric": 4.9,
        "quantized/json/exact": 0.97,
        "difference/merged/json": -0.01,
        "lower/merged/json": -0.03,
        "margin/merged/json": 0.05,
        "promoted": 1.0,
    }
    assert best.data.params == {
        **{"candidate": "better", "method": "task_arithmetic", "base": "models/base"},
        **{"experts": "json, tone", "weight/tone": "0.5", "weight/json": "0.5", "seed": "8"},
        **{"scheme": "W4A16", "algorithm": "gptq", "group_size": "32", "alpha": "0.05"},
        "golden_samples/json": "400",
    }
    version = versions[best.info.run_id]
    (output,) = best.outputs.model_outputs
    model = models[version.tags["mergegate.model_id"]]
    assert output.model_id == model.model_id
    assert model.source_run_id == best.info.run_id
    assert model.params == best.data.params
    assert {metric.key: metric.value for metric in model.metrics} == best.data.metrics


def test_version_model_and_run_are_described_by_verdict_table_and_way_back(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    run = log_refusal(uri, NAME, bundle(verdict=verdict("reject"), quantized_files=None))
    client = MlflowClient(uri, uri)
    version = client.get_model_version(NAME, "2")
    for said in (
        "**harbor: candidate `tuned`, promoted**",
        "Promote: json.",
        "| merged | 0.960 | 4.900 |",
        "The way back: version 1, the unmerged set",
        "`mergegate rollback harbor`",
    ):
        assert said in version.description
    assert client.get_run(version.run_id).data.tags[NOTE] == version.description
    refusal = client.get_run(run).data.tags[NOTE]
    assert "candidate `tuned`, rejected" in refusal
    assert "The way back" not in refusal
    model = client.get_registered_model(NAME).description
    assert model.startswith("Champion: version 2, since ")
    assert "| merged | 0.960 | 4.900 |" in model
    assert (
        "The unmerged set: json, tone over `models/base`"
        in client.get_model_version(NAME, "1").description
    )


def test_the_model_s_description_follows_the_champion_until_somebody_writes_their_own(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    client = MlflowClient(uri, uri)
    rollback(uri, NAME, "tone complaints")
    assert client.get_registered_model(NAME).description.startswith("Champion: version 1, since ")
    assert ": tone complaints\n" in client.get_registered_model(NAME).description
    client.update_registered_model(NAME, "Ask Ida first.")
    rollback(uri, NAME, "again", to="2")
    assert client.get_registered_model(NAME).description == "Ask Ida first."


def test_a_version_that_an_older_mergegate_registered_is_left_without_a_run(
    uri: str, bundle: Bundle
) -> None:
    release = bundle()
    register_all(uri, release)
    client = MlflowClient(uri, uri)
    client.delete_run(client.get_model_version(NAME, "2").run_id)
    rollback(uri, NAME, "why")
    register_shipped(uri, release, register_target(uri, release))
    assert client.search_runs([client.get_experiment_by_name(NAME).experiment_id]) == []


def test_a_description_with_a_large_table_leaves_it_out_and_fits(record: Record) -> None:
    columns = tuple((f"skill{n}", "exact") for n in range(300))
    wide = Table(columns, (("merged", (0.5,) * 300),))
    page = page_of(record(comparison=wide), 1)
    assert len(page.description) <= DESCRIPTION_LIMIT
    assert "is among the artifacts, in README.md" in page.description
    assert "The way back: version 1" in page.description
    assert len(page.metrics) > 300


def test_what_was_not_measured_is_no_metric(record: Record) -> None:
    said = verdict("cannot judge")
    said["rows"] = [{**said["rows"][0], "difference": None, "lower": float("nan")}]
    page = page_of(record(verdict=said, latency=None), None)
    assert not {key for key in page.metrics if key.startswith(("difference", "lower", "latency"))}


def test_latency_and_size_are_figures_where_they_were_measured(record: Record) -> None:
    latency = {
        "device": "cpu",
        "merged": {"p50": 10.0, "p95": 30.0},
        "unmerged": {"p50": 20.0, "p95": 20.0},
    }
    sizes = {"weight_bytes_before": 3_200, "weight_bytes_after": 1_060}
    metrics = page_of(record(latency=latency, quantization=sizes), 1).metrics
    assert (metrics["latency_ratio/p50"], metrics["latency_ratio/p95"]) == (0.5, 1.5)
    assert (metrics["weight_bytes/merged"], metrics["weight_bytes/quantized"]) == (3_200, 1_060)


def test_values_of_parameters_are_cut(record: Record) -> None:
    made = record()
    made["rollback"]["base"]["reference"] = "x" * 10_000
    assert len(page_of(made, 1).params["base"]) == PARAM_LIMIT


names = st.text(min_size=1, max_size=400)


@given(st.lists(st.tuples(st.just("merged"), names, names), unique=True, max_size=8))
def test_any_names_give_keys_that_mlflow_takes_one_for_each(parts: list[tuple[str, ...]]) -> None:
    found = keyed((one, n) for n, one in enumerate(parts))
    assert sorted(found.values()) == list(range(len(parts)))
    assert len({key.casefold() for key in found}) == len(parts)
    for key in found:
        assert len(key) <= KEY_LIMIT
        _validate_metric_name(key)
        _validate_param_name(key)


def test_names_with_signs_stay_readable_and_apart() -> None:
    items = [
        ("merged", "json[language=de]"),
        ("merged", "pass@1"),
        ("merged", "a,b"),
        ("merged", "a b"),
    ]
    found = list(keyed((parts, 0) for parts in items))
    assert found[:2] == ["merged/json_language_de", "merged/pass_1"]
    assert [key[:11] for key in found[2:]] == ["merged/a_b-", "merged/a_b-"]
