"""One variant's scores under one rule, checked sample by sample, and paired with another's.

A gate that passes on missing data guards nothing, so each function gives columns, or the faults
that prevent it.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from gates.policy import Rule
from gates.statistics import Scores
from pipeline.facts import Evaluation, Score

Groups = Mapping[tuple[str, str], Sequence[Score]]  # by skill and metric


@dataclass(frozen=True)
class Column:
    """The scores of one variant under one rule: columns of equal length, in file order."""

    variant: str
    label: str  # what a person calls the variant
    ids: tuple[str, ...]
    digests: tuple[str, ...]  # of the golden rows
    values: Scores  # shape (n,), float64, in the metric's units

    @property
    def mean(self) -> float:
        """Their mean, in the metric's units."""
        return float(self.values.mean())


def grouped(evaluation: Evaluation) -> Groups:
    """The scores by skill and metric, each group in the order of the file."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    keys = map(attrgetter("skill", "metric"), evaluation.scores)
    for key, score in zip(keys, evaluation.scores, strict=True):
        groups[key].append(score)
    return dict(groups)


def column(
    rule: Rule, name: str, label: str, evaluation: Evaluation, groups: Groups
) -> Column | list[str]:
    """The scores of one variant under a rule, or why there are none to judge by."""
    facts, scores = evaluation.tasks.get(rule.name), groups.get((rule.name, rule.metric), ())
    if facts is None:
        return [f"{label} was not evaluated on it"]
    if not scores:
        metrics = sorted(metric for skill, metric in groups if skill == rule.name)
        held = f"it has {', '.join(metrics)}" if metrics else "it has no score at all"
        return [f"{label} has no score under the metric {rule.metric}; {held}"]
    ids = tuple(score.sample_id for score in scores)
    digests = tuple(score.sample_digest for score in scores)
    values = tuple(score.score for score in scores)
    faults = [*_id_faults(ids, digests, facts.samples), *_value_faults(rule, ids, values)]
    if faults:
        return [f"{label} has {fault}" for fault in faults]
    return Column(name, label, ids, digests, np.array(values, dtype=np.float64))


def paired(candidate: Column, reference: Column) -> tuple[Scores, Scores] | list[str]:
    """Both columns in the candidate's order, each of shape (n,); or why they do not pair up."""
    if candidate.ids == reference.ids and candidate.digests == reference.digests:
        return candidate.values, reference.values
    both = f"the candidate and {reference.label}"
    place = {sample: i for i, sample in enumerate(reference.ids)}
    alone = sorted(set(candidate.ids) ^ set(place))
    if alone:
        return [f"only one of {both} answered {_some(alone)}"]
    order = [place[sample] for sample in candidate.ids]
    ours = zip(candidate.ids, candidate.digests, order, strict=True)
    changed = [sample for sample, digest, i in ours if digest != reference.digests[i]]
    if changed:
        return [f"{both} were asked different things in {_some(changed)}"]
    return candidate.values, reference.values[order]


def _id_faults(ids: Sequence[Any], digests: Sequence[Any], samples: int) -> list[str]:
    """What is wrong with the names of samples and with their number; types as JSON may give them."""
    if not (_are_texts(ids) and _are_texts(digests)):
        return ["scores without the id or the digest of a sample"]
    faults = []
    if len(ids) != samples:
        faults.append(f"{len(ids):,} scores for {samples:,} samples")
    if len(set(ids)) < len(ids):
        twice = [sample for sample, count in Counter(ids).items() if count > 1]
        faults.append(f"more than one score for {_some(twice)}")
    return faults


def _value_faults(rule: Rule, ids: Sequence[Any], values: Sequence[Any]) -> list[str]:
    """What is wrong with the scores: JSON gives strings, nulls and NaN as readily as numbers."""
    inside = (
        _are_types(values, {int, float}) and rule.low <= min(values) <= max(values) <= rule.high
    )
    if inside and not any(map(math.isnan, values)):  # which min and max may pass by
        return []
    scored = list(zip(ids, values, strict=True))
    broken = [sample for sample, value in scored if not _is_number(value)]
    if broken:
        return [f"no finite number as the score of {_some(broken)}"]
    outside = [sample for sample, value in scored if not rule.low <= value <= rule.high]
    if outside:
        return [f"a score outside {rule.low:g} to {rule.high:g} for {_some(outside)}"]
    return []


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # false for NaN, infinities, huge integers


def _are_texts(values: Sequence[Any]) -> bool:
    return _are_types(values, {str}) and "" not in values


def _are_types(values: Sequence[Any], types: set[type]) -> bool:
    return set(map(type, values)) <= types


def _some(samples: Sequence[Any]) -> str:
    if len(samples) == 1:
        return f"sample {samples[0]}"
    return f"{len(samples):,} samples, the first of them {samples[0]}"
