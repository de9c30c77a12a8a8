"""Recipes as users of mergekit write them, and what they come to here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.recipe import Recipe, load_recipe, parse_recipe
from pipeline.recipe.operands import operands_of
from pipeline.sources.reference import Reference

PUBLISHED_TIES = """
models:
  - model: psmathur/orca_mini_v3_13b
    parameters:
      density: [1, 0.7, 0.1]  # density gradient
      weight: 1.0
  - model: garage-bAInd/Platypus2-13B
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1]  # weight gradient
  - model: WizardLM/WizardMath-13B-V1.0
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: TheBloke/Llama-2-13B-fp16
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""


def parse(text: str) -> Recipe:
    return parse_recipe(yaml.safe_load(text), "recipe.yaml", text)


def faults(mapping: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_recipe(mapping, "recipe.yaml")
    return str(caught.value).splitlines()


def test_a_published_ties_recipe_is_accepted_unchanged() -> None:
    recipe = parse(PUBLISHED_TIES)
    assert recipe.merge_method == "ties"
    assert recipe.base_model == Reference("TheBloke/Llama-2-13B-fp16")
    assert recipe.dtype == "float16"
    assert recipe.out_dtype is None
    assert len(recipe.slices) == 1
    assert not recipe.stacked
    assert recipe.text == PUBLISHED_TIES


def test_references_are_unique_and_the_base_comes_first() -> None:
    recipe = parse(
        """
        merge_method: task_arithmetic
        base_model: base
        models: [{model: base+b}, {model: base}, {model: base+a}, {model: base+b}]
        parameters: {weight: 1}
        tokenizer: {source: other, tokens: {"<x>": {source: third}}}
        """
    )
    named = ["base", "base+b", "base+a", "other", "third"]
    assert [str(reference) for reference in recipe.references()] == named


def test_a_model_may_be_a_mapping_with_revision_and_adapter() -> None:
    recipe = parse(
        """
        merge_method: linear
        models:
          - model: {model: {path: org/base, revision: v1}, lora: {path: org/adapter}}
            parameters: {weight: 1}
        """
    )
    assert recipe.references() == (Reference.parse("org/base@v1+org/adapter"),)


def test_the_base_listed_among_the_models_of_a_delta_method_is_no_operand() -> None:
    recipe = parse(
        """
        merge_method: ties
        base_model: base
        models: [{model: base}, {model: x, parameters: {weight: 1}}]
        """
    )
    operands = operands_of(recipe, recipe.slices[0])
    assert [str(source.model) for source in operands.models] == ["x"]
    assert operands.base
    assert str(operands.base.model) == "base"


def test_a_model_named_twice_is_two_operands() -> None:
    recipe = parse(
        """
        merge_method: linear
        models: [{model: x, parameters: {weight: 1}}, {model: x, parameters: {weight: 2}}]
        """
    )
    assert len(operands_of(recipe, recipe.slices[0]).models) == 2


@pytest.mark.parametrize("models", [["a", "base"], ["base", "a"], ["a"]])
def test_slerp_starts_at_the_base_wherever_it_is_listed(models: list[str]) -> None:
    recipe = parse_recipe(
        {
            "merge_method": "slerp",
            "base_model": "base",
            "models": [{"model": model} for model in models],
            "parameters": {"t": 0.5},
        },
        "recipe.yaml",
    )
    operands = operands_of(recipe, recipe.slices[0])
    assert [str(source.model) for source in operands.models] == ["base", "a"]


def test_slices_state_layers_and_their_base_takes_the_same_ones() -> None:
    recipe = parse(
        """
        merge_method: ties
        base_model: base
        slices:
          - sources: [{model: a, layer_range: [0, 8], parameters: {weight: 1}}]
          - sources: [{model: a, layer_range: [4, 12]}, {model: base, layer_range: [0, 8]}]
            parameters: {weight: 0.5}
        """
    )
    bases = [operands_of(recipe, part).base for part in recipe.slices]
    assert [base.layers for base in bases if base] == [(0, 8), (0, 8)]
    assert recipe.stacked


def test_modules_default_stands_for_the_whole_model() -> None:
    recipe = parse(
        """
        merge_method: linear
        modules: {default: {models: [{model: a}], parameters: {weight: 1}}}
        """
    )
    assert [str(reference) for reference in recipe.references()] == ["a"]
    assert "weight" in recipe.module_parameters


def test_another_module_than_default_is_refused() -> None:
    (fault,) = faults({"merge_method": "linear", "modules": {"vision": {}}})
    assert "recipe.modules must have one entry, default" in fault


def test_tokenizer_source_is_short_for_tokenizer() -> None:
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    short = parse(text + "tokenizer_source: union\n")
    long = parse(text + "tokenizer: {source: union}\n")
    assert short.tokenizer == long.tokenizer
    assert (short.tokenizer_source, long.tokenizer_source) == ("union", None)


def test_token_rules_name_a_model_a_token_of_it_or_zero() -> None:
    recipe = parse(
        """
        merge_method: linear
        models: [{model: a, parameters: {weight: 1}}]
        tokenizer:
          source: union
          pad_to_multiple_of: 8
          tokens:
            <a>: {source: a, force: true}
            <b>: {source: {kind: zero}}
            <c>: {source: {kind: model_token, model: a, token: w1}}
            <d>: {source: {kind: model_token, model: a, token_id: 7}}
        """
    )
    assert recipe.tokenizer
    rows = {token: rule.row for token, rule in recipe.tokenizer.tokens.items()}
    assert {token: row and row.token for token, row in rows.items()} == {
        "<a>": None,
        "<b>": None,
        "<c>": "w1",
        "<d>": 7,
    }
    assert recipe.tokenizer.tokens["<a>"].force
    assert recipe.tokenizer.pad_to_multiple_of == 8


def test_the_digest_covers_the_values_and_not_the_layout() -> None:
    one = parse("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]")
    other = parse("# why\nmodels:\n- {model: a, parameters: {weight: 1}}\nmerge_method: linear")
    third = parse("merge_method: linear\nmodels: [{model: a, parameters: {weight: 2}}]")
    assert one.digest == other.digest != third.digest


def test_all_faults_are_reported_together_and_name_the_nearest_key() -> None:
    found = faults(
        {
            "merge_method": "ties",
            "base_model": "b",
            "models": [
                {"model": "x", "parameters": {"weihgt": 1, "density": 1.5}},
                {"modle": "y"},
            ],
            "dtype": "float17",
            "out_dype": "float32",
        }
    )
    assert found == [
        "recipe.yaml: recipe.models[0].parameters.weihgt is not a parameter of ties. "
        "Did you mean weight?",
        "recipe.yaml: recipe.models[0].parameters.density is 1.5; it must be in (0, 1]. It is the "
        "fraction of delta entries kept. Use for example `density: 0.5`, or leave the key out.",
        "recipe.yaml: recipe.models[1].model is missing; it must name a model.",
        "recipe.yaml: recipe.models[1].modle is not a key of recipe.yaml: recipe.models[1]. "
        "Did you mean model?",
        "recipe.yaml: recipe.dtype is 'float17'; it must be one of float32, float16, bfloat16.",
        "recipe.yaml: recipe.out_dype is not a key of recipe.yaml: recipe. Did you mean out_dtype?",
    ]


def test_an_unknown_method_names_the_nearest_and_all() -> None:
    (fault,) = faults({"merge_method": "dare", "models": [{"model": "a"}]})
    assert "recipe.merge_method is 'dare'; it must be one of linear, slerp" in fault
    assert "Did you mean dare_" in fault


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"merge_method": "linear"}, "does not say what to merge"),
        (
            {"merge_method": "linear", "models": [{"model": "a"}], "slices": []},
            "has models and slices",
        ),
        ({"merge_method": "linear", "models": []}, "recipe.models is []"),
        (
            {"merge_method": "linear", "models": [{"model": "a"}]},
            "needs the parameter weight for a",
        ),
        ({"merge_method": "ties", "models": [{"model": "a"}]}, "recipe.base_model is missing"),
        (
            {"merge_method": "ties", "base_model": "a", "models": [{"model": "a"}]},
            "has 0 models besides the base; ties takes at least 1",
        ),
        (
            {"merge_method": "slerp", "models": [{"model": "a"}], "parameters": {"t": 1}},
            "has 1 models; slerp takes exactly 2",
        ),
        (
            {
                "merge_method": "slerp",
                "base_model": "c",
                "models": [{"model": "a"}, {"model": "b"}],
                "parameters": {"t": 1},
            },
            "base_model c is neither of the two models",
        ),
        (
            {"merge_method": "passthrough", "models": [{"model": "a"}, {"model": "b"}]},
            "has 2 models; passthrough takes exactly 1",
        ),
        (
            {"merge_method": "slerp", "models": [{"model": "a", "parameters": {"t": 1}}]},
            "recipe.models[0].parameters.t stands with one model, but holds for all of them",
        ),
        (
            {"merge_method": "linear", "models": [{"model": "a"}], "tokenizer_source": "base"},
            "tokenizer_source is base, but the recipe has no base_model",
        ),
        (
            {
                "merge_method": "linear",
                "models": [{"model": "a"}],
                "tokenizer_source": "union",
                "tokenizer": {},
            },
            "has tokenizer_source and tokenizer; give one of them",
        ),
        (
            {"merge_method": "linear", "models": [{"model": "a", "layer_range": [0, 1]}]},
            "recipe.models[0].layer_range is not a key",
        ),
        (
            {
                "merge_method": "linear",
                "slices": [
                    {
                        "sources": [
                            {"model": "a", "layer_range": [0, 2]},
                            {"model": "b", "layer_range": [0, 3]},
                        ],
                        "parameters": {"weight": 1},
                    }
                ],
            },
            "the layer ranges differ in length: a [0, 2], b [0, 3]",
        ),
        (
            {
                "merge_method": "ties",
                "base_model": "base",
                "slices": [
                    {
                        "sources": [
                            {"model": "a", "layer_range": [0, 2]},
                            {"model": "b", "layer_range": [1, 3]},
                        ],
                        "parameters": {"weight": 1},
                    }
                ],
            },
            "List base_model base as a source with its layer_range",
        ),
        (
            {"merge_method": "linear", "slices": [{"sources": [{"model": "a"}]}]},
            "recipe.slices[0].sources[0].layer_range is missing",
        ),
        (
            {"merge_method": "linear", "models": [{"model": "a+b+b"}]},
            "recipe.models[0].model: a+b+b names the adapter b twice",
        ),
        ([], "recipe is a list; it must be a mapping"),
        ({"merge_method": "linear", 3: 4}, "recipe has the key 3; keys are text"),
        (
            {"merge_method": "linear", "x": [float("nan")]},
            "recipe.x[0] is nan; it must be a finite",
        ),
    ],
)
def test_a_recipe_that_cannot_be_merged_is_refused_with_words(mapping: Any, words: str) -> None:
    assert words in "\n".join(faults(mapping))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", ", line 2: not valid YAML: the key 'a' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", ", line 1: not valid YAML: could not"),
        ("a: [1\n", "not valid YAML"),
        ("x: " + "[" * 5000, "nested too deeply"),
        ("&a [*a]", "aliases stand for more than"),
        ("# " + "x" * 1_000_001, "1000003 bytes; a recipe has at most 1000000"),
        ("a: 2020-99-99", "not valid YAML"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_aliases_that_grow_without_measure_are_refused(tmp_path: Path) -> None:
    lines = ["l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="aliases stand for more than 100000 values"):
        load_recipe(path)


def test_honest_anchors_and_merge_keys_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "merge_method: linear\n"
        "models:\n"
        "  - {model: a, parameters: &p {weight: 1.0}}\n"
        "  - {model: b, parameters: {<<: *p}}\n"
    )
    assert len(load_recipe(path).references()) == 2


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_recipe(tmp_path)
