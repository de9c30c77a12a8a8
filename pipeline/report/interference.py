"""How the sources' differences get along, from diagnosis.json: heat tables of layers by kinds of module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.report.lenient import entries, figure, part, words
from pipeline.report.wording import NONE, number

STEPS = 8  # shades of a heat table, from 0
_OUTSIDE = "outside"  # embeddings, head, last norm
Cell = Mapping[str, Any]
Measure = Callable[[Cell], float | None]


def interference(diagnosis: Mapping[str, Any]) -> dict[str, Any]:
    """{sources, pairs, cancelled, tables, suggestion}; no tables where nothing was diagnosed.

    A table is {title, note, kinds, rows: [{layer, cells: [{text, shade}]}]}; shade is 0 to STEPS - 1,
    or None where the measure has no meaning.
    """
    whole, cells = part(diagnosis, "whole"), entries(diagnosis, "cells")
    cancelled = figure(whole, "cancelled")
    return {
        "sources": [
            _source(name, part(one)) for name, one in sorted(part(whole, "sources").items())
        ],
        "pairs": [_pair(pair) for pair in entries(whole, "pairs")],
        "cancelled": None if cancelled is None else f"{number(cancelled * 100, 0)} %",
        "tables": list(_tables(cells)) if cells else [],
        "suggestion": words(diagnosis, "suggestion", "method"),
        "reason": words(diagnosis, "suggestion", "reason"),
    }


def _source(name: str, figures: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": name,
        "norm": _shown(figure(figures, "relative_norm"), 3),
        "rank": _shown(figure(figures, "effective_rank"), 1),
        "share": _shown(figure(figures, "top_share"), 2),
    }


def _pair(pair: Cell) -> dict[str, str]:
    names = pair.get("of")
    return {
        "of": " and ".join(map(str, names)) if isinstance(names, list) else "",
        "cosine": _shown(figure(pair, "cosine"), 3),
        "conflict": _shown(figure(pair, "sign_conflict"), 3),
    }


def _tables(cells: Sequence[Cell]) -> Iterable[dict[str, Any]]:
    """What cancels, the pair that is most alike or opposed, and the size of each source's difference."""
    yield _table(
        cells,
        "Mass that cancels when all differences are added",
        "0 where they never meet or agree, more where they pull apart.",
        lambda cell: figure(cell, "cancelled"),
        least=0.5,
    )
    yield _table(
        cells,
        "Cosine of the pair that is furthest from unrelated",
        "0 for unrelated differences, 1 for equal ones, below 0 for opposed ones.",
        _furthest,
        least=0.2,
    )
    for name in sorted({name for cell in cells for name in part(cell, "sources")}):
        yield _table(
            cells,
            f"Size of {name}, relative to the base",
            "Length of the difference by the length of the base's own values.",
            lambda cell, name=name: figure(cell, "sources", name, "relative_norm"),  # type: ignore[misc]
            least=0.1,
        )


def _furthest(cell: Cell) -> float | None:
    known = [c for pair in entries(cell, "pairs") if (c := figure(pair, "cosine")) is not None]
    return max(known, key=abs, default=None)


def _table(
    cells: Sequence[Cell], title: str, note: str, measure: Measure, least: float
) -> dict[str, Any]:
    """Shaded by magnitude up to the largest value, at least up to `least`: noise must not look like structure."""
    kinds = list(dict.fromkeys(sorted(words(cell, "kind") for cell in cells)))
    values = {(_layer(cell), words(cell, "kind")): measure(cell) for cell in cells}
    most = max([least, *(abs(value) for value in values.values() if value is not None)])
    layers = sorted({_layer(cell) for cell in cells})
    return {
        "title": title,
        "note": f"{note} The strongest shade is {number(most, 2)}.",
        "kinds": kinds,
        "rows": [
            {
                "layer": _OUTSIDE if layer < 0 else str(layer),
                "cells": [_cell(values.get((layer, kind)), most) for kind in kinds],
            }
            for layer in layers
        ],
    }


def _layer(cell: Cell) -> int:
    found = figure(cell, "layer")
    return -1 if found is None else int(found)


def _cell(value: float | None, most: float) -> dict[str, Any]:
    if value is None:
        return {"text": NONE, "shade": None}
    return {"text": number(value, 2), "shade": min(STEPS - 1, int(abs(value) / most * STEPS))}


def _shown(value: float | None, digits: int) -> str:
    return NONE if value is None else number(value, digits)
