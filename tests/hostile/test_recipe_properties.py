"""Recipes in general: good ones are read, mistyped ones are refused by name, nothing brings the reader down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.plain_yaml import MAX_DEPTH, MAX_NODES, load_document
from pipeline.recipe import METHODS, MethodSpec, ParameterSpec, Recipe, load_recipe, parse_recipe

deterministic = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

KEYS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)

# What YAML is made of, hostile parts among them.
PIECES = [
    "a: ",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&x ",
    "*x",
    "<<: ",
    "!!int ",
    "!!set ",
]
PIECES += [
    "!!timestamp ",
    "!!python/name:os ",
    "1",
    "0x1",
    "1:1:1.5",
    "2026-01-02",
    '"\\ud800"',
    "?",
]
PIECES += [
    "!!binary ",
    "!!omap ",
    "--- ",
    "... ",
    "%YAML 1.1\n",
    "| ",
    "> ",
    "\t",
    "\0",
    "\ufeff",
    "~",
    "=",
]


def numbers(spec: ParameterSpec) -> st.SearchStrategy[Any]:
    if spec.flag:
        return st.booleans()
    return st.floats(
        max(spec.low, -1e6), min(spec.high, 1e6), exclude_min=spec.above, allow_subnormal=False
    )


def parameter(spec: ParameterSpec) -> st.SearchStrategy[Any]:
    """A number, a gradient, or a list with filters that ends in one without."""
    one = numbers(spec)
    filtered = st.fixed_dictionaries({"filter": st.sampled_from(["mlp", "attn"]), "value": one})
    many = st.lists(filtered, min_size=1, max_size=2)
    rest = one.map(lambda value: {"value": value})
    return one | st.lists(one, min_size=1, max_size=3) | st.tuples(many, rest).map(_joined)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A good recipe of any method."""
    method = METHODS[draw(st.sampled_from(sorted(METHODS)))]
    least, most = method.models
    count = draw(st.integers(int(least), int(min(most, least + 2))))
    models = [{"model": f"m{i}", **_parameters(draw, method, per_model=True)} for i in range(count)]
    recipe: dict[str, Any] = {"merge_method": method.name, "models": models}
    recipe |= _parameters(draw, method, per_model=False)
    if method.needs_base:
        recipe["base_model"] = "base@main+adapter"
    if draw(st.booleans()):
        recipe["dtype"] = draw(st.sampled_from(["float32", "float16", "bfloat16"]))
    if draw(st.booleans()):
        recipe["tokenizer"] = {"source": "union", "pad_to_multiple_of": 8}
    if draw(st.booleans()):
        spans = [{**model, "layer_range": [0, 4]} for model in recipe.pop("models")]
        recipe["slices"] = [{"sources": spans}]
    return recipe


def read(recipe: Any) -> Recipe | str:
    """The recipe, or the words of its refusal; anything else is a fault."""
    try:
        return parse_recipe(recipe, "recipe.yaml")
    except InputError as error:
        return str(error)


@deterministic
@given(recipes())
def test_every_good_recipe_is_read_and_means_the_same_in_any_order_of_keys(
    tmp_path: Path, recipe: dict[str, Any]
) -> None:
    one = parse_recipe(recipe, "recipe.yaml")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(dict(reversed(recipe.items())), sort_keys=False))
    other = load_recipe(file)
    assert one.digest == other.digest
    assert one.slices == other.slices
    assert one.parameters == other.parameters
    assert [str(r) for r in one.references()] == [str(r) for r in other.references()]


@deterministic
@given(recipes(), st.data())
def test_a_mistyped_key_is_refused_by_its_name(
    recipe: dict[str, Any], drawn: st.DataObject
) -> None:
    *path, last = drawn.draw(st.sampled_from(list(_keys(recipe, ()))))
    holder: Any = _at(recipe, path)
    mistyped = last + drawn.draw(st.sampled_from("xyz"))
    assume(mistyped not in holder)
    holder[mistyped] = holder.pop(last)
    said = read(recipe)
    assert isinstance(said, str)
    assert mistyped in said or last in said


@deterministic
@given(recipes(), PLAIN, st.data())
def test_a_recipe_with_any_value_in_any_place_is_read_or_refused_in_words(
    recipe: dict[str, Any], value: Any, drawn: st.DataObject
) -> None:
    *path, last = drawn.draw(st.sampled_from(list(_places(recipe, ()))))
    _at(recipe, path)[last] = value
    said = read(recipe)
    if isinstance(said, str):
        assert all(line.startswith("recipe.yaml: recipe") for line in said.splitlines())


@deterministic
@given(PLAIN)
def test_any_value_is_a_recipe_or_refused_in_words(value: Any) -> None:
    assert isinstance(read(value), str)


@deterministic
@given(
    st.text(st.sampled_from("ab01:-,[]{}&*!<>|?'\"%@#\n \t\\.~=+_"), max_size=60)
    | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
)
def test_any_text_is_plain_values_or_refused_by_line(text: str) -> None:
    try:
        value = load_document(text, "recipe.yaml")
    except InputError as error:
        words = str(error)
    else:
        words, expected = "", yaml.safe_load(text)
        assert repr(value) == repr(expected)
    assert not words or words.startswith("recipe.yaml")


@deterministic
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_aliases_stand_for_a_bounded_count_of_values(counts: list[int]) -> None:
    lines = ["a0: &a0 [1]"]
    for i, count in enumerate(counts, 1):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * count)}]")
    sizes = [2]
    for count in counts:
        sizes.append(1 + count * sizes[-1])
    try:
        load_document("\n".join(lines), "recipe.yaml")
        accepted = True
    except InputError:
        accepted = False
    total = 1 + len(sizes) + sum(sizes)
    assert accepted == (total <= MAX_NODES and _depth(counts) <= MAX_DEPTH)


def _depth(counts: list[int]) -> int:
    """Levels of the document above: the mapping, and the deepest list of lists."""
    deepest = here = 2
    for count in counts:
        here = here + 1 if count else 1
        deepest = max(deepest, here)
    return deepest + 1


def _parameters(draw: st.DrawFn, method: MethodSpec, *, per_model: bool) -> dict[str, Any]:
    """All required parameters, and some of the others."""
    found = {
        name: draw(parameter(spec))
        for name, spec in method.parameters.items()
        if spec.per_model == per_model and (spec.default is None or draw(st.booleans()))
    }
    return {"parameters": found} if found else {}


def _joined(parts: tuple[list[Any], Any]) -> list[Any]:
    return [*parts[0], parts[1]]


def _at(value: Any, path: list[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key], (*path, key))


def _keys(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The places that are keys of mappings."""
    yield from (place for place in _places(value, path) if isinstance(place[-1], str))
