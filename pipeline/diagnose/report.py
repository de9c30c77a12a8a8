"""A diagnosis as a value: every figure by layer and kind of module, the suggestion, JSON, lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from pipeline.diagnose.evidence import Evidence, percent
from pipeline.diagnose.figures import TOP, Group, TensorFigures
from pipeline.diagnose.measure import BINS_PER_OCTAVE
from pipeline.diagnose.spectrum import settings
from pipeline.diagnose.suggest import Suggestion, suggest

SCHEMA = 1


@dataclass(frozen=True)
class Diagnosis:
    """What the differences of a recipe's sources from their base look like.

    `sources` are references as the recipe names them, in order of appearance; figures have an entry per source, in that
    order. `tensors` are those that any source changes, `unchanged` counts the others. `alike` is, for each
    source, the median cosine of its weight matrices with the base's.
    """

    where: str
    recipe_digest: str
    recipe_method: str
    base: str
    base_known: bool
    sources: tuple[str, ...]
    tensors: tuple[TensorFigures, ...]
    unchanged: int
    alike: tuple[float | None, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A short name for each source: the end of its reference, where that tells them apart."""
        short = [
            source.rpartition("+")[2].rstrip("/").rpartition("/")[2] for source in self.sources
        ]
        return tuple(short) if len(set(short)) == len(short) else self.sources

    @cached_property
    def whole(self) -> Group:
        """All tensors together."""
        return Group.of(self.tensors, len(self.sources))

    @cached_property
    def layers(self) -> tuple[Group, ...]:
        """One group per layer, in order; tensors outside the layers are in none."""
        found = sorted({t.layer for t in self.tensors if t.layer is not None})
        return tuple(self._group(layer=layer) for layer in found)

    @cached_property
    def kinds(self) -> tuple[Group, ...]:
        """One group per kind of module, in order of name."""
        return tuple(self._group(kind=kind) for kind in sorted({t.kind for t in self.tensors}))

    @cached_property
    def cells(self) -> tuple[Group, ...]:
        """One group per layer and kind; the layer is None outside the layers."""
        by_place: dict[tuple[int, str], list[TensorFigures]] = {}
        for tensor in self.tensors:
            layer = -1 if tensor.layer is None else tensor.layer
            by_place.setdefault((layer, tensor.kind), []).append(tensor)
        return tuple(
            Group.of(listed, len(self.sources), layer=None if layer < 0 else layer, kind=kind)
            for (layer, kind), listed in sorted(by_place.items())
        )

    @cached_property
    def suggestion(self) -> Suggestion:
        """A method for these figures, its reason, and warnings."""
        return suggest(Evidence(self.whole, self.names, self.alike, self.base, self.base_known))

    def to_json(self) -> dict[str, Any]:
        """Every figure as JSON values. None stands where a figure has no meaning, as a cosine with nothing."""
        return {
            "schema": SCHEMA,
            "recipe": {"digest": self.recipe_digest, "method": self.recipe_method},
            "base": {"reference": self.base, "known": self.base_known},
            "sources": dict(zip(self.names, self.sources, strict=True)),
            "measured": {
                "top_share": {"of_entries": TOP, "bins_per_octave": BINS_PER_OCTAVE},
                "effective_rank": dict(settings()),
            },
            "unchanged_tensors": self.unchanged,
            "cosine_with_base": dict(zip(self.names, self.alike, strict=True)),
            "whole": self.whole.to_json(self.names),
            "layers": [group.to_json(self.names) for group in self.layers],
            "kinds": [group.to_json(self.names) for group in self.kinds],
            "cells": [group.to_json(self.names) for group in self.cells],
            "suggestion": {**asdict(self.suggestion), "warnings": [*self.suggestion.warnings]},
        }

    def _group(self, *, layer: int | None = None, kind: str | None = None) -> Group:
        chosen = (
            t for t in self.tensors if (t.kind == kind if layer is None else t.layer == layer)
        )
        return Group.of(chosen, len(self.sources), layer=layer, kind=kind)


def lines(diagnosis: Diagnosis) -> list[str]:
    """The diagnosis for a terminal: the model as a whole, each kind of module, suggestion and warnings."""
    whole, names = diagnosis.whole, diagnosis.names
    said = diagnosis.suggestion
    return [
        f"differences from {diagnosis.base}: {len(diagnosis.tensors)} tensors changed, "
        f"{diagnosis.unchanged} not",
        "",
        *_table(
            ("source", "relative norm", f"mass in top {percent(TOP)}", "effective rank"),
            [
                (
                    names[source],
                    shown(whole.relative_norm(source), 4),
                    shown(whole.top_share(source), 2),
                    shown(whole.rank(source), 1),
                )
                for source in whole.sources
            ],
        ),
        *_pairs(diagnosis),
        "",
        *_kinds(diagnosis),
        "",
        f"suggested method: {said.method or 'none'}. {said.reason}",
        *(f"warning: {warning}" for warning in said.warnings),
    ]


def _kinds(diagnosis: Diagnosis) -> list[str]:
    """The relative norm of each source by kind of module, and what cancels."""
    rows = [
        (
            group.kind or "",
            *(shown(group.relative_norm(source), 4) for source in group.sources),
            shown(group.cancelled, 3),
        )
        for group in diagnosis.kinds
    ]
    return _table(("relative norm by kind", *diagnosis.names, "mass that cancels"), rows)


def rationale(diagnosis: Diagnosis) -> str:
    """For a model card: what was measured before the merge, and whether the recipe follows it."""
    said, used = diagnosis.suggestion, diagnosis.recipe_method
    if said.method is None:
        return f"Measured before the merge: {said.reason}"
    follows = "which this recipe uses" if said.method == used else f"this recipe uses `{used}`"
    return f"Measured before the merge: {said.reason} That speaks for `{said.method}`; {follows}."


def _pairs(diagnosis: Diagnosis) -> list[str]:
    whole, names = diagnosis.whole, diagnosis.names
    if not whole.pairs:
        return []
    rows = []
    for pair in whole.pairs:
        found = {g.layer: c for g in diagnosis.layers if (c := g.conflict(pair)) is not None}
        worst = max(found, key=lambda layer: found[layer], default=None)
        rows.append(
            (
                " and ".join(names[source] for source in pair),
                shown(whole.cosine(pair), 3),
                shown(whole.conflict(pair), 3),
                "–" if worst is None else f"{found[worst]:.3f} in layer {worst}",
            )
        )
    header = ("pair", "cosine", "sign conflict", "most of it")
    cancelled = shown(whole.cancelled, 3)
    return ["", *_table(header, rows), "", f"mass that cancels when all are added: {cancelled}"]


def shown(value: float | None, digits: int) -> str:
    """A figure, or a dash where it has no meaning."""
    return "–" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
