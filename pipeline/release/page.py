"""What MLflow's pages show of a release, to be sorted, compared and plotted: metrics, parameters and a description."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.facts import digest_of
from pipeline.plain_yaml import load_document
from pipeline.recipe import parse_recipe
from pipeline.recipe.parameters import Parameters
from pipeline.release.card import comparison_markdown
from pipeline.release.store import fitting

# What a column of MLflow's tables holds, in characters; keys of metrics and parameters have 250.
KEY_LIMIT, PARAM_LIMIT, DESCRIPTION_LIMIT = 250, 500, 5_000
# MLflow takes letters, digits and these alone: / _ . - and space; ":" only where the server is no Windows.
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")
_ARTIFACTS = ("merged", "quantized")

Parts = tuple[str, ...]  # of a key, joined by /
T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """Metrics, parameters and a description, each within what MLflow takes."""

    description: str  # Markdown
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def page_of(record: Mapping[str, Any], rollback_version: int | None) -> Page:
    """The page of a release from its record; `rollback_version`: that of its unmerged set, None for a refusal."""
    return Page(
        description=_description(record, rollback_version),
        metrics=keyed(
            (parts, float(value))
            for parts, value in _metrics(record)
            if value is not None and math.isfinite(value)
        ),
        params={key: fitted(value) for key, value in keyed(_params(record)).items()},
    )


def page_of_unmerged(unmerged: Mapping[str, Any]) -> Page:
    """The page of an unmerged set."""
    base, experts = unmerged["base"]["reference"], ", ".join(sorted(unmerged["experts"]))
    said = (
        f"**The unmerged set: {experts} over `{base}`**\n\nWhat releases of these sources go back to: the base with "
        f"one adapter or model for each expert, by digest `{unmerged['digest']}`."
    )
    params = {"base": fitted(base), "experts": fitted(experts)}
    return Page(fitting(said, DESCRIPTION_LIMIT), {}, params)


def keyed(items: Iterable[tuple[Parts, T]]) -> dict[str, T]:
    """Values by keys that MLflow takes, whatever the parts are called.

    Names that would become one key, in a store that does not tell cases apart too, get a digest each.
    """
    listed = [(_key(parts), parts, value) for parts, value in items]
    many = Counter(key.casefold() for key, _, _ in listed)
    return {
        f"{key}-{digest_of(list(parts))[:8]}" if many[key.casefold()] > 1 else key: value
        for key, parts, value in listed
    }


def fitted(text: str) -> str:
    """`text` as the value of a parameter: without secrets, and cut where it is long."""
    shown = fitting(text, 10 * PARAM_LIMIT)
    return shown if len(shown) <= PARAM_LIMIT else f"{shown[: PARAM_LIMIT - 1]}…"


def _key(parts: Parts) -> str:
    key = "/".join(_FOREIGN.sub("_", part).strip("_.") or "_" for part in parts)
    room = KEY_LIMIT - 9  # for a digest
    return (
        key if len(key) <= room else f"{key[: room - 9].rstrip('/')}-{digest_of(list(parts))[:8]}"
    )


def _metrics(record: Mapping[str, Any]) -> Iterator[tuple[Parts, float | None]]:
    """The figures of a release by parts of their keys; differences and bounds are positive where better."""
    table = record["comparison"]
    for variant, means in table["rows"]:
        if variant in _ARTIFACTS:
            for (skill, metric), mean in zip(table["columns"], means, strict=True):
                yield (variant, skill, metric), mean
    for row in record["verdict"]["rows"]:
        for figure in ("difference", "lower", "margin"):
            yield (figure, row["artifact"], row["check"]), row.get(figure)
    yield ("promoted",), float(record["verdict"]["outcome"] == "promote")
    for percentile, ratio in _ratios(record.get("latency")):
        yield ("latency_ratio", percentile), ratio
    for artifact, field in zip(_ARTIFACTS, ("before", "after"), strict=True):
        yield ("weight_bytes", artifact), record["quantization"].get(f"weight_bytes_{field}")


def _ratios(latency: Mapping[str, Any] | None) -> Iterator[tuple[str, float]]:
    """Merged weights against base plus adapter, by percentile."""
    for percentile in ("p50", "p95") if latency else ():
        assert latency
        merged, unmerged = latency["merged"][percentile], latency["unmerged"][percentile]
        if unmerged:
            yield percentile, merged / unmerged


def _params(record: Mapping[str, Any]) -> Iterator[tuple[Parts, str]]:
    identity, rollback = record["identity"], record["rollback"]
    yield ("candidate",), record["candidate"]
    yield ("method",), record["method"]["name"]
    yield ("base",), rollback["base"]["reference"]
    yield ("experts",), ", ".join(sorted(rollback["experts"]))
    yield ("seed",), str(identity["seed"])
    for field in ("scheme", "algorithm", "group_size"):
        if field in record["quantization"]:
            yield (field,), str(record["quantization"][field])
    levels = {row["alpha"] for row in record["verdict"]["rows"]}
    if levels:
        yield ("alpha",), ", ".join(f"{alpha:g}" for alpha in sorted(levels))
    for skill, facts in sorted(record.get("tasks", {}).items()):
        yield ("golden_samples", skill), str(facts["samples"])
    yield from _parameters(record)


def _parameters(record: Mapping[str, Any]) -> Iterator[tuple[Parts, str]]:
    """The numbers of a recipe that are one for all tensors: its own, and those of each source by its name."""
    text = record["identity"]["recipe"]["text"]
    recipe = parse_recipe(load_document(text, "recipe.yaml"), "recipe.yaml", text)
    yield from (((name,), value) for name, value in _scalars(recipe.parameters))
    if recipe.stacked:  # a source may stand in several slices
        return
    experts = {member["reference"]: name for name, member in record["rollback"]["experts"].items()}
    for source in recipe.slices[0].sources:
        name = experts.get(str(source.model), str(source.model))
        yield from (((key, name), value) for key, value in _scalars(source.parameters))


def _scalars(parameters: Parameters) -> Iterator[tuple[str, str]]:
    for name, parameter in parameters.items():
        if len(parameter) == 1 and not parameter[0].filter and len(parameter[0].gradient) == 1:
            yield name, f"{parameter[0].gradient[0]:g}"


def _description(record: Mapping[str, Any], rollback_version: int | None) -> str:
    verdict, rollback = record["verdict"], record["rollback"]
    named = {"promote": "promoted", "reject": "rejected"}
    outcome = named.get(verdict["outcome"], verdict["outcome"])
    head = f"**{record['name']}: candidate `{record['candidate']}`, {outcome}**\n\n{verdict['sentence']}\n"
    table = f"\n{comparison_markdown(record)}"
    back = f"\nRelease `{record['release_digest']}`."
    if rollback_version is not None:
        back = (
            f"\nThe way back: version {rollback_version}, the unmerged set `{rollback['digest']}` "
            f"(`mergegate rollback {record['name']}`).\n{back}"
        )
    if len(head + table + back) > DESCRIPTION_LIMIT:
        table = "\nThe table of variants is among the artifacts, in README.md.\n"
    return fitting(head + table + back, DESCRIPTION_LIMIT)
