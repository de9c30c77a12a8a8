"""Tables, figures and JSON of benchmarks/gate.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Cell = dict[str, Any]

# Of each kind: what its cells are grouped by, the gate's rate, and that of the rule shown beside it.
KINDS = {
    "binary": ("discordance", "exact", "tango", "Tango's interval; both exact"),
    "clustered": ("clusters", "rate", "ignored", "clusters ignored"),
    "bounded": ("population", "rate", "t", "plain t"),
}


def tables(cells: list[Cell], summary: Cell) -> None:
    """Print, by group and number of samples, the largest rate of wrong promotions, and power."""
    for kind, (label, rate, other, words) in KINDS.items():
        chosen = [c for c in cells if c["kind"] == kind]
        sizes = sorted({c["n"] for c in chosen})
        print(
            f"\n{kind}: promoted though worse by the margin, percent, largest of the cells (in brackets: {words})"
        )
        print(f"{'n':>46}" + "".join(f"{n:>13,}" for n in sizes))
        for group, rows in _groups(chosen, label).items():
            wrong = (
                f"{100 * max(c[rate] for c in of):.1f} ({100 * max(c[other] for c in of):.1f})"
                for of in rows.values()
            )
            print(f"{_name(kind, group):>46}" + "".join(f"{text:>13}" for text in wrong))
        print(f"{kind}: promoted where as good as the reference, in percent; the mean of the cells")
        for group, rows in _groups(chosen, label).items():
            right = [f"{100 * np.mean([c['power'] for c in of]):.0f}" for of in rows.values()]
            if kind == "binary":
                plain = (
                    f" ({100 * np.mean([c['tango_power'] for c in of]):.0f})"
                    for of in rows.values()
                )
                right = [a + b for a, b in zip(right, plain, strict=True)]
            print(f"{_name(kind, group):>46}" + "".join(f"{text:>13}" for text in right))
    print(
        f"\n{summary['cells']} cells of {summary['releases']} releases: the standard error of a rate is "
        f"{summary['standard_error']:.4f}. {summary['impossible']} cells of the binary grid are\nimpossible: "
        "a loss greater than the discordance, or a table with a negative share. The largest rate is "
        f"{summary['largest']:.4f};\n{summary['beyond']} cells are above {summary['limit']:.4f}, which chance "
        "alone exceeds in one run of a hundred. The largest exact rate of the\n"
        f"binary cells is {summary['largest_exact']:.4f}."
    )
    rules = ", ".join(
        f"{name} {100 * rate:.1f} %" for name, rate in summary["rules_in_use"].items()
    )
    print(f"Passing with a true loss of 4 points, 100 samples, margin 2: {rules}")


def write(cells: list[Cell], summary: Cell, out: Path) -> None:
    """OUT.json and OUT.png."""
    rows = [{k: round(v, 5) if isinstance(v, float) else v for k, v in c.items()} for c in cells]
    lines = ",\n".join(json.dumps(row) for row in rows)
    out.with_suffix(".json").write_text(
        f'{{"summary": {json.dumps(summary)},\n"cells": [\n{lines}\n]}}\n'
    )
    _draw(cells, out.with_suffix(".png"))


def _groups(cells: list[Cell], label: str) -> dict[Any, dict[int, list[Cell]]]:
    found: dict[Any, dict[int, list[Cell]]] = {}
    for cell in cells:
        found.setdefault(cell[label], {}).setdefault(cell["n"], []).append(cell)
    ordered = sorted(found) if label == "discordance" else found
    return {group: dict(sorted(found[group].items())) for group in ordered}


def _name(kind: str, group: Any) -> str:
    if kind == "binary":
        return f"{group:.0%} differ"
    if kind == "clustered":
        return "uneven clusters" if group == "uneven" else f"clusters of {group}"
    return str(group)


def _draw(cells: list[Cell], path: Path) -> None:
    """Above, wrong promotions; below, power; from left to right the three kinds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(15, 8.5), sharex=True)
    for column, (kind, (label, rate, other, words)) in enumerate(KINDS.items()):
        top, bottom = axes[0][column], axes[1][column]
        of = [c for c in cells if c["kind"] == kind]
        for i, (group, rows) in enumerate(_groups(of, label).items()):
            style = {"color": f"C{i}", "label": _name(kind, group), "marker": "o", "ms": 3}
            top.plot(list(rows), [max(c[rate] for c in k) for k in rows.values()], **style)
            top.plot(
                list(rows), [max(c[other] for c in k) for k in rows.values()], ":", color=f"C{i}"
            )
            # Power depends on the margin most of all: one of five points.
            shown = [
                [c["power"] for c in k if kind != "binary" or c["margin"] == 0.05]
                for k in rows.values()
            ]
            if all(shown):
                bottom.plot(list(rows), [np.mean(k) for k in shown], **style)
        top.axhline(0.05, color="black", lw=1)
        title = f"{kind}: promoted though worse by the margin\n(dotted: {words})"
        top.set(
            title=title,
            xscale="log",
            ylim=(0, {"binary": 0.1, "clustered": 0.4, "bounded": 0.2}[kind]),
        )
        at = "\n(margin 5 points)" if kind != "bounded" else ""
        bottom.set(
            title=f"{kind}: promoted, as good as the reference{at}",
            xlabel="samples",
            ylim=(0, 1.02),
        )
        bottom.set_xticks([50, 100, 300, 1000, 3000], ["50", "100", "300", "1,000", "3,000"])
        bottom.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
