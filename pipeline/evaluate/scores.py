"""lm-eval's logged samples turned into per-sample scores; whatever is missing, doubled or not finite is refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.tasks import SkillTask
from pipeline.facts import Score, canonical_json, digest_of
from pipeline.strict import shown

LONGEST_LABEL = 100  # characters of an attribute: more is a text, not the name of a group

Samples = Mapping[str, Sequence[Mapping[str, Any]]]  # logged samples by part of a skill


def skill_scores(
    task: SkillTask,
    metrics: Sequence[str],
    samples: Samples,
    limit: int | None,
    attributes: Sequence[str] = (),
) -> list[Score]:
    """One score per metric and sample, metric by metric, in the order of the golden set.

    `attributes` names the fields of the golden row that each score carries. Raises InputError where
    a metric is missing or not a finite number, where a field is missing or no label, or where the
    samples are not exactly those of the golden set (its first `limit` rows, where that is set).
    """
    golden = {row["id"]: digest_of(row) for row in task.rows}
    fields = golden_attributes(task, attributes)
    scores = [
        Score(
            task.skill,
            metric,
            sample_id,
            golden.get(sample_id) or _content_digest(sample),
            _value(task, metric, sample_id, sample),
            fields[sample_id]
            if sample_id in fields
            else _attributes(task, sample_id, sample["doc"], attributes),
        )
        for metric in metrics
        for sample_id, sample in _samples(task, metric, samples)
    ]
    expected = _expected(task, limit)
    for metric in metrics:
        _check_complete(task, metric, expected, [s.sample_id for s in scores if s.metric == metric])
    return scores


def golden_attributes(
    task: SkillTask, attributes: Sequence[str]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """The attributes of every golden row by its id; {} for a task with lm-eval's own data.

    Raises InputError naming the first row that lacks a field, or has no label in it.
    """
    return {row["id"]: _attributes(task, row["id"], row, attributes) for row in task.rows}


def skill_answers(task: SkillTask, samples: Samples) -> list[dict[str, str]]:
    """What the model said to each sample, as text; JSON of the raw responses where they are log-likelihoods."""
    answers: dict[str, str] = {}
    for part in task.parts:
        for sample in samples[part]:
            first = sample["resps"][0][0]
            answer = first if isinstance(first, str) else canonical_json(sample["resps"])
            answers.setdefault(_sample_id(task, part, sample), answer)
    return [{"skill": task.skill, "sample_id": i, "answer": text} for i, text in answers.items()]


def _samples(
    task: SkillTask, metric: str, samples: Samples
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """(sample id, logged sample) under the metric's filter."""
    for part in task.parts:
        chosen = _filter(task, metric, samples[part])
        for sample in samples[part]:
            if sample["filter"] == chosen:
                yield _sample_id(task, part, sample), sample


def _filter(task: SkillTask, metric: str, samples: Sequence[Mapping[str, Any]]) -> str:
    """The filter that `metric` names («NAME,FILTER»), or the task's only one."""
    filters = sorted({sample["filter"] for sample in samples})
    named = metric.partition(",")[2]
    if named in filters or (not named and len(filters) == 1):
        return named or filters[0]
    choices = ", ".join(f"{metric.partition(',')[0]},{name}" for name in filters)
    raise InputError(
        f"params.yaml: evaluate.skills.{task.skill}.metrics: "
        f"{metric!r} names no single filter of {task.name}. Valid: {choices}."
    )


def _value(task: SkillTask, metric: str, sample_id: str, sample: Mapping[str, Any]) -> float:
    name, where = metric.partition(",")[0], f"{task.skill}: sample {sample_id}"
    if name not in sample["metrics"]:
        raise InputError(
            f"{where}: {task.name} gives no metric {name!r}; "
            f"it gives {', '.join(sample['metrics'])}. "
            f"Correct params.yaml: evaluate.skills.{task.skill}.metrics, or the task."
        )
    try:
        value = float(sample[name])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{where}: metric {name!r} is {sample[name]!r}; "
            "it must be one finite number per sample. Choose another metric, or correct the task."
        )
    return value


def _attributes(
    task: SkillTask, sample_id: str, row: Mapping[str, Any], names: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    return tuple((name, _label(task, sample_id, row, name)) for name in sorted(names))


def _label(task: SkillTask, sample_id: str, row: Mapping[str, Any], name: str) -> str:
    """A field as text, for it becomes part of a check's name; JSON for a number or a boolean."""
    key = f"params.yaml: evaluate.skills.{task.skill}.attributes"
    if name not in row:
        raise InputError(
            f"{key} names {name!r}, which row {sample_id} does not have; "
            f"it has {', '.join(map(str, row))}. Correct the name, or fill the field in every row."
        )
    value = row[name]
    label = value if isinstance(value, str) else _json_scalar(value)
    if not label.strip() or len(label) > LONGEST_LABEL or not label.isprintable():
        raise InputError(
            f"{key}: {name} of row {sample_id} is {shown(value)}; it must be a text on one line of "
            f"1 to {LONGEST_LABEL} characters, a number, true or false: it names a group of samples."
        )
    return label


def _json_scalar(value: Any) -> str:
    """The JSON of a finite number or a boolean; "" for anything else, which is no label."""
    is_scalar = isinstance(value, bool | int | float) and math.isfinite(value)
    return canonical_json(value) if is_scalar else ""


def _check_complete(
    task: SkillTask, metric: str, expected: Sequence[str], found: Sequence[str]
) -> None:
    missing = sorted(set(expected) - set(found))
    doubled = sorted(name for name, count in Counter(found).items() if count > 1)
    foreign = sorted(set(found) - set(expected))
    if not found or missing or doubled or foreign:
        raise InputError(
            f"{task.skill}: {metric} was scored on {len(found)} samples; "
            f"it must be scored once on each of {len(expected)}. "
            f"Missing: {_some(missing)}; doubled: {_some(doubled)}; unexpected: {_some(foreign)}."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _expected(task: SkillTask, limit: int | None) -> list[str]:
    if task.rows:
        return [row["id"] for row in task.rows[:limit]]
    return [
        _numbered(part, number)
        for part, lm_task in task.parts.items()
        for number in range(len(lm_task.eval_docs))[:limit]
    ]


def _sample_id(task: SkillTask, part: str, sample: Mapping[str, Any]) -> str:
    return str(sample["doc"]["id"]) if task.rows else _numbered(part, sample["doc_id"])


def _numbered(part: str, number: int) -> str:
    return f"{part}:{number:06d}"


def _content_digest(sample: Mapping[str, Any]) -> str:
    """SHA-256 of what lm-eval hashed of a document of its own: the document and its target."""
    return digest_of([sample.get("doc_hash"), sample.get("target_hash")])
