"""Reasons in a person's words.

«json: 38 % against 97 % of json-lora, 59 points worse, at most 5 allowed»

Rounded only as far as the sentence stays true: a figure that misses a limit never reads as if it
met it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gates.policy import LatencyRule
from gates.row import Artifact
from gates.rule import Rule
from gates.statistics import Comparison
from pipeline.facts import Served

_NO_LOSS = "no loss allowed"


def cannot_judge(check: str, faults: Sequence[str], way_out: str) -> str:
    """Why a check has no result, and what to do about it."""
    return f"{check}: cannot be judged, because {'; and '.join(faults)}. {way_out}"


def cannot_compare(label: str, faults: Sequence[str]) -> str:
    """Why a variant as a whole has no place in the comparison, and what to do about it."""
    way_out = "Evaluate all variants in the same way."
    return f"{label} cannot be compared, because {'; and '.join(faults)}. {way_out}"


def promoted(rule: Rule, label: str, c: Comparison, bound: float | None = None) -> str:
    """The rule holds, and how bad it may be at worst; `bound`: of the candidate by itself, where that counts."""
    result = measured(rule, label, c)
    worst = "not worse" if c.lower >= 0 else f"{_gap(rule, -c.lower, rule.margin)} worse at most"
    return f"{result}; allowing for chance, {worst}{_own(rule, bound)}"


def floor_not_shown(rule: Rule, label: str, c: Comparison, bound: float, needed: int | None) -> str:
    """The mean of a safety suite meets the floor, but the samples do not show that the truth does."""
    side = "under the floor" if rule.direction == "higher" else "over the ceiling"
    return (
        f"{measured(rule, label, c)}; {_samples(rule, c)} too few to tell: allowing for chance, it may be "
        f"{_value(rule, bound, rule.floor)}, {side} of {_value(rule, rule.floor)}; {_would_decide(needed)}"
    )


def _own(rule: Rule, bound: float | None) -> str:
    if bound is None:
        return ""
    side = "at least" if rule.direction == "higher" else "at most"
    own, floor = _value(rule, bound, rule.floor), _value(rule, rule.floor)
    return f", and {side} {own} by itself, {floor} required"


def too_few(rule: Rule, label: str, c: Comparison) -> str:
    """The samples do not tell whether the candidate is within the margin."""
    return (
        f"{measured(rule, label, c)}; {_samples(rule, c)} too few to tell: allowing for chance, "
        f"it may be {_gap(rule, -c.lower, rule.margin)} worse; {_would_decide(c.needed_n)}"
    )


def under_floor(rule: Rule, label: str, c: Comparison, needed: int | None, *, shown: bool) -> str:
    """The candidate misses the floor: `shown` beyond chance, or with too few samples to be sure."""
    side = "under the floor" if rule.direction == "higher" else "over the ceiling"
    mean = _value(rule, c.candidate_mean, rule.floor)
    missed = f"{measured(rule, label, c)}; {mean} is {side} of {_value(rule, rule.floor)}"
    if shown:
        return f"{missed}, by more than chance explains"
    return f"{missed}, though {_samples(rule, c)} too few to be sure; {_would_decide(needed)}"


def weak_reference(rule: Rule, label: str, mean: float) -> str:
    """The reference does not reach the floor itself, so being close to it proves nothing."""
    side = "under the floor" if rule.direction == "higher" else "over the ceiling"
    return (
        f"its reference {label} itself scores {_value(rule, mean, rule.floor)}, "
        f"{side} of {_value(rule, rule.floor)}"
    )


def measured(rule: Rule, label: str, c: Comparison) -> str:
    """Both means, their difference and the margin: the part that every result has."""
    ours, theirs = _value(rule, c.candidate_mean), _value(rule, c.reference_mean)
    means = f"{ours}{_scale(rule)} against {theirs} of {label}"
    if c.difference < 0:
        gap = _gap(rule, -c.difference, rule.margin)
        allowed = f"at most {_number(rule, rule.margin)} allowed" if rule.margin else "none allowed"
        return f"{rule.name}: {means}, {gap} worse, {allowed}"
    allowed = f"at most {_gap(rule, rule.margin)} worse allowed" if rule.margin else _NO_LOSS
    gap = f"{_gap(rule, c.difference, 0)} better" if c.difference > 0 else "no difference"
    return f"{rule.name}: {means}, {gap}, {allowed}"


def passed_over(rule: Rule, why: str) -> str:
    """A further reference that there is nothing to compare with, as the evidence itself states."""
    return f"{rule.name}: passed over, since {why}"


def improved(rule: Rule, label: str, c: Comparison) -> str:
    """A gain beyond chance, even where every skill had a chance to show one."""
    ours, theirs = _value(rule, c.candidate_mean), _value(rule, c.reference_mean)
    gap = _gap(rule, c.difference, 0)
    return (
        f"{rule.name}: {ours}{_scale(rule)} against {theirs} of {label}, {gap} better, "
        "more than chance explains"
    )


def loses_to_plain(artifact: Artifact, found: Sequence[tuple[Rule, Comparison]]) -> str:
    """Plain task arithmetic is better at every skill; how much of it is beyond chance."""
    means = ", ".join(
        f"{rule.name} {_value(rule, c.reference_mean)} against {_value(rule, c.candidate_mean)}"
        for rule, c in found
    )
    shown = [rule.name for rule, c in found if c.upper < 0]
    chance = {
        0: "though chance may explain all of it",
        len(found): "by more than chance explains",
    }.get(len(shown), f"by more than chance explains for {' and '.join(shown)}")
    return (
        f"Plain task arithmetic scores better than the {artifact} weights at every skill ({means}), "
        f"{chance}. It needs no tuning; consider it as the candidate."
    )


def weaker_than_base(rule: Rule, label: str, theirs: float, base: float) -> str:
    """The reference does worse than the base model, so being close to it shows little."""
    return (
        f"{rule.name}: its reference {label} scores {_value(rule, theirs, base)}, and the base "
        f"{_value(rule, base)}; to be as good as {label} shows little."
    )


def fresh_examples(why: str) -> str:
    """A golden set that was used too often, and what to do about it."""
    return f"{why}. Write fresh examples, and seal them."


def checked_behind_servers(artifact: Artifact, found: Mapping[str, Served], apart: str = "") -> str:
    """Variants whose servers were asked probes, with the figures of all of them together and the worst one.

    `apart`: the variant akin to the candidate that the probes tell it from.
    """
    tokens, agreeing = (
        sum(getattr(one, key) for one in found.values()) for key in ("tokens", "agreeing")
    )
    compared = sum(one.compared for one in found.values())
    gap = max(one.largest_gap for one in found.values())
    largest = max(one.largest_difference for one in found.values())
    limit = max(one.limit for one in found.values())
    probability = (
        f"log-probabilities of {compared:,} tokens differ by at most {largest:.2f} nats"
        if compared
        else "the servers gave no log-probabilities to compare"
    )
    if apart:
        alike = f"The log-probabilities tell the {artifact} weights from the {apart} ones."
    else:
        alike = "Probes do not tell apart weights that answer alike, as merged and quantized ones often do."
    return (
        f"Judging the {artifact} weights, servers answered for {_listed(found)}: of {tokens:,} tokens of their answers "
        f"to probes {agreeing:,} are the likeliest of the weights, no token is more than {gap:.2f} nats less likely "
        f"({limit:g} allowed), and {probability}. {alike}"
    )


def vouched_for(artifact: Artifact, by: str, labels: Sequence[str]) -> str:
    """Variants behind servers that a person vouches for."""
    return (
        f"Judging the {artifact} weights, servers answered for {_listed(labels)}, and {by} vouches that they had these "
        "weights: nothing was compared."
    )


def _listed(names: Iterable[str]) -> str:
    """a, b and c."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def latency(rule: LatencyRule, ratio: float, *, within: bool) -> str:
    """Whether the merge is fast enough.

    A pass gives no figure: times vary from run to run, and verdicts must not.
    """
    answer = {"p50": "a typical answer (p50)", "p95": "a slow answer (p95)"}[rule.metric]
    if within:
        return (
            f"latency: {answer} takes at most {rule.max_ratio:g} times as long "
            "as with base plus adapter, as allowed"
        )
    return (
        f"latency: {answer} takes {_ratio(ratio, rule.max_ratio)} times as long "
        f"as with base plus adapter, at most {rule.max_ratio:g} allowed"
    )


def _ratio(ratio: float, limit: float) -> str:
    """A ratio above its limit, which must not read as equal to it."""
    return next(text for d in range(1, 17) if float(text := f"{ratio:.{d}f}") > limit)


def _is_percent(rule: Rule) -> bool:
    return (rule.low, rule.high) == (0.0, 1.0)


def _number(rule: Rule, value: float, limit: float | None = None) -> str:
    """A figure of the metric, as short as keeps it apart from a `limit` it does not equal."""
    factor, least = (100, 1) if _is_percent(rule) else (1, 2)
    value, limit = value * factor, None if limit is None else limit * factor
    for digits in range(least, 9):
        text = f"{value:.{digits}f}"
        if limit is None or abs(value - limit) < 1e-9 or text != f"{limit:.{digits}f}":
            break
    return text.rstrip("0").rstrip(".") if "." in text else text


def _value(rule: Rule, value: float, limit: float | None = None) -> str:
    return _number(rule, value, limit) + (" %" if _is_percent(rule) else "")


def _gap(rule: Rule, value: float, limit: float | None = None) -> str:
    number = _number(rule, value, limit)
    if not _is_percent(rule):
        return number
    return f"{number} point" if number == "1" else f"{number} points"


def _scale(rule: Rule) -> str:
    """« of 5» after a mean that is neither a percentage nor self-explaining."""
    return "" if _is_percent(rule) or rule.low != 0 else f" of {rule.high:g}"


def _samples(rule: Rule, c: Comparison) -> str:
    """How many there are, and of how many groups where they are not independent."""
    if c.n == 1:
        return "1 sample is"
    groups = "" if c.clusters is None else f" with {c.clusters:,} values of {rule.cluster}"
    return f"{c.n:,} samples{groups} are"


def _would_decide(needed: int | None) -> str:
    if needed is None:
        return "as measured it lies on the limit, which no number of samples decides"
    return f"about {_rounded(needed):,} in all would decide it"


def _rounded(needed: int) -> int:
    """Up to two significant digits: an estimate should look like one."""
    step = 10 ** max(0, len(str(needed)) - 2)
    return -(-needed // step) * step
