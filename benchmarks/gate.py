"""How often does the gate promote a candidate that is worse by just the margin, and one that is as good?

    python benchmarks/gate.py --out docs/statistics            # writes .json and .png, prints the tables
    python benchmarks/gate.py --quick                          # a minute, fewer cells and releases

Every cell is thousands of simulated releases with a true loss AT the margin, the least that may not
pass; the rate of promotion must be at most alpha, plus the simulation's own error. Binary cells are
also summed exactly over all outcomes. Everything is seeded: the same command, the same figures.
The report is made by gate_report.py.

The rule for independent zeros and ones depends on the counts of gained and lost pairs alone, so its
decisions are looked up: for each count of lost pairs the least gained ones that promote, found by
bisection with the gate's own test. A sample of the decisions of every kind is put through
`gates.statistics.compare` itself, and must agree. Power is simulated with a quarter of the releases.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import bdtrc, ndtri, stdtrit, xlog1py, xlogy
from scipy.special import gammaln as lg

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from gate_report import tables, write

from gates.statistics import EXACT_LIMIT, compare, corrected_bounds, exact_p, tango_bounds
from gates.statistics.bounded import lower_bound
from gates.statistics.clustered import linearised

ALPHA = 0.05
SIZES = (50, 100, 200, 500, 1000, 2000, 3000)
MARGINS = (0.02, 0.05)
NARROW = 0.01
DISCORDANCE = (0.01, 0.02, 0.05, 0.12, 0.3)
BASE = (0.5, 0.7, 0.9, 0.95, 0.99)
Cell = dict[str, Any]
Rule = Callable[[int, int, int, float], bool]


def gate(n: int, gained: int, lost: int, margin: float) -> bool:
    """The gate's decision from the counts, as `compare` takes it."""
    if gained - lost <= -margin * n:
        return False
    if n <= EXACT_LIMIT:
        return exact_p(n, gained, lost, -margin) <= ALPHA
    return corrected_bounds(n, gained, lost, ALPHA)[0] > -margin


def plain_tango(n: int, gained: int, lost: int, margin: float) -> bool:
    """The asymptotic interval, for comparison."""
    return tango_bounds(n, gained, lost, ALPHA)[0] > -margin


@cache
def least_gained(rule: Rule, n: int, margin: float, lost: int) -> int:
    """The fewest gained pairs with which `rule` promotes; n + 1 where no number does."""
    fails, holds = max(-1, math.floor(lost - margin * n)), n - lost + 1
    step = 8
    while fails + step < holds:  # from below: the boundary is near
        if rule(n, fails + step, lost, margin):
            holds = fails + step
            break
        fails, step = fails + step, step * 2
    while holds - fails > 1:
        middle = (holds + fails) // 2
        fails, holds = (fails, middle) if rule(n, middle, lost, margin) else (middle, holds)
    return holds if holds <= n - lost else n + 1


def promoted(rule: Rule, n: int, margin: float, gained: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The decisions for arrays of counts, shape (releases,)."""
    kinds, which = np.unique(lost, return_inverse=True)
    return gained >= np.array([least_gained(rule, n, margin, int(k)) for k in kinds])[which]


def exact_rate(rule: Rule, n: int, margin: float, p_gained: float, p_lost: float) -> float:
    """The exact chance of promotion, summed over all outcomes with a chance worth adding."""
    lost = np.arange(n + 1)
    chance = np.exp(
        lg(n + 1)
        - lg(lost + 1)
        - lg(n - lost + 1)
        + xlogy(lost, p_lost)
        + xlog1py(n - lost, -p_lost)
    )
    total = 0.0
    for k in lost[chance > 1e-9]:
        least = least_gained(rule, n, margin, int(k))
        if least <= n - k:
            share = min(1.0, p_gained / (1 - p_lost))
            total += chance[k] * (1.0 if least == 0 else float(bdtrc(least - 1, int(n - k), share)))
    return float(total)


def columns(gained: int, lost: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of zeros and ones with these counts."""
    candidate, reference = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    reference[lost : lost + gained] = 0
    return candidate, reference


def binary(
    sizes: tuple[int, ...],
    releases: int,
    rng: np.random.Generator,
    margins: tuple[float, ...] = MARGINS,
) -> Iterator[Cell]:
    """Independent zeros and ones: releases drawn from the four cells of the paired table."""
    for margin in margins:
        for n in sizes:
            for share in DISCORDANCE:
                p_lost, p_gained = (share + margin) / 2, (share - margin) / 2
                if p_gained < 0:
                    continue
                exact = exact_rate(gate, n, margin, p_gained, p_lost)
                tango = exact_rate(plain_tango, n, margin, p_gained, p_lost)
                power = exact_rate(gate, n, margin, share / 2, share / 2)
                tango_power = exact_rate(plain_tango, n, margin, share / 2, share / 2)
                for base in BASE:
                    both, neither = base - p_lost, 1 - base - p_gained
                    if both < -1e-12 or neither < -1e-12:
                        continue
                    table = np.clip([p_gained, p_lost, both, neither], 0, 1)
                    draws = rng.multinomial(n, table / table.sum(), size=releases)
                    passed = promoted(gate, n, margin, draws[:, 0], draws[:, 1])
                    for i in range(2):
                        g, s = int(draws[i, 0]), int(draws[i, 1])
                        c = compare(*columns(g, s, n), low=0, high=1, margin=margin, alpha=ALPHA)
                        assert (c.lower > -margin) == bool(passed[i]), (n, g, s, margin)
                    yield {
                        "kind": "binary", "n": n, "margin": margin, "discordance": share, "base": base,
                        "rate": float(passed.mean()), "exact": exact, "tango": tango,
                        "power": power, "tango_power": tango_power,
                    }  # fmt: skip


def narrow(sizes: tuple[int, ...], releases: int, rng: np.random.Generator) -> Iterator[Cell]:
    """The same for a margin of one point, the only one possible where 1 % of pairs are discordant."""
    yield from binary(sizes, releases, rng, (NARROW,))


def cluster_sizes(kind: str, n: int) -> np.ndarray:
    """Samples of each cluster: «2», «5», «20» alike, or «uneven»: log-normal, median 3, up to 20."""
    if kind != "uneven":
        return np.full(n // int(kind), int(kind))
    rng, sizes = np.random.default_rng(1), []
    while sum(sizes) < n:
        sizes.append(int(min(n - sum(sizes), max(1, round(rng.lognormal(1.2, 0.8))), 20)))
    return np.array(sizes)


def clustered(sizes: tuple[int, ...], releases: int, rng: np.random.Generator) -> Iterator[Cell]:
    """Zeros and ones whose chances differ from cluster to cluster: Dirichlet, with the intraclass correlation given."""
    margin = 0.05
    for kind in ("2", "5", "20", "uneven"):
        for n in sizes:
            groups = cluster_sizes(kind, n)
            for share in (0.05, 0.12, 0.3):
                for correlation in (0.1, 0.5, 0.9):
                    rates = []
                    for loss in (margin, 0.0):
                        p = np.array([(share - loss) / 2, (share + loss) / 2, 1 - share])
                        draws = releases if loss else releases // 4
                        rates.append(clustered_rate(p, groups, correlation, margin, draws, rng))
                    yield {
                        "kind": "clustered", "n": n, "margin": margin, "discordance": share, "clusters": kind,
                        "correlation": correlation, "rate": rates[0][0], "ignored": rates[0][1], "power": rates[1][0],
                    }  # fmt: skip


def clustered_rate(
    p: np.ndarray,
    groups: np.ndarray,
    correlation: float,
    margin: float,
    releases: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The rate of promotion, and what it were if the clusters were ignored."""
    n = int(groups.sum())
    weights = p * (1 - correlation) / correlation
    drawn = rng.standard_gamma(np.maximum(weights, 1e-9), size=(releases, len(groups), 3)) + 1e-300
    drawn[..., p == 0] = 0
    chances = drawn / drawn.sum(-1, keepdims=True)
    lost = rng.binomial(groups, chances[..., 1])
    rest = np.clip(chances[..., 0] / np.maximum(1 - chances[..., 1], 1e-12), 0, 1)
    gained = rng.binomial(groups - lost, rest)
    alone = promoted(gate, n, margin, gained.sum(1), lost.sum(1))
    which = np.repeat(np.arange(len(groups)), groups)
    passed = 0
    for i in np.flatnonzero(alone):
        values, effective = linearised((gained[i] - lost[i]).astype(float), groups.astype(float))
        held = lower_bound(values, -1, ALPHA, effective=effective, farthest=True) > -margin
        passed += held
        if i < 3:
            d = np.concatenate([np.r_[np.ones(g), -np.ones(s), np.zeros(m - g - s)]
                                for g, s, m in zip(gained[i], lost[i], groups, strict=True)])  # fmt: skip
            ours, theirs, rule = (
                (d > 0) * 1.0,
                (d < 0) * 1.0,
                {"low": 0, "high": 1, "margin": margin},
            )
            c = compare(ours, theirs, **rule, alpha=ALPHA, clusters=which)
            assert (c.lower > -margin) == held, (n, i)
    return passed / releases, float(alone.mean())


def populations() -> dict[str, tuple[float, np.ndarray, np.ndarray]]:
    """Differences of bounded scores: width of the range, values, chances. Their mean is minus the margin."""
    z = np.linspace(0.005, 0.995, 100)
    tail = np.clip(np.exp(ndtri(z) * 1.5) * 0.03, 0, 1)
    even = np.full(100, 0.01)
    return {
        "rubric 0-5 at the ceiling, 10 % differ": (5, np.array([-3.0, -2, -1, 0, 1]), np.array([1, 3, 4, 90, 2]) / 100),
        "rubric 0-5 at the ceiling, 30 % differ": (
            5, np.array([-4.0, -3, -2, -1, 0, 1, 2]), np.array([1, 2, 5, 12, 70, 8, 2]) / 100),
        "rubric 0-5, total losses only (5 %)": (5, np.array([-5.0, 0]), np.array([5, 95]) / 100),
        "rubric 0-5, noise and rare total losses (1 %)": (
            5, np.array([-5.0, -1, 0, 1]), np.array([1, 15, 69, 15]) / 100),
        "half points, 10 % differ": (1, np.array([-1, -0.5, 0, 0.5]), np.array([2, 6, 90, 2]) / 100),
        "skewed to losses (log-normal)": (1, -tail, even),
        "skewed to gains (log-normal)": (1, tail - 2 * tail.mean(), even),
        "normal": (1, ndtri(z) * 0.15 - 0.03, even),
    }  # fmt: skip


def bounded(sizes: tuple[int, ...], releases: int, rng: np.random.Generator) -> Iterator[Cell]:
    """Scores in a range; power is that of the same differences with their mean moved to 0."""
    for name, (span, values, chances) in populations().items():
        margin = -float(values @ chances)
        for n in sizes:
            rates, plain = [], 0.0
            for shift in (0.0, margin):
                drawn = rng.choice(
                    values + shift,
                    size=(releases // (4 if shift else 1), n),
                    p=chances / chances.sum(),
                )
                low = [lower_bound(d, -span, ALPHA, effective=n) for d in drawn]
                rates.append(float(np.mean(np.array(low) > -margin)))
                if not shift:
                    t = drawn.mean(1) + stdtrit(n - 1, ALPHA) * drawn.std(1, ddof=1) / math.sqrt(n)
                    plain = float(np.mean(t > -margin))
                    c = compare(
                        drawn[0].clip(0),
                        (-drawn[0]).clip(0),
                        low=0,
                        high=span,
                        margin=margin,
                        alpha=ALPHA,
                    )
                    assert abs(c.lower - low[0]) < 1e-9
            yield {
                "kind": "bounded", "population": name, "n": n, "margin": margin,
                "rate": rates[0], "t": plain, "power": rates[1],
            }  # fmt: skip


def rules_in_use() -> dict[str, float]:
    """Exact chances to pass for a true loss of 4 points, 100 pairs, 12 % of them discordant, a margin of 2."""

    def insignificant(n: int, gained: int, lost: int, margin: float) -> bool:
        return gained - lost > ndtri(0.025) * math.sqrt(gained + lost) or gained >= lost

    def point(n: int, gained: int, lost: int, margin: float) -> bool:
        return gained - lost >= -margin * n - 1e-9

    found = {}
    for name, rule in (
        ("no significant drop", insignificant),
        ("point estimate within the margin", point),
        ("this gate", gate),
    ):
        total = 0.0
        for lost in range(41):
            for gained in range(41):
                rest = 100 - lost - gained
                if rest >= 0 and rule(100, gained, lost, 0.02):
                    ways = lg(101) - lg(lost + 1) - lg(gained + 1) - lg(rest + 1)
                    total += math.exp(
                        ways
                        + lost * math.log(0.08)
                        + gained * math.log(0.04)
                        + rest * math.log(0.88)
                    )
        found[name] = total
    return found


def summarise(cells: list[Cell], releases: int) -> Cell:
    """What all cells together say."""
    # With so many cells some lie three standard errors out by chance: all of them together at 1 %.
    error = math.sqrt(ALPHA * (1 - ALPHA) / releases)
    limit = ALPHA + float(ndtri(1 - 0.01 / len(cells))) * error
    beyond = [c for c in cells if c["rate"] > limit]
    sizes = {c["n"] for c in cells}
    grid = (len(MARGINS) + 1) * len(sizes) * len(DISCORDANCE) * len(BASE)
    binaries = [c for c in cells if c["kind"] == "binary"]
    return {
        "alpha": ALPHA,
        "releases": releases,
        "cells": len(cells),
        "impossible": grid - len(binaries),
        "standard_error": error,
        "limit": limit,
        "beyond": len(beyond),
        "largest": max(c["rate"] for c in cells),
        "largest_exact": max(c["exact"] for c in binaries),
        "rules_in_use": rules_in_use(),
    }


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--releases", type=int, default=4000, help="simulated releases in a cell (default 4000)"
    )
    parser.add_argument("--quick", action="store_true", help="n of 100 and 500 only, 1000 releases")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.png")
    args = parser.parse_args()
    sizes, releases = (
        ((100, 500), min(args.releases, 1000)) if args.quick else (SIZES, args.releases)
    )
    started, cpu = time.time(), time.process_time()
    rng, other = np.random.default_rng(20261122), np.random.default_rng(20261123)
    cells: list[Cell] = []
    for simulate, source in ((binary, rng), (clustered, rng), (bounded, rng), (narrow, other)):
        cells += simulate(sizes, releases, source)
        print(
            f"{simulate.__name__}: {len(cells)} cells, {time.process_time() - cpu:.0f} s of CPU",
            file=sys.stderr,
        )
    summary = summarise(cells, releases)
    tables(cells, summary)
    print(f"{time.time() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU")
    if args.out:
        write(cells, summary, args.out)
    if summary["beyond"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
