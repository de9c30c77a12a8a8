"""From a recipe and opened sources to a plan.

A plan is complete: every operand exists and fits, every parameter has its value. All that is wrong
between a recipe and its sources is found here, and reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.merge.names import has_row_per_token, is_before_layers
from pipeline.merge.plan import FLOATS, Operand, Plan, Step
from pipeline.merge.settings import method_settings
from pipeline.merge.vocabulary import Vocabulary
from pipeline.merge.weights import Weights
from pipeline.recipe.operands import Operands, operands_of
from pipeline.recipe.types import Recipe, Slice, SliceSource
from pipeline.sources.reference import Reference

_STORED_AS = {name: key for key, name in FLOATS.items()}
_SHOWN = 8  # faults that a person can take in at once


def make_plan(
    recipe: Recipe, weights: Mapping[Reference, Weights], vocabulary: Vocabulary | None
) -> Plan:
    """The plan of a recipe over opened sources; `vocabulary` is what its `tokenizer` asks for.

    Raises InputError that lists every fault.
    """
    return _Planner(recipe, weights, vocabulary).plan()


class _Planner:
    def __init__(
        self, recipe: Recipe, weights: Mapping[Reference, Weights], vocabulary: Vocabulary | None
    ) -> None:
        self.recipe, self.weights = recipe, weights
        self.vocabulary = vocabulary if vocabulary and not vocabulary.keeps_rows else None
        self.tokenizer = weights[vocabulary.origin if vocabulary else recipe.references()[0]]
        self.faults: list[str] = []

    def plan(self) -> Plan:
        """Every step of the merge. Raises InputError that lists every fault of every slice."""
        for weights in self.weights.values():
            self._check_source(weights)
        steps: dict[str, Step] = {}
        layers: list[int] = []
        last = len(self.recipe.slices) - 1
        for index, part in enumerate(self.recipe.slices):
            operands = operands_of(self.recipe, part)
            self._check_layers(operands)
            if not self.faults:
                for step in self._slice(part, operands, len(layers), index == 0, index == last):
                    steps[step.name] = step
                layers.extend(self._span(_template(operands)))
        self._raise()
        ordered = tuple(steps[name] for name in sorted(steps))
        return Plan(
            self.recipe, ordered, self.weights, self.vocabulary, self.tokenizer, tuple(layers)
        )

    def _slice(
        self, part: Slice, operands: Operands, first: int, is_first: bool, is_last: bool
    ) -> Iterator[Step]:
        """The steps of a slice whose layers begin at `first` in the output.

        Tensors before the layers are those of the first slice, tensors after them of the last.
        """
        template = _template(operands)
        names = self.weights[template.model].layers
        span = self._span(template)
        if not self.recipe.stacked:
            self._check_extras(operands)
        for name in self.weights[template.model].tensors:
            layer, _ = names.split(name)
            if layer is None:
                wanted, at = is_first if is_before_layers(name) else is_last, None
            else:
                wanted, at = layer in span, layer - span.start
            if wanted and (step := self._step(part, operands, name, at, first, len(span))):
                yield step

    def _step(
        self, part: Slice, operands: Operands, name: str, at: int | None, first: int, count: int
    ) -> Step | None:
        """The step of one tensor; `at` is its layer's place in the slice of `count` layers."""
        layers = self.weights[_template(operands).model].layers
        rest = layers.split(name)[1]
        output = layers.join(None if at is None else first + at, rest)
        models = [self._operand(source, at, rest) for source in operands.models]
        base = self._operand(operands.base, at, rest) if operands.base else None
        found = tuple(operand for operand in models if operand)
        if len(found) < len(models) or (operands.base and base is None):
            return None
        position = None if at is None else at / (count - 1) if count > 1 else 1.0
        settings = method_settings(self.recipe, part, operands, output, position, self.faults)
        return self._checked(output, base, found, settings)

    def _checked(
        self,
        name: str,
        base: Operand | None,
        operands: tuple[Operand, ...],
        settings: Mapping[str, Any],
    ) -> Step | None:
        template = base or operands[0]
        stored = template.weights.tensors[template.name].dtype
        dtype = _STORED_AS[
            self.recipe.out_dtype or self.recipe.dtype or FLOATS.get(stored, "float32")
        ]
        shape = self._shape(name, base, operands)
        if shape is None:
            return None
        rows = self.vocabulary is not None and has_row_per_token(name)
        if any(o.weights.tensors[o.name].dtype not in FLOATS for o in (template, *operands)):
            return self._not_float(name, template, operands)
        copied = (
            not rows
            and dtype == stored == _STORED_AS[self.recipe.dtype or FLOATS[stored]]
            and _keeps_equals(self.recipe, settings)
            and all(template.same_bytes(operand) for operand in operands)
            and shape == template.shape
        )
        return Step(name, dtype, shape, base, operands, settings, rows, copied)

    def _shape(
        self, name: str, base: Operand | None, operands: tuple[Operand, ...]
    ) -> tuple[int, ...] | None:
        """The output's shape. Only the count of token rows may differ, and only as the rules say."""
        everyone = (base, *operands) if base else operands
        shapes = {operand.shape for operand in everyone}
        template = everyone[0].shape
        per_token = has_row_per_token(name) and len({shape[1:] for shape in shapes}) == 1
        if per_token and self.vocabulary:
            return (self.vocabulary.rows, *template[1:])
        fewest = min(shape[0] for shape in shapes) if per_token else 0
        if per_token and (base is None or fewest == template[0]):
            return (fewest, *template[1:])
        if len(shapes) > 1:
            listed = ", ".join(f"{o.weights.reference} {list(o.shape)}" for o in everyone)
            self.faults.append(f"{name}: the shapes differ: {listed}. Merge models of one family.")
            return None
        return template

    def _not_float(
        self, name: str, template: Operand, operands: tuple[Operand, ...]
    ) -> Step | None:
        """Whole numbers are no subject of arithmetic: a buffer is taken from the base."""
        dtypes = {o.weights.tensors[o.name].dtype: o for o in (template, *operands)}
        stored = next(dtype for dtype in dtypes if dtype not in FLOATS)
        if len(dtypes) > 1 or stored.startswith("F8") or any(o.adapted for o in operands):
            self.faults.append(
                f"{dtypes[stored].weights.reference}: {name} is stored as {stored}; "
                "quantized weights cannot be merged. "
                "Name the model in float32, bfloat16 or float16."
            )
            return None
        return Step(name, stored, template.shape, None, (template,), {}, rows=False, copied=True)

    def _operand(self, source: SliceSource, at: int | None, rest: str) -> Operand | None:
        weights = self.weights[source.model]
        layer = None if at is None else (source.layers or (0, 0))[0] + at
        name = weights.layers.join(layer, rest)
        if name in weights.tensors:
            return Operand(weights, name)
        self.faults.append(f"{source.model}: has no tensor {name}, which the merge needs.")
        return None

    def _span(self, source: SliceSource) -> range:
        count = self.weights[source.model].layers.count
        return range(*source.layers) if source.layers else range(count)

    def _check_layers(self, operands: Operands) -> None:
        for source in (*operands.models, *([operands.base] if operands.base else [])):
            count = self.weights[source.model].layers.count
            if not count and self.recipe.has_gradients:
                self.faults.append(
                    f"{source.model}: its layers cannot be told from the names of its tensors, "
                    "so a gradient has no meaning. Give single values or filters instead."
                )
            if source.layers and source.layers[1] > count:
                self.faults.append(
                    f"{self.recipe.where}: layer_range {list(source.layers)} of {source.model} "
                    f"goes beyond its {count} layers. Use at most [0, {count}]."
                )

    def _check_source(self, weights: Weights) -> None:
        quantization = weights.model.config.get("quantization_config")
        if quantization:
            self.faults.append(
                f"{weights.reference}: is quantized (config.json has a quantization_config). "
                "Name the model that it was quantized from."
            )
        self.faults.extend(weights.adapter_faults())

    def _check_extras(self, operands: Operands) -> None:
        """A tensor that only a source has would be lost without a word."""
        template = self.weights[_template(operands).model]
        for source in operands.models:
            extra = sorted(set(self.weights[source.model].tensors) - set(template.tensors))
            self.faults.extend(
                f"{source.model}: has a tensor {name}, which {template.reference} has not. "
                "Merge models of one family."
                for name in extra
            )

    def _raise(self) -> None:
        faults = list(dict.fromkeys(self.faults))
        if len(faults) > _SHOWN:
            faults[_SHOWN:] = [f"... and {len(faults) - _SHOWN} more."]
        if faults:
            raise InputError.of(faults)


def _template(operands: Operands) -> SliceSource:
    return operands.base or operands.models[0]


def _keeps_equals(recipe: Recipe, settings: Mapping[str, Any]) -> bool:
    """Whether the method gives n equal operands (or n zero deltas) back unchanged."""
    name = recipe.method.keeps_equals
    value = settings.get(name, 1) if name else 1
    return bool(value == 1 or value == (1.0,))
