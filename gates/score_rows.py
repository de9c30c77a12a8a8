"""One row of a file of scores as a `Score`: rows of mergegate's own, of any harness, of lm-eval's log.

general   {"id": "q-17", "score": 0.5}, or with the metric's name as key: {"id": 17, "exact": true}.
          `sample_id` is as good as `id`. Optional: skill; metric (then the value is `score`);
          sample_digest, digest or prompt (what was asked); attributes (what groups samples).
          mergegate's own rows {skill, metric, sample_id, sample_digest, score} are of this form.
lm-eval   a line of samples_TASK_TIMESTAMP.jsonl (`--log_samples`): doc_id, doc, doc_hash,
          prompt_hash, target_hash, filter, metrics, and each metric's value under its name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gates.policy import Policy
from pipeline.facts import Score, canonical_json
from pipeline.strict import nearest

UNCHECKED = "not checked"  # the digest of a sample where nothing says what was asked
MAX_TEXT = 1000  # characters of an id, skill or metric: messages quote them
LONGEST_LABEL = 100  # of a group of samples, as in an evaluation of mergegate's own


class RowError(ValueError):
    """What is wrong with a row, in words that follow on «FILE, line N: »."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if text.endswith((".", "?")) else f"{text}."


@dataclass(frozen=True)
class Asked:
    """What to take from the rows: for each skill its metric, and the fields that group samples."""

    metrics: Mapping[str, str]
    groupings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skill: str = ""  # of rows that name none
    tasks: Mapping[str, str] = field(default_factory=dict)  # task -> skill, where names differ
    met: set[str] = field(default_factory=set)  # those of `tasks` that the files name
    directions: Mapping[str, str] = field(default_factory=dict)  # by skill: higher or lower

    @classmethod
    def of(cls, policy: Policy, skill: str = "", tasks: Mapping[str, str] | None = None) -> Asked:
        """What `policy` asks; `skill` is by default its only one."""
        names = [rule.name for rule in policy.rules]
        return cls(
            metrics={rule.name: rule.metric for rule in policy.rules},
            groupings={rule.name: rule.fields for rule in policy.rules},
            skill=skill or (names[0] if len(names) == 1 else ""),
            tasks=tasks or {},
            directions={rule.name: rule.direction for rule in policy.rules},
        )

    def skill_of(self, name: str) -> str:
        """The skill that a name in a file stands for."""
        if name not in self.tasks:
            return name
        self.met.add(name)
        return self.tasks[name]


def general_score(row: Mapping[str, Any], asked: Asked) -> tuple[str, str, Score | None]:
    """(skill, what its digest is of, score) of a general row; no score where the policy asks for none."""
    named = row.get("skill", asked.skill)
    skill = asked.skill_of(_text(named, "skill"))
    if not skill:
        raise RowError(
            "no field skill, and the policy has several skills. Add the field, or name the skill "
            "of all such rows: --skill NAME."
        )
    value_of = _metric(row, skill, asked)
    if value_of is None:
        return skill, "", None
    metric, key = value_of
    sample = row["sample_id"] if "sample_id" in row else row.get("id")
    kind, digest = _asked_by(row)
    return (
        skill,
        kind,
        Score(
            skill,
            metric,
            identifier(sample),
            digest,
            figure(row[key], key),
            attributes_of(row, row, asked.groupings.get(skill, ())),
        ),
    )


def logged_score(row: Mapping[str, Any], task: str, skill: str, asked: Asked) -> Score | None:
    """The score of a line of lm-eval's log; None for another filter, or where the policy asks for none.

    A metric «NAME,FILTER» takes the rows of that filter; «NAME» takes every row.
    """
    if skill not in asked.metrics:
        return None
    name, _, chosen = asked.metrics[skill].partition(",")
    if chosen and row.get("filter") != chosen:
        return None
    metrics = row.get("metrics")
    known = [m for m in metrics if isinstance(m, str)] if isinstance(metrics, list) else []
    if name not in row or (known and name not in known):
        choices = known or list(row)
        raise RowError(
            f"no metric {_shown(name)}, which the policy asks of {skill}.{nearest(name, choices)}"
        )
    number = row.get("doc_id")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**12:
        raise RowError(f"doc_id is {_shown(number)}; it must be a whole number, 0 or more")
    doc = row.get("doc")
    return Score(
        skill,
        asked.metrics[skill],
        f"{task}:{number:06d}",
        _hashes(row),
        figure(row[name], name),
        attributes_of(row, doc if isinstance(doc, Mapping) else {}, asked.groupings.get(skill, ())),
    )


def figure(value: Any, what: str) -> float:
    """A score as a float: any number, true as 1 and false as 0. NaN and infinities stay what they are."""
    if type(value) is float:
        return value
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    hint = " Write it without quotation marks" if isinstance(value, str) else ""
    raise RowError(f"{what} is {_shown(value)}; it must be one number, or true or false.{hint}")


def _metric(row: Mapping[str, Any], skill: str, asked: Asked) -> tuple[str, str] | None:
    """(metric, the key of its value) of a general row; None where nobody asks for this skill."""
    if "metric" in row:
        if "score" not in row:
            raise RowError("no field score beside metric. Add it: the value of that metric")
        return _text(row["metric"], "metric"), "score"
    wanted = asked.metrics.get(skill)
    if wanted is None:
        return None
    if wanted in row:
        return wanted, wanted
    if "score" in row:
        return wanted, "score"
    numbers = [key for key, value in row.items() if isinstance(value, bool | int | float)]
    raise RowError(
        f"no field {_shown(wanted)}, which the policy asks of {skill}, and no field score."
        f"{nearest(wanted, numbers) if numbers else ''}"
    )


def _asked_by(row: Mapping[str, Any]) -> tuple[str, str]:
    """What says that both sides were asked the same, and its digest; ("", UNCHECKED) for nothing."""
    for key in ("sample_digest", "digest"):
        if key in row:
            digest = _text(row[key], key)
            if not digest:
                raise RowError(f"{key} is empty. Fill it in every row, or leave it out of all")
            return "digests", digest
    prompt = row.get("prompt")
    if prompt is None:
        return "", UNCHECKED
    try:
        text = prompt if isinstance(prompt, str) else canonical_json(prompt)
    except ValueError:
        raise RowError("prompt holds NaN or an infinity. Write the prompt as a text") from None
    return "prompts", hashlib.sha256(text.encode()).hexdigest()


def _hashes(row: Mapping[str, Any]) -> str:
    """One digest of document, prompt and target as lm-eval hashed them."""
    hashes = [row.get(key) for key in ("doc_hash", "prompt_hash", "target_hash")]
    if not all(isinstance(value, str) and value for value in hashes):
        raise RowError(
            "no doc_hash, prompt_hash or target_hash; lm-eval writes all three. "
            "Use the file as lm-eval wrote it"
        )
    return hashlib.sha256(" ".join(map(str, hashes)).encode()).hexdigest()


def attributes_of(
    row: Mapping[str, Any], source: Mapping[str, Any], fields: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """What groups a sample: the row's `attributes`, and of `source` the fields that the policy groups samples by."""
    given = row.get("attributes")
    if given is None and not fields:
        return ()
    if given is not None and not isinstance(given, Mapping):
        raise RowError(f"attributes is {_shown(given)}; it must be an object")
    found = {**{name: source[name] for name in fields if name in source}, **(given or {})}
    return tuple(sorted((name, _label(name, value)) for name, value in found.items()))


def _label(name: str, value: Any) -> str:
    """A field as text, for it becomes part of a check's name; JSON for a number or a boolean."""
    if isinstance(value, str):
        text = value
    else:
        is_scalar = isinstance(value, bool | int | float) and math.isfinite(value)
        text = canonical_json(value) if is_scalar else ""
    if not text.strip() or len(text) > LONGEST_LABEL or not text.isprintable():
        raise RowError(
            f"{name} groups samples and is {_shown(value)}; it must be a text on one line of 1 to "
            f"{LONGEST_LABEL} characters, a number, true or false"
        )
    return text


def identifier(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**100:
        return str(value)
    if value is not None and not isinstance(value, str):
        raise RowError(f"id is {_shown(value)}; it must be a text or a whole number")
    found = _text(value, "id")
    if not found:
        raise RowError("no field id or sample_id. Give each sample a name that both files use")
    return found


def _text(value: Any, what: str) -> str:
    """A text, or "" for null; texts that no message could quote are refused."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{what} is {_shown(value)}; it must be a text")
    if len(value) > MAX_TEXT:
        raise RowError(f"{what} has {len(value):,} characters; at most {MAX_TEXT:,} are read")
    return value


def _shown(value: Any) -> str:
    """A value as the file has it, cut to 60 characters."""
    words = json.dumps(value, ensure_ascii=False, default=repr)
    return words if len(words) <= 60 else words[:57] + "..."
