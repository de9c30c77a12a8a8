"""Parameter values: numbers, gradients over the layers of a slice, and lists filtered by tensor name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.recipe.methods import INT8_MASK, MethodSpec, ParameterSpec
from pipeline.strict import nearest, shown


@dataclass(frozen=True)
class Conditional:
    """A gradient (one value: a constant) for the tensors whose name contains `filter`; None matches all."""

    filter: str | None
    gradient: tuple[float, ...]

    def matches(self, tensor: str) -> bool:
        """Whether it speaks of this tensor."""
        return self.filter is None or self.filter in tensor


Parameter = tuple[Conditional, ...]  # the first that matches wins
Parameters = Mapping[str, Parameter]


def value_at(parameter: Parameter, tensor: str, position: float | None) -> float | None:
    """The value for a tensor at `position` of its slice, in [0, 1]; None where no filter matches.

    A gradient is piecewise linear with its values evenly spread over [0, 1]. Tensors outside the layers
    (embeddings, final norm, head) have the position None and take the first value.
    """
    for conditional in parameter:
        if conditional.matches(tensor):
            return _interpolate(conditional.gradient, position or 0.0)
    return None


def value_through(
    levels: Iterable[Parameters], name: str, tensor: str, position: float | None
) -> float | None:
    """The value of the first level that has one: slice source, slice, module, recipe. None where none has."""
    for level in levels:
        value = value_at(level.get(name, ()), tensor, position)
        if value is not None:
            return value
    return None


def _interpolate(gradient: tuple[float, ...], position: float) -> float:
    place = position * (len(gradient) - 1)
    low = int(place)
    if low == place:  # exactly at a value: no rounding
        return gradient[low]
    part = place - low
    return gradient[low] * (1 - part) + gradient[low + 1] * part


def parse_parameters(
    value: Any, where: str, method: MethodSpec | None, per_model: bool, faults: list[str]
) -> Parameters:
    """The `parameters` of one level. `per_model` says that the level is one model of a slice.

    Without a method (its name was already found wrong) nothing is checked.
    """
    if value is None or method is None:
        return {}
    if not isinstance(value, Mapping):
        faults.append(f"{where} must be a mapping of parameter names to values.")
        return {}
    parsed: dict[str, Parameter] = {}
    for name, given in value.items():
        spec = _spec(str(name), where, method, per_model, faults)
        if spec and given is not None:  # null leaves a parameter out
            parsed[spec.name] = _parameter(given, f"{where}.{name}", spec, faults)
    return parsed


def _spec(
    name: str, where: str, method: MethodSpec, per_model: bool, faults: list[str]
) -> ParameterSpec | None:
    known = {**method.parameters, INT8_MASK.name: INT8_MASK}
    if name not in known:
        faults.append(f"{where}.{name} is not a parameter of {method.name}.{nearest(name, known)}")
        return None
    spec = known[name]
    if per_model and not spec.per_model and spec is not INT8_MASK:
        faults.append(
            f"{where}.{name} stands with one model, but holds for all of them. "
            "Move it to the recipe's parameters."
        )
        return None
    return spec


def _parameter(value: Any, where: str, spec: ParameterSpec, faults: list[str]) -> Parameter:
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return tuple(
            _conditional(item, f"{where}[{index}]", spec, faults)
            for index, item in enumerate(value)
        )
    return (Conditional(None, _gradient(value, where, spec, faults)),)


def _conditional(item: Any, where: str, spec: ParameterSpec, faults: list[str]) -> Conditional:
    if not isinstance(item, Mapping):  # a bare value after filters is the rest
        return Conditional(None, _gradient(item, where, spec, faults))
    for key in sorted(set(map(str, item)) - {"filter", "value"}):
        faults.append(f"{where}.{key} is not a key here.{nearest(key, ('filter', 'value'))}")
    wanted = item.get("filter")
    if wanted is not None and not (isinstance(wanted, str) and wanted):
        faults.append(
            f"{where}.filter is {wanted!r}; it must be a part of a tensor's name, for example mlp."
        )
    if "value" not in item:
        faults.append(f"{where}.value is missing; it must be a number or a list of numbers.")
        return Conditional(None, (0.0,))
    gradient = _gradient(item["value"], f"{where}.value", spec, faults)
    return Conditional(None if wanted in (None, "*") else str(wanted), gradient)


def _gradient(value: Any, where: str, spec: ParameterSpec, faults: list[str]) -> tuple[float, ...]:
    items = value if isinstance(value, list) else [value]
    if not items:
        faults.append(f"{where} is an empty list; give it at least one value.")
    numbers = tuple(_number(item) for item in items)
    for item, number in zip(items, numbers, strict=True):
        misplaced_flag = isinstance(item, bool) and not spec.flag
        if number is None or misplaced_flag or not spec.accepts(number):
            faults.append(_out_of_range(item, where, spec))
    return tuple(number or 0.0 for number in numbers) or (0.0,)


def _number(value: Any) -> float | None:
    """A number of YAML; also one that YAML 1.1 reads as a string for want of a point, as 1e-5."""
    if isinstance(value, str) and not _WITHOUT_POINT.fullmatch(value):
        return None
    try:
        return float(value) if isinstance(value, bool | int | float | str) else None
    except OverflowError:
        return None


_WITHOUT_POINT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")


def _out_of_range(value: Any, where: str, spec: ParameterSpec) -> str:
    way_out = "" if spec.default is None else ", or leave the key out"
    return (
        f"{where} is {shown(value)}; it must be {spec.range}. "
        f"{spec.meaning} Use for example `{spec.example}`{way_out}."
    )
