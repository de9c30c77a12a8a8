"""The heat map of a diagnosis as PNG: layers by kinds of module, one panel for each measure of each source or pair.

Colour is never alone: where cells are few their values are printed, every measure has its scale, and negative cosines
carry a minus. Drawn in memory, without a display.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.diagnose.panels import Axes, Measure, Panel, axes_of, measures
from pipeline.diagnose.report import Diagnosis

if TYPE_CHECKING:
    from matplotlib import axes as plt
    from matplotlib.figure import Figure, SubFigure

_DPI = 150
# Up to so many columns a cell is wide enough for its value.
_PRINTED = 16
# In narrower cells, values below it carry a minus.
_NEGATIVE = -0.05
_WIDE, _NARROW = (
    (0.52, 0.25),
    (0.1, 0.17),
)  # inches of a cell, width and height: with a value, without
_LINE = 16.0  # inches that panels side by side may take
_LABELS, _TITLES, _TICK = (
    2.2,
    1.0,
    0.4,
)  # inches beside the panels of a line, above and below them, for a tick
_SEQUENTIAL, _DIVERGING, _NONE = "YlGnBu", "PuOr", "#f2f2f2"


def write_heatmap(diagnosis: Diagnosis, path: Path) -> None:
    """Draw the diagnosis into the PNG file `path`, which appears only when it is whole."""
    data = io.BytesIO()
    _figure(diagnosis).savefig(data, format="png", dpi=_DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(data.getvalue())
    partial.replace(path)


def _figure(diagnosis: Diagnosis) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes, shown = axes_of(diagnosis), measures(diagnosis)
    wide, high = _WIDE if len(axes.columns) <= _PRINTED else _NARROW
    width = max(2.4, wide * len(axes.columns))
    most = max((len(m.panels) for m in shown), default=1)
    across = max(1, int(_LINE // (width + 0.2)))
    across = math.ceil(most / math.ceil(most / across))  # 3 and 2 rather than 4 and 1
    lines = [math.ceil(len(m.panels) / across) for m in shown]
    heights = [count * (high * len(axes.kinds) + _TITLES) for count in lines]
    figure = Figure(
        figsize=(across * (width + 0.2) + _LABELS, sum(heights) + 0.7), layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(_title(diagnosis), fontsize=10)
    if shown:
        parts = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, measure, count in zip(parts, shown, lines, strict=True):
            _measure(part, measure, axes, count, across)
    return figure


def _title(diagnosis: Diagnosis) -> str:
    return (
        f"{diagnosis.where}: differences from {diagnosis.base}, by layer and kind of module\n"
        "grey: no source changes it, or the measure has no meaning there"
    )


def _measure(part: SubFigure, measure: Measure, axes: Axes, lines: int, across: int) -> None:
    part.suptitle(measure.title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    places = part.subplots(lines, across, squeeze=False)
    image: Any = None
    for index, place in enumerate(places.flat):
        if index < len(measure.panels):
            image = _panel(place, measure, measure.panels[index], axes)
            if index % across:
                place.set_yticklabels([])
        else:
            place.set_visible(False)
    beside = places[:, : len(measure.panels)]
    bar = part.colorbar(image, ax=beside, fraction=0.025, pad=0.01, aspect=12)
    bar.ax.tick_params(labelsize=7)


def _panel(place: plt.Axes, measure: Measure, panel: Panel, axes: Axes) -> Any:
    from matplotlib import colormaps

    colours = colormaps[_DIVERGING if measure.signed else _SEQUENTIAL].with_extremes(bad=_NONE)
    image = place.imshow(
        np.ma.masked_invalid(panel.values),
        cmap=colours,
        vmin=measure.low,
        vmax=measure.high,
        aspect="auto",
        interpolation="nearest",
    )
    place.set_title(panel.title, fontsize=8)
    place.set_yticks(range(len(axes.kinds)), axes.kinds, fontsize=7)
    ticks = _ticks(axes)
    place.set_xticks(ticks, [axes.columns[tick] for tick in ticks], fontsize=7)
    place.set_xlabel("layer", fontsize=7)
    place.tick_params(length=2)
    _write(place, measure, panel, colours)
    return image


def _ticks(axes: Axes) -> list[int]:
    """The columns that are labelled: as many as have room, the layers among them round numbers."""
    columns = axes.columns
    if len(columns) <= _PRINTED:
        return list(range(len(columns)))
    step = math.ceil(_TICK / _NARROW[0])
    step = next(round_step for round_step in (4, 5, 8, 10, 20) if round_step >= step)
    layers = [i for i, name in enumerate(columns) if name.isdigit() and int(name) % step == 0]
    ends = [i for i, name in enumerate(columns) if not name.isdigit()]
    return sorted(ends + [i for i in layers if all(abs(i - end) >= step - 1 for end in ends)])


def _write(place: plt.Axes, measure: Measure, panel: Panel, colours: Any) -> None:
    """The value of each cell; where cells are too narrow for it, a minus where it is negative."""
    cells = [(row, column, value) for (row, column), value in np.ndenumerate(panel.values)]
    known = [cell for cell in cells if np.isfinite(cell[2])]
    if panel.values.shape[1] > _PRINTED:
        below = [(row, column, value) for row, column, value in known if value < _NEGATIVE]
        inks = [_ink(measure, value, colours) for _, _, value in below]
        rows, columns = [cell[0] for cell in below], [cell[1] for cell in below]
        place.scatter(columns, rows, s=6, c=inks, marker="_", linewidths=0.6)
        return
    for row, column, value in known:
        ink = _ink(measure, value, colours)
        text = _typeset(f"{value:.{measure.digits}f}")
        place.text(
            column, row, text, ha="center", va="center", fontsize=6.5, color=ink
        ).set_in_layout(False)


def _ink(measure: Measure, value: float, colours: Any) -> str:
    """White on dark cells, black on light ones."""
    red, green, blue, _ = colours((value - measure.low) / (measure.high - measure.low))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


def _typeset(text: str) -> str:
    """A true minus sign, and none before a zero."""
    return text.replace("-", "−") if text.strip("-0.") else text.lstrip("-")
