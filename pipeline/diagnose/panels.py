"""A diagnosis as tables: kinds of module by layers, one for each measure of each source or pair. No drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.diagnose.evidence import percent
from pipeline.diagnose.figures import TOP, Floats, Group
from pipeline.diagnose.report import Diagnosis
from pipeline.merge.names import is_before_layers

_Place = TypeVar("_Place", int, tuple[int, int])
Figure = Callable[[Group], float | None]
# Up to so many pairs each has a panel of its own; of more only the extremes are shown.
_PAIRS = 6


@dataclass(frozen=True)
class Axes:
    """The kinds of module from top to bottom, and the layers from left to right with what stands around them."""

    kinds: tuple[str, ...]
    columns: tuple[str, ...]

    def place(self, cell: Group) -> tuple[int, int]:
        """The row and the column of a cell."""
        return self.kinds.index(cell.kind or ""), self.columns.index(_column(cell))


@dataclass(frozen=True)
class Panel:
    """One table [kinds, columns] with its title; NaN where there is no value."""

    title: str
    values: Floats


@dataclass(frozen=True)
class Measure:
    """The panels of one measure, which share a scale from `low` to `high`. `signed`: 0 is its middle."""

    title: str
    panels: tuple[Panel, ...]
    low: float
    high: float
    digits: int
    signed: bool = False


def axes_of(diagnosis: Diagnosis) -> Axes:
    """Embeddings, then matrices and vectors of the layers, then head and last norm."""
    order: dict[str, tuple[int, bool, str]] = {}
    columns: dict[str, tuple[int, int]] = {}
    for cell in diagnosis.cells:
        column, kind = _column(cell), cell.kind or ""
        side = {"in": 0, "out": 2}.get(column, 1)
        columns[column] = (side, cell.layer or 0)
        order[kind] = (side, not cell.matrix, kind)
    by_order = sorted(order, key=lambda kind: order[kind])
    return Axes(tuple(by_order), tuple(sorted(columns, key=lambda name: columns[name])))


def measures(diagnosis: Diagnosis) -> list[Measure]:
    """Every measure that the diagnosis has values for."""
    axes, names, whole = axes_of(diagnosis), diagnosis.names, diagnosis.whole

    def panel(title: str, figure: Figure) -> Panel:
        values = np.full((len(axes.kinds), len(axes.columns)), np.nan)
        for cell in diagnosis.cells:
            value = figure(cell)
            values[axes.place(cell)] = np.nan if value is None else value
        return Panel(title, values)

    def each(figure: Callable[[Group, int], float | None]) -> tuple[Panel, ...]:
        return tuple(panel(names[source], _at(figure, source)) for source in whole.sources)

    found = [
        _scaled("norm of the difference, relative to the base", each(Group.relative_norm), 3),
        _scaled("effective rank of the difference", each(Group.rank), 0),
        _scaled(
            f"share of mass in the largest {percent(TOP)} of entries",
            each(Group.top_share),
            2,
            TOP,
            1.0,
        ),
    ]
    if whole.pairs:
        cosines, conflicts = _pairs(diagnosis, panel)
        lost = (panel("all sources", lambda cell: cell.cancelled),)
        found += [
            _signed("cosine of two differences", cosines),
            _scaled("entries with opposite signs (unrelated: 0.5)", conflicts, 2, 0.0, 1.0),
            _scaled("mass that cancels when all are added", lost, 2, 0.0, 0.5),
        ]
    return [m for m in found if any(np.isfinite(p.values).any() for p in m.panels)]


def _pairs(
    diagnosis: Diagnosis, panel: Callable[[str, Figure], Panel]
) -> tuple[tuple[Panel, ...], tuple[Panel, ...]]:
    """Cosines and sign conflicts, of each pair or of the extremes."""
    pairs, names = diagnosis.whole.pairs, diagnosis.names

    def extreme(
        choose: Callable[[list[float]], float],
        figure: Callable[[Group, tuple[int, int]], float | None],
    ) -> Figure:
        def value(cell: Group) -> float | None:
            known = [v for pair in pairs if (v := figure(cell, pair)) is not None]
            return choose(known) if known else None

        return value

    if len(pairs) > _PAIRS:
        of = f"of {len(pairs)} pairs"
        return (
            (
                panel(f"lowest {of}", extreme(min, Group.cosine)),
                panel(f"highest {of}", extreme(max, Group.cosine)),
            ),
            (panel(f"highest {of}", extreme(max, Group.conflict)),),
        )
    titles = {pair: " and ".join(names[source] for source in pair) for pair in pairs}
    return (
        tuple(panel(titles[pair], _at(Group.cosine, pair)) for pair in pairs),
        tuple(panel(titles[pair], _at(Group.conflict, pair)) for pair in pairs),
    )


def _at(figure: Callable[[Group, _Place], float | None], place: _Place) -> Figure:
    return lambda cell: figure(cell, place)


def _column(cell: Group) -> str:
    if cell.layer is not None:
        return str(cell.layer)
    return "in" if is_before_layers(cell.tensors[0].name) else "out"


def _scaled(
    title: str, panels: tuple[Panel, ...], digits: int, low: float = 0.0, high: float = 0.0
) -> Measure:
    """A scale from `low` to the highest value, at least to `high`."""
    most = max((float(v) for p in panels for v in p.values.flat if np.isfinite(v)), default=0.0)
    return Measure(title, panels, low, max(high, most) or 1.0, digits)


def _signed(title: str, panels: tuple[Panel, ...]) -> Measure:
    """A scale with 0 in its middle; never so narrow that rounding looks like structure."""
    most = max((abs(float(v)) for p in panels for v in p.values.flat if np.isfinite(v)), default=0)
    limit = max(most, 0.1)
    return Measure(title, panels, -limit, limit, 2, signed=True)
