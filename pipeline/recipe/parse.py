"""From the plain values of a YAML document to a `Recipe`; every fault is collected, then reported at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.recipe.methods import METHODS, MethodSpec
from pipeline.recipe.operands import operand_faults
from pipeline.recipe.parameters import Parameters, parse_parameters
from pipeline.recipe.references import parse_reference
from pipeline.recipe.tokenizer import parse_tokenizer, parse_tokenizer_source
from pipeline.recipe.types import Recipe, Slice, SliceSource
from pipeline.sources.reference import Reference
from pipeline.strict import Fields, filled, nearest, one_of, sequence, shown, text

DTYPES = ("float32", "float16", "bfloat16")
_MODELS_OR = "a list of models, each `- model: REFERENCE` with its parameters"


def parse_recipe(mapping: Any, where: str, source_text: str | None = None) -> Recipe:
    """The recipe that `mapping` states. `where` names it in messages; `source_text` is kept as written.

    Raises InputError that lists every fault.
    """
    faults: list[str] = []
    top = Fields(mapping, f"{where}: recipe", faults)
    if faults:  # not a mapping: nothing in it can be judged
        raise InputError.of(faults)
    foreign = list(_foreign(mapping, top.where))
    digest = "" if foreign else digest_of(json.loads(json.dumps(mapping)))
    recipe = _Reader(top, where, faults).recipe(source_text, digest)
    top.done()
    faults.extend(foreign)
    if not faults:  # counts of models mean nothing while a model is missing
        faults.extend(operand_faults(recipe))
    if faults:
        raise InputError.of(dict.fromkeys(faults))
    return recipe


class _Reader:
    """Reads one document; holds what every level of it needs."""

    def __init__(self, top: Fields, where: str, faults: list[str]) -> None:
        self.top, self.where, self.faults = top, where, faults
        self.method: MethodSpec | None = self._method()

    def recipe(self, source_text: str | None, digest: str) -> Recipe:
        """The recipe, as far as it can be read; the faults are in `faults`."""
        top = self.top
        base = self._reference(top, "base_model", required=False)
        slices, stacked, module_parameters = self._output()
        tokenizer_source = parse_tokenizer_source(top, base, self.faults)
        return Recipe(
            merge_method=self.method.name if self.method else "",
            slices=slices,
            stacked=stacked,
            base_model=base,
            parameters=self._parameters(top, per_model=False),
            module_parameters=module_parameters,
            dtype=self._dtype("dtype"),
            out_dtype=self._dtype("out_dtype"),
            chat_template=top.get(
                "chat_template", text, "auto, the name of a template, or a Jinja text", None
            ),
            tokenizer_source=tokenizer_source,
            tokenizer=parse_tokenizer(top, tokenizer_source, base, self.faults),
            where=self.where,
            text=yaml.safe_dump(top.value, sort_keys=False) if source_text is None else source_text,
            digest=digest,
        )

    def _method(self) -> MethodSpec | None:
        name = self.top.get("merge_method", text, f"one of {', '.join(METHODS)}")
        if name is not None and name not in METHODS:
            self.faults.append(
                f"{self.top.where}.merge_method is {name!r}; "
                f"it must be one of {', '.join(METHODS)}.{nearest(name, METHODS)}"
            )
        return METHODS.get(name)

    def _dtype(self, key: str) -> Any:
        return self.top.get(key, one_of(*DTYPES), f"one of {', '.join(DTYPES)}", None)

    def _output(self) -> tuple[tuple[Slice, ...], bool, Parameters]:
        """The slices, whether they were written as such, and the parameters of the module around them."""
        keys = ("models", "slices", "modules")
        given = [key for key in keys if self.top.value.get(key) is not None]
        self.top.seen.update(("models", "slices", "modules"))
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "does not say what to merge"
            self.faults.append(
                f"{self.top.where} {found}; give exactly one of models, slices, modules. "
                "Use models to merge whole models, slices to choose layers."
            )
            return (), False, {}
        if given != ["modules"]:
            return (*self._slices(self.top), {})
        modules = self.top.value["modules"]
        if not isinstance(modules, Mapping) or list(modules) != ["default"]:
            self.faults.append(
                f"{self.top.where}.modules must have one entry, default: "
                "models of several modules (vision and text) are not supported. "
                "Merge the text model by itself."
            )
            return (), False, {}
        module = Fields(modules["default"], f"{self.top.where}.modules.default", self.faults)
        slices, stacked = self._slices(module)
        parameters = self._parameters(module, per_model=False)
        module.done()
        return slices, stacked, parameters

    def _slices(self, fields: Fields) -> tuple[tuple[Slice, ...], bool]:
        fields.seen.update(("models", "slices"))
        if fields.value.get("slices") is None:
            sources = self._sources(fields, "models", layers=False)
            return (Slice(sources, None, {}),), False
        listed = self._list(fields, "slices", "a list of slices, each with its sources")
        return tuple(self._slice(item, where) for item, where in listed), True

    def _slice(self, item: Any, where: str) -> Slice:
        fields = Fields(item, where, self.faults)
        result = Slice(
            sources=self._sources(fields, "sources", layers=True),
            base_model=self._reference(fields, "base_model", required=False),
            parameters=self._parameters(fields, per_model=False),
        )
        fields.done()
        return result

    def _sources(self, fields: Fields, key: str, layers: bool) -> tuple[SliceSource, ...]:
        return tuple(
            source
            for item, where in self._list(fields, key, _MODELS_OR)
            if (source := self._source(item, where, layers))
        )

    def _source(self, item: Any, where: str, layers: bool) -> SliceSource | None:
        fields = Fields(item, where, self.faults)
        model = self._reference(fields, "model", required=True)
        span = (
            fields.get(
                "layer_range", _layer_range, "[first, end], end above first and not included"
            )
            if layers
            else None
        )
        parameters = self._parameters(fields, per_model=True)
        fields.done()
        return SliceSource(model, span, parameters) if model else None

    def _list(self, fields: Fields, key: str, must: str) -> list[tuple[Any, str]]:
        items = fields.get(key, filled(sequence), must)
        return [(item, f"{fields.where}.{key}[{i}]") for i, item in enumerate(items or [])]

    def _parameters(self, fields: Fields, per_model: bool) -> Parameters:
        given = fields.get("parameters", lambda value: value, "a mapping", None)
        where = f"{fields.where}.parameters"
        return parse_parameters(given, where, self.method, per_model, self.faults)

    def _reference(self, fields: Fields, key: str, required: bool) -> Reference | None:
        fields.seen.add(key)
        if fields.value.get(key) is None:
            if required:
                state = "null" if key in fields.value else "missing"
                self.faults.append(f"{fields.where}.{key} is {state}; it must name a model.")
            return None
        return parse_reference(fields.value[key], f"{fields.where}.{key}", self.faults)


def _foreign(value: Any, where: str) -> Iterator[str]:
    """A fault for each value that a recipe cannot hold: a date, NaN, infinity, a key that is no text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where} has the key {key!r}; keys are text. Put it in quotes."
            yield from _foreign(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _foreign(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}; it must be a finite number."
    elif not (value is None or isinstance(value, bool | int | float | str)):
        yield f"{where} is {shown(value)}; it must be text or a number. Put it in quotes for text."


def _layer_range(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in value):
        raise ValueError
    first, end = value
    if not 0 <= first < end:
        raise ValueError
    return first, end
