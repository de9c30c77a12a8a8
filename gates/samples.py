"""One variant's scores under one rule, checked sample by sample, and put in another's order.

A gate that passes on missing data guards nothing, so each function gives columns, or the faults
that prevent it.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from gates.rule import Rule
from gates.statistics import Scores
from pipeline.facts import Evaluation, Score

Groups = Mapping[tuple[str, str], Sequence[Score]]  # by skill and metric
Codes = npt.NDArray[np.int64]  # shape (n,): for each sample the number of its value


@dataclass(frozen=True)
class Column:
    """The scores of one variant under one rule: columns of equal length, in file order."""

    variant: str
    label: str  # what a person calls the variant
    ids: tuple[str, ...]
    digests: tuple[str, ...]  # of the golden rows
    attributes: tuple[tuple[tuple[str, str], ...], ...]  # of the golden rows: fields with values
    values: Scores  # shape (n,), float64, in the metric's units

    @property
    def mean(self) -> float:
        """Their mean, in the metric's units."""
        return float(self.values.mean())


def grouped(evaluation: Evaluation) -> Groups:
    """The scores by skill and metric, each group in the order of the file.

    What is no text stands there by its repr, which no policy names.
    """
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for (skill, metric), run in groupby(evaluation.scores, attrgetter("skill", "metric")):
        groups[_name(skill), _name(metric)] += run
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
    ids = tuple(map(attrgetter("sample_id"), scores))
    digests = tuple(map(attrgetter("sample_digest"), scores))
    attributes = tuple(map(attrgetter("attributes"), scores))
    values = tuple(map(attrgetter("score"), scores))
    faults = [
        *_id_faults(ids, digests, facts.samples),
        *_value_faults(rule, ids, values),
    ]
    if faults:
        return [f"{label} has {fault}" for fault in faults]
    return Column(name, label, ids, digests, attributes, np.array(values, dtype=np.float64))


def attribute_faults(held: Column) -> list[str]:
    """Fields and values must be texts, each field once; asked of the candidate, whose others equal."""
    attributes = held.attributes
    if attributes.count(()) == len(attributes) or _are_fields(attributes):
        return []
    wrong = [i for i, pairs in zip(held.ids, attributes, strict=True) if not _are_fields([pairs])]
    fault = f"attributes that are not one text for each field, for {_some(wrong)}"
    return [f"{held.label} has {fault}"]


def aligned(candidate: Column, other: Column) -> Column | str:
    """`other` in the candidate's order; or what keeps the two from pairing, sample by sample."""
    if candidate.ids != other.ids:
        place = {sample: i for i, sample in enumerate(other.ids)}
        alone = sorted(set(candidate.ids) ^ set(place))
        if alone:
            return f"only one of {{both}} answered {_some(alone)}"
        order = [place[sample] for sample in candidate.ids]
        other = replace(
            other,
            ids=candidate.ids,
            digests=tuple(other.digests[i] for i in order),
            attributes=tuple(other.attributes[i] for i in order),
            values=other.values[order],
        )
    if candidate.digests != other.digests:
        changed = _where_differing(candidate.ids, candidate.digests, other.digests)
        return f"{{both}} were asked different things in {_some(changed)}"
    if candidate.attributes != other.attributes:
        changed = _where_differing(candidate.ids, candidate.attributes, other.attributes)
        return f"{{both}} have different attributes for {_some(changed)}"
    return other


def coded(held: Column, field: str) -> tuple[tuple[str, ...], Codes] | str:
    """The values of a field, sorted, and for each sample the number of its value; or what is wrong."""
    found = [dict(pairs).get(field) for pairs in held.attributes]
    without = [sample for sample, value in zip(held.ids, found, strict=True) if value is None]
    if without:
        known = sorted({name for pairs in held.attributes for name, _ in pairs})
        has = f"it has {', '.join(known)}" if known else "it has no fields at all"
        return f"{field} is not recorded for {_some(without)}; {has}"
    values = tuple(sorted({value for value in found if value is not None}))
    number = {value: i for i, value in enumerate(values)}
    return values, np.array([number[value] for value in found if value is not None], dtype=np.int64)


def _name(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _where_differing(ids: Sequence[str], ours: Sequence[Any], theirs: Sequence[Any]) -> list[str]:
    return [sample for sample, a, b in zip(ids, ours, theirs, strict=True) if a != b]


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


def _are_fields(attributes: Sequence[Any]) -> bool:
    """Written for speed: tested are all samples at once."""
    if not _are_types(attributes, {tuple}):
        return False
    given = list(chain.from_iterable(attributes))
    if not (_are_types(given, {tuple}) and set(map(len, given)) <= {2}):
        return False
    if not _are_texts(list(chain.from_iterable(given))):
        return False
    return sum(map(len, map(dict, attributes))) == len(given)


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
