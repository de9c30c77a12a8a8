"""What the golden sets can show under the policy, before any compute is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from flows import say
from flows.at_hand import (
    EarlierScores,
    Samples,
    Spread,
    golden_samples,
    independent_spread,
    scored_samples,
)
from gates import Policy, Rule
from gates.api import read_policy
from gates.planning import PlanRow, plan_rule
from gates.score_files import read_scores
from gates.score_rows import Asked
from gates.side import Side
from gates.statistics import POWER
from pipeline.errors import InputError
from pipeline.params import Params, load_params
from pipeline.plain_yaml import load_yaml

# Shares of samples that two variants answer differently: alike, as fine-tunes of one model are, apart.
_SHARES = (0.05, 0.12, 0.25)
ASSUMED = "assumed"
# The standard deviation of differences, in widths of the range, for metrics of another range.
_WIDTHS = (0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Check:
    """What one check of the policy can show; three plans, from alike to apart, where nothing was measured."""

    name: str  # as in a verdict: a skill, «json[language=de]», «json[vs plain]»
    rule: Rule
    samples: int | None  # None where nothing here says how many there are
    clusters: int | None
    plans: tuple[PlanRow, ...]
    source: str = ASSUMED  # of how often the two variants differ

    @property
    def plan(self) -> PlanRow | None:
        """The measured plan, or the middle one of those assumed."""
        return self.plans[len(self.plans) // 2] if self.plans else None

    @property
    def ok(self) -> bool:
        """Whether four in five candidates as good as the reference are promoted."""
        return self.plan is not None and self.plan.ok


def plan(path: Path, reference: Path | None = None) -> list[Check]:
    """The checks of a params.yaml with its golden sets, or of a policy with the reference's scores.

    Raises InputError where a file cannot be read, or where a policy stands alone.
    """
    value = load_yaml(path)
    whole = isinstance(value, Mapping) and "evaluate" in value
    if not whole and reference is None:
        raise InputError(
            f"{path}: has no `evaluate`, so no golden sets. Name a params.yaml, or the scores of "
            "the reference: --reference SCORES.jsonl."
        )
    policy = read_policy(path)
    side = read_scores(reference, Asked.of(policy)) if reference else None
    params = load_params(path) if whole else None
    return _checks(policy, params, path.parent, side)


def warnings(params: Params) -> list[str]:
    """A line for each check of this folder whose margin its golden set can hardly show.

    By earlier scores; without them, only where it holds even for models that are much alike, with the figures that
    `mergegate power` gives, which are of models that differ as fine-tunes of one base do. A golden set that cannot be
    read gives no line: the stage `golden` has the words for it.
    """
    try:
        policy = Policy.parse(params.policy, "params.yaml: policy")
        checks = _checks(policy, params, Path(), None)
    except (InputError, OSError):
        return []
    return [_sentence(c, c.plan) for c in checks if c.plans and not c.plans[0].ok]


def to_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as JSON values; margins and losses in the metric's units."""
    return {
        "power": POWER,
        "ok": all(check.ok for check in checks),
        "checks": [
            {
                "check": check.name,
                "metric": check.rule.metric,
                "margin": check.rule.margin,
                "samples": check.samples,
                "clusters": check.clusters,
                "ok": check.ok,
                "source": check.source,
                "plans": [asdict(row) for row in check.plans],
            }
            for check in checks
        ],
    }


def show(checks: Sequence[Check]) -> None:
    """A table with a line for each plan, then a sentence for each margin that cannot be shown."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(("check", *_COLUMNS)):
        figures = 0 < number < len(_COLUMNS)
        table.add_column(column, justify="right" if figures else "left", overflow="fold")
    for check in checks:
        for number, row in enumerate(check.plans):
            name = check.name if number == 0 else ""
            table.add_row(*map(say.escape, (name, *_cells(check, row))))
        if not check.plans:
            count = "?" if check.samples is None else str(check.samples)
            table.add_row(say.escape(check.name), count, _figure(check.rule, check.rule.margin))
    console = say.terminal()  # as wide as the terminal, unbounded where piped
    console.print(table)
    console.print()
    for source in dict.fromkeys(check.source for check in checks if check.plans):
        names = ", ".join(check.name for check in checks if check.plans and check.source == source)
        console.print(say.escape(f"How far two variants differ in {names}: {source}."))
    lines = [_sentence(check, check.plan) for check in checks if not check.ok]
    for line in lines or ["Every margin can be shown with the samples at hand."]:
        console.print(say.escape(line))


_COLUMNS = ("samples", "margin", "smallest shown", "chance", "needs", "if")


def _cells(check: Check, row: PlanRow) -> tuple[str, ...]:
    return (
        f"{row.n:,}" + (f" in {row.clusters:,}" if row.clusters is not None else ""),
        _figure(check.rule, row.margin),
        _figure(check.rule, row.detectable),
        _percent(row.power),
        f"{row.needed_n:,}" if row.needed_n else "–",
        row.assumption,
    )


def _sentence(check: Check, row: PlanRow | None) -> str:
    """Why a margin cannot be shown, and the ways out."""
    if row is None:
        count = "an unknown number of" if check.samples is None else "no"
        return (
            f"{check.name}: {count} samples, so nothing can be said of what they show. "
            "Name the scores of the reference: --reference SCORES.jsonl."
        )
    margin, least = _figure(check.rule, row.margin), _figure(check.rule, _up(row.detectable))
    more = f"About {_rounded(row.needed_n):,} samples" if row.needed_n else "No number of samples"
    return (
        f"{check.name}: {row.n:,} samples hardly show a margin of {margin}: a candidate just as "
        f"good as its reference is promoted in {_percent(row.power)} of cases ({row.assumption}). "
        f"{more} would promote it in {_percent(POWER)}; so would a margin of {least}."
    )


def _percent(chance: float) -> str:
    return f"{chance * 100:.0f} %"


def _up(margin: float) -> float:
    """Up to two significant digits, so that what is named does suffice."""
    step = 10.0 ** (math.floor(math.log10(margin)) - 1)
    return math.ceil(round(margin / step, 6)) * step


def _rounded(needed: int) -> int:
    """Up to two significant digits: an estimate should look like one."""
    step = 10 ** max(0, len(str(needed)) - 2)
    return -(-needed // step) * step


def _figure(rule: Rule, value: float) -> str:
    """A loss as a person reads it: in points of a hundred, where the metric goes from 0 to 1."""
    if (rule.low, rule.high) == (0.0, 1.0):
        return f"{value * 100:.3g} points"
    return f"{value:.3g}"


def _checks(policy: Policy, params: Params | None, folder: Path, side: Side | None) -> list[Check]:
    earlier = EarlierScores(params, folder) if params else None
    checks: list[Check] = []
    for rule in policy.rules:
        samples = golden_samples(params, folder, rule) if params else None
        if samples is None and side:
            samples = scored_samples(side, rule)
        spread = independent_spread(side, rule) if side else None
        spread = spread or (earlier.spread(rule) if earlier else None)
        checks += [_check(check, part, spread) for check, part in _parts(rule, samples)]
    return checks


def _parts(rule: Rule, samples: Samples | None) -> Iterator[tuple[Rule, Samples | None]]:
    """The rule, its further references and its slices, each with the samples that judge it."""
    yield rule, samples
    for also in rule.also:
        yield rule.against(also), samples
    for one in rule.slices:
        for value in one.only or sorted({s[one.field] for s in samples or () if one.field in s}):
            part = [s for s in samples or () if s.get(one.field) == value]
            yield rule.of_slice(one, value), part


def _with_floor(rule: Rule, plan: PlanRow) -> PlanRow:
    """A safety suite must also show its own rate: whether even a flawless candidate could, by the rule of three."""
    if rule.kind != "safety":
        return plan
    span = rule.high - rule.low
    above = rule.floor - rule.low if rule.direction == "higher" else rule.high - rule.floor
    share = above / span
    units = plan.clusters or plan.n
    least = 0 if share <= 0 else math.inf if share >= 1 else math.log(rule.alpha) / math.log(share)
    if units >= least:
        return plan
    needed = None
    if plan.needed_n is not None and least < math.inf:
        needed = max(plan.needed_n, math.ceil(math.ceil(least) * plan.n / units))
    words = (
        f"{plan.assumption}; {units:,} cannot show the floor of {rule.floor:g}, whatever they say"
    )
    return replace(plan, power=0.0, ok=False, needed_n=needed, assumption=words)


def _check(rule: Rule, samples: Samples | None, spread: Spread | None) -> Check:
    if not samples:
        return Check(rule.name, rule, None if samples is None else 0, None, ())
    clusters = len({s.get(rule.cluster) for s in samples}) if rule.cluster else None
    unit = (rule.low, rule.high) == (0.0, 1.0)
    if spread:
        given = [spread.square if unit else spread.square**0.5]
    else:
        given = list(_SHARES if unit else (w * (rule.high - rule.low) for w in _WIDTHS))
    arguments = (rule.name, rule.metric, rule.low, rule.high, rule.margin, rule.alpha)
    plans = [
        _with_floor(rule, plan_rule(*arguments, len(samples), clusters, figure)) for figure in given
    ]
    source = spread.words if spread else ASSUMED
    return Check(rule.name, rule, len(samples), clusters, tuple(plans), source)
