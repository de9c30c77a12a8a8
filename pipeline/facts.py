"""Typed facts that stages hand to each other: findings, scores, evaluations. No torch, no I/O beyond JSON.

`pipeline` writes them and `gates` reads them; neither needs anything else of the other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.private import private_folder

Status = Literal["pass", "fail", "cannot_judge", "waived"]


@dataclass(frozen=True)
class Finding:
    """What one check found about one subject. Checks return findings; only the front end prints them."""

    code: str  # stable, for waivers and search: "architecture", "chat-template", ...
    title: str
    status: Status
    subject: str  # the source, skill or file it speaks of
    observed: str
    required: str
    message: str  # one sentence for a person, with the differing fields named
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        """Whether a release must stop here: anything that is neither passed nor waived."""
        return self.status in ("fail", "cannot_judge")


@dataclass(frozen=True)
class Score:
    """The score of one sample under one metric. `sample_digest` is the SHA-256 of the golden row."""

    skill: str
    metric: str
    sample_id: str
    sample_digest: str
    score: float
    # Fields of the golden row that group samples, as slices and clusters: pairs sorted by name.
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TaskFacts:
    """What the scores of one skill depend on besides the model."""

    task: str  # the lm-eval task's name
    task_digest: str  # SHA-256 over the task's YAML and its metric code
    golden_digest: str  # SHA-256 of the golden set's file; "" for a task of lm-eval's own
    samples: int


Identity = Literal["checked", "trusted", "unidentified"]


@dataclass(frozen=True)
class Served:
    """How it is known that a server had the weights that were evaluated.

    checked: probes were asked, and every token of the answers is what the weights themselves say, within `limit`.
    trusted: `by` vouches for it, and nothing was checked. unidentified: neither.
    """

    identity: Identity
    by: str = ""  # who vouches, where it is trusted
    method: str = ""  # how it was checked
    probes: int = 0
    tokens: int = 0  # of the answers, their ends among them
    agreeing: int = 0  # tokens that are the likeliest of the weights
    largest_gap: float = 0.0  # nats by which a token is less likely than the likeliest
    limit: float = 0.0  # of largest_gap and largest_difference
    compared: int = 0  # tokens whose log-probability the server gave
    largest_difference: float = 0.0  # nats between its log-probability and that of the weights
    # The variant made from the same weights that the log-probabilities tell it from; "" where none was tried or told.
    apart_from: str = ""

    @property
    def faults(self) -> list[str]:
        """Why it does not show which weights answered; nothing where it does."""
        if self.identity == "trusted" and self.by.strip():
            return []
        if self.identity != "checked":
            return [
                "it was evaluated behind a server, and nothing shows that the server had its weights"
            ]
        within = (
            self.largest_gap <= self.limit and self.largest_difference <= self.limit
        )  # NaN is not
        if self.probes > 0 and 0 < self.agreeing <= self.tokens and within:
            return []
        return [
            "the check of its server's weights is said to have passed, and its figures say otherwise"
        ]


@dataclass(frozen=True)
class Evaluation:
    """One variant under every skill: the per-sample scores and all that they depend on."""

    variant: str
    model: str  # the reference that was evaluated
    model_digest: str
    harness: str  # "lm-eval 0.4.13"
    settings: Mapping[str, Any]  # decoding, template and backend settings, as JSON values
    tasks: Mapping[str, TaskFacts]  # by skill
    scores: tuple[Score, ...] = field(default=())
    served: Served | None = None  # None where the weights were loaded in the process itself


def canonical_json(value: Any) -> str:
    """`value` as JSON whose bytes depend on its content alone: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either the old content or the new, never a part."""
    private_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, sorted, atomically."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as readable JSON whose bytes depend on its content alone: sorted keys, two spaces, a last newline."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError where it is missing, CorruptArtifactError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file. It is written by an earlier stage; run `mergegate release`."
        ) from None
    except ValueError as error:
        raise CorruptArtifactError(
            f"{path}: not valid JSON ({error}). Delete it and run its stage again."
        ) from None


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write VARIANT.samples.jsonl, then VARIANT.json with its digest, into `folder`."""
    samples = folder / f"{evaluation.variant}.samples.jsonl"
    write_text(samples, "".join(canonical_json(_score_json(s)) + "\n" for s in evaluation.scores))
    head = asdict(evaluation)
    del head["scores"]
    head["samples"] = {"file": samples.name, "sha256": digest_file(samples)}
    head["means"] = _means(evaluation.scores)
    write_json(folder / f"{evaluation.variant}.json", head)


def read_evaluation(path: Path) -> Evaluation:
    """Read VARIANT.json and the samples that it names. Raises CorruptArtifactError where their digest differs."""
    head = read_json(path)
    samples = path.parent / Path(head["samples"]["file"]).name
    if not samples.is_file() or digest_file(samples) != head["samples"]["sha256"]:
        raise CorruptArtifactError(
            f"{samples}: missing, or changed since {path.name} was written. "
            "Evaluate the variant again."
        )
    # Not splitlines(): it also breaks at U+2028, which may stand inside a JSON string.
    rows = samples.read_text(encoding="utf-8").split("\n")
    return Evaluation(
        variant=head["variant"],
        model=head["model"],
        model_digest=head["model_digest"],
        harness=head["harness"],
        settings=head["settings"],
        tasks={skill: TaskFacts(**facts) for skill, facts in head["tasks"].items()},
        scores=tuple(_score(json.loads(row)) for row in rows if row),
        served=Served(**served) if (served := head.get("served")) else None,
    )


def _score_json(score: Score) -> dict[str, Any]:
    """Without `attributes` where there are none."""
    value = {**vars(score), "attributes": dict(score.attributes)}
    return {key: entry for key, entry in value.items() if key != "attributes" or entry}


def _score(value: dict[str, Any]) -> Score:
    attributes = value.pop("attributes", {})
    return Score(**value, attributes=tuple(sorted(attributes.items())))


def _means(scores: tuple[Score, ...]) -> dict[str, dict[str, float]]:
    sums: dict[tuple[str, str], list[float]] = {}
    for s in scores:
        sums.setdefault((s.skill, s.metric), []).append(s.score)
    table: dict[str, dict[str, float]] = {}
    for (skill, metric), values in sorted(sums.items()):
        table.setdefault(skill, {})[metric] = sum(values) / len(values)
    return table


def package_versions(*packages: str) -> dict[str, str]:
    """The installed version of each distribution; "not installed" where there is none."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # mergegate itself may run from a checkout
            found[package] = "not installed"
    return found
