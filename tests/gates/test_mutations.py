"""Whatever is changed in a stored release, one thing at a time, the verdict shows it or the gate blocks.

The changes are those of someone who hides them: where a file of scores is changed, the digest that
is kept of it is changed too. What is not read by the gate (the means in VARIANT.json) is left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stored_release import (
    GOLDEN,
    SKILLS,
    VARIANTS,
    judge,
    load,
    policy,
    samples,
    store,
    told,
    write_samples,
)

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import write_json

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Mutation:
    """One change of the files; `blocks` where nothing may be promoted after it."""

    edit: Edit
    blocks: bool


# Samples: one row of one skill of one variant


def row_edit(variant: str, skill: str, change: Callable[[dict[str, Any]], None]) -> Edit:
    """The third row of a skill is changed in place."""

    def edit(folder: Path) -> None:
        rows = samples(folder, variant)
        change([row for row in rows if row["skill"] == skill][2])
        write_samples(folder, variant, rows)

    return edit


def lower_score(row: dict[str, Any]) -> None:
    row["score"] = row["score"] - 1.0 if row["score"] else 1.0


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.__setitem__(key, value)


def removed(variant: str, skill: str) -> Edit:
    def edit(folder: Path) -> None:
        rows = samples(folder, variant)
        rows.remove([row for row in rows if row["skill"] == skill][2])
        write_samples(folder, variant, rows)

    return edit


def doubled(variant: str, skill: str) -> Edit:
    def edit(folder: Path) -> None:
        rows = samples(folder, variant)
        rows.append([row for row in rows if row["skill"] == skill][2])
        write_samples(folder, variant, rows)

    return edit


def exchanged_rows(variant: str, skill: str) -> Edit:
    """Two samples exchange their scores where they differ, else their ids."""

    def edit(folder: Path) -> None:
        rows = samples(folder, variant)
        own = [row for row in rows if row["skill"] == skill]
        first, last = own[0], own[-1]
        key = "score" if first["score"] != last["score"] else "sample_id"
        first[key], last[key] = last[key], first[key]
        write_samples(folder, variant, rows)

    return edit


def exchanged_variants(one: str, other: str, skill: str) -> Edit:
    """Two variants exchange the third row of a skill, with another score for one of them."""

    def edit(folder: Path) -> None:
        ours, theirs = samples(folder, one), samples(folder, other)
        a = next(i for i, row in enumerate(ours) if row["skill"] == skill) + 2
        lower_score(theirs[a])
        ours[a], theirs[a] = theirs[a], ours[a]
        write_samples(folder, one, ours)
        write_samples(folder, other, theirs)

    return edit


def unhidden(variant: str) -> Edit:
    """A changed score whose file no longer has the digest that is kept of it."""

    def edit(folder: Path) -> None:
        rows = samples(folder, variant)
        lower_score(rows[0])
        write_samples(folder, variant, rows, hide=False)

    return edit


def of_samples() -> dict[str, Mutation]:
    found = {}
    for variant in VARIANTS:
        found[f"{variant}: a score, its file's digest as it was"] = Mutation(
            unhidden(variant), True
        )
        for skill in SKILLS:
            here = f"{variant} {skill}"
            changes: dict[str, tuple[Edit, bool]] = {
                "a score": (row_edit(variant, skill, lower_score), False),
                "a score that is NaN": (row_edit(variant, skill, put("score", float("nan"))), True),
                "a score out of range": (row_edit(variant, skill, put("score", 7.0)), True),
                "an id": (row_edit(variant, skill, put("sample_id", "another")), True),
                "a digest": (row_edit(variant, skill, put("sample_digest", "another")), True),
                "a metric": (row_edit(variant, skill, put("metric", "another")), True),
                "a skill": (row_edit(variant, skill, put("skill", "another")), True),
                "a row removed": (removed(variant, skill), True),
                "a row doubled": (doubled(variant, skill), True),
                "two rows exchanged": (exchanged_rows(variant, skill), False),
            }
            found |= {f"{here}: {name}": Mutation(*change) for name, change in changes.items()}
        for field in ("language", "document"):
            attributes = {"document": "d00", "language": "de", field: "another"}
            edit = row_edit(variant, "json", put("attributes", attributes))
            found[f"{variant} json: its {field}"] = Mutation(edit, True)
    for other in VARIANTS[1:]:
        edit = exchanged_variants("merged", other, "json")
        found[f"a row exchanged between merged and {other}"] = Mutation(edit, False)
    return found


# The other values of JSON files


def leaf_edit(name: str, path: tuple[Any, ...], value: Any) -> Edit:
    """One value of a JSON file; `...` removes it."""

    def edit(folder: Path) -> None:
        content = load(folder, name)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        write_json(folder / name, content)

    return edit


HEAD: dict[tuple[str, ...], tuple[Any, bool]] = {
    ("variant",): ("another", True),
    ("model",): ("another/model", False),
    ("model_digest",): ("", True),
    ("harness",): ("lm-eval 0.4.12", True),
    ("settings", "batch_size"): (64, True),
    ("settings", "system"): ("You are someone else.", True),
    ("settings", "max_new_tokens"): (95, True),
    ("settings", "prompts_digest"): ("another", True),
    ("settings", "limit"): (60, True),
    ("settings", "temperature"): (0.5, True),
    ("tasks", "json", "task"): ("another", True),
    ("tasks", "json", "task_digest"): ("another", True),
    ("tasks", "json", "golden_digest"): ("b" * 64, True),
    ("tasks", "json", "samples"): (61, True),
    ("tasks", "tone"): (..., True),
}


def of_heads() -> dict[str, Mutation]:
    return {
        f"{variant}: {' '.join(path)}": Mutation(leaf_edit(f"{variant}.json", path, value), blocks)
        for variant in VARIANTS
        for path, (value, blocks) in HEAD.items()
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every value of a mapping that is neither a mapping nor a list of mappings, with its path."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [leaf for i, inner in enumerate(value) for leaf in leaves(inner, (*path, i))]
    return [(path, value)]


# What a policy says where it says nothing: to remove it changes nothing.
DEFAULTS = {"alpha": 0.05, "range": [0, 1], "direction": "higher"}
OTHER_WORDS = {"higher": "lower", "best-expert": "tone", "base": "plain", "p95": "p50"}


def another(value: Any) -> Any:
    """A value of the same kind, a little looser where it is a figure."""
    if isinstance(value, list):
        return value[:1] if isinstance(value[0], str) else [value[0], value[1] * 2]
    if isinstance(value, str):
        return OTHER_WORDS.get(value, "another")
    return value + 1 if isinstance(value, int) else value * 1.01


def of_policy() -> dict[str, Mutation]:
    """Every value of the policy, changed and removed, once it was fixed and before that."""
    found = {}
    for path, value in leaves(policy()):
        here = ".".join(map(str, path))
        waiver = path[0] == "waivers"
        changes = [("changed", another(value))]
        if DEFAULTS.get(path[-1]) != value:
            changes.append(("removed", ...))
        for what, new in changes:
            edit = leaf_edit("terms.json", path, new)
            found[f"fixed policy: {here} {what}"] = Mutation(edit, not waiver)
            if not waiver:
                found[f"policy: {here} {what}"] = Mutation(_unfixed(edit), False)
    expires = ("waivers", 0, "expires")
    found["policy: a waiver's date put off"] = Mutation(
        leaf_edit("terms.json", expires, "2027-06-30"), False
    )
    for what, path, day in (
        ("a waiver's date put forward", expires, "2026-02-28"),
        ("a waiver of another check", ("waivers", 0, "check"), "json"),
        ("a waiver of an unknown check", ("waivers", 0, "check"), "jsno"),
        ("a waiver without its reason", ("waivers", 0, "reason"), ""),
        ("no waiver", ("waivers",), []),
    ):
        found[f"policy: {what}"] = Mutation(leaf_edit("terms.json", path, day), True)
    return found


def _unfixed(edit: Edit) -> Edit:
    """The same where no digest of the policy was recorded when the evaluation began."""

    def both(folder: Path) -> None:
        leaf_edit("stated.json", ("fixed_policy",), None)(folder)
        edit(folder)

    return both


def of_the_rest() -> dict[str, Mutation]:
    changes: dict[str, tuple[Edit, bool]] = {
        "latency: the merge's p95": (leaf_edit("latency.json", ("merged", "p95"), 29.0), False),
        "latency: the merge's p50": (leaf_edit("latency.json", ("merged", "p50"), 9.5), False),
        "latency: the adapters' p95": (leaf_edit("latency.json", ("unmerged", "p95"), 12.5), False),
        "latency: no p95": (leaf_edit("latency.json", ("merged", "p95"), ...), False),
        "stated: another day": (leaf_edit("stated.json", ("today",), "2026-03-02"), False),
        "stated: a day after the waiver": (
            leaf_edit("stated.json", ("today",), "2026-07-01"),
            True,
        ),
        "stated: other weights": (leaf_edit("stated.json", ("registered",), "another"), True),
        "stated: another fixed policy": (leaf_edit("stated.json", ("fixed_policy",), "x"), True),
        "stated: no weights": (leaf_edit("stated.json", ("registered",), None), False),
        "stated: no fixed policy": (leaf_edit("stated.json", ("fixed_policy",), None), False),
        "stated: more uses": (leaf_edit("stated.json", ("uses", GOLDEN), 6), False),
        "stated: uses over the limit": (leaf_edit("stated.json", ("uses", GOLDEN), 21), False),
        "stated: no ledger": (leaf_edit("stated.json", ("uses",), None), False),
        "stated: no champion": (leaf_edit("stated.json", ("absent", "champion"), "x"), True),
        "stated: no experts": (leaf_edit("stated.json", ("experts",), []), True),
        "stated: fewer experts": (leaf_edit("stated.json", ("experts",), ["tone", "json"]), False),
    }
    return {name: Mutation(*change) for name, change in changes.items()}


MUTATIONS = {**of_samples(), **of_heads(), **of_policy(), **of_the_rest()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "stored"
    folder.mkdir()
    store(folder)
    return folder


@pytest.fixture(scope="module")
def verdict(release: Path) -> str:
    return told(judge(release))


def test_the_release_that_is_mutated_is_promoted_and_reads_the_same_twice(
    release: Path, verdict: str
) -> None:
    assert json.loads(verdict)["outcome"] == "promote"
    assert told(judge(release)) == verdict


def test_there_are_mutations_of_every_input() -> None:
    assert len(MUTATIONS) > 500


@pytest.mark.parametrize("name", MUTATIONS)
def test_no_mutation_passes_unnoticed(
    name: str, release: Path, verdict: str, tmp_path: Path
) -> None:
    mutation = MUTATIONS[name]
    folder = tmp_path / "mutated"
    shutil.copytree(release, folder)
    mutation.edit(folder)
    try:
        found = judge(folder)
    except (InputError, CorruptArtifactError):
        return  # reading it is refused
    assert told(found) != verdict
    if mutation.blocks:
        assert found.outcome != "promote"
        assert any(r.outcome == found.outcome and r.text for r in found.reasons)
