"""The merge of whole models: what it reads, what it writes, what it leaves as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import HIDDEN, INNER, LAYERS, ROWS, contents, merged, recipe_of, run, weights
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.draws import draw_key, keep_mask
from pipeline.merge.merge import plan_merge
from pipeline.recipe import METHODS
from pipeline.sources import Checkpoint, open_source

Write = Callable[..., dict[str, Tensor]]
Q0 = "model.layers.0.self_attn.q_proj"
DOWN1 = "model.layers.1.mlp.down_proj"


def plus(model: str, weight: Any, **more: Any) -> dict[str, Any]:
    return {"model": model, "parameters": {"weight": weight, **more}}


def fault(**keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        run(**keys)
    assert not Path("out").exists()
    return str(caught.value)


def test_task_arithmetic_of_whole_models(model: Write) -> None:
    base, x, y = model("base"), model("x", 1), model("y", 2)
    found = merged(
        merge_method="task_arithmetic",
        base_model="base",
        models=[plus("x", 0.3), plus("y", 0.9)],
        parameters={"lambda": 0.5},
    )
    assert set(found) == set(base)
    for name, value in base.items():
        delta = 0.3 * (x[name].double() - value) + 0.9 * (y[name].double() - value)
        torch.testing.assert_close(found[name].double(), value + 0.5 * delta, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_merging_identical_models_returns_that_model(model: Write, name: str) -> None:
    base = model("base")
    models = int(min(3, METHODS[name].models[1]))
    needed = {p: 0.5 for p, spec in METHODS[name].parameters.items() if spec.default is None}
    keys: dict[str, Any] = {"base_model": "base"} if METHODS[name].needs_base else {}
    for i in range(models):
        model(f"m{i}", 0)
    found = merged(
        merge_method=name, models=[f"m{i}" for i in range(models)], parameters=needed, **keys
    )
    for tensor, value in base.items():
        torch.testing.assert_close(found[tensor], value, rtol=3e-7, atol=0)


ALONE = [name for name, spec in METHODS.items() if spec.needs_base and "weight" in spec.parameters]


@pytest.mark.parametrize("name", ALONE)
def test_an_adapter_alone_at_weight_one_is_its_own_fusion(
    model: Write, lora: Write, name: str
) -> None:
    base = model("base")
    adapter = lora("a", {Q0: (HIDDEN, HIDDEN)})
    whole = {"gamma": 0} if "gamma" in METHODS[name].parameters else {}
    found = merged(
        merge_method=name, base_model="base", models=[plus("base+a", 1)], parameters=whole
    )
    a, b = (adapter[f"base_model.model.{Q0}.lora_{part}.weight"] for part in "AB")
    expected = base[f"{Q0}.weight"].double() + 2.0 * (b.double() @ a.double())
    torch.testing.assert_close(found[f"{Q0}.weight"].double(), expected, rtol=1e-6, atol=1e-7)


def test_what_no_adapter_touches_is_copied_byte_for_byte(model: Write, lora: Write) -> None:
    base = model("base", dtype=torch.bfloat16)
    lora("a", {Q0: (HIDDEN, HIDDEN)})
    lora("b", {DOWN1: (HIDDEN, INNER)}, 1)
    report = run(
        merge_method="ties", base_model="base", models=[plus("base+a", 1), plus("base+b", 1)]
    )
    found = weights("out")
    changed = {name for name in base if not torch.equal(found[name], base[name])}
    assert changed == {f"{Q0}.weight", f"{DOWN1}.weight"}
    assert report.copied == len(base) - 2


def test_adapter_deltas_do_not_pass_through_the_storage_type(model: Write, lora: Write) -> None:
    """Two opposite adapters cancel exactly, though base plus either would round in bfloat16."""
    base = model("base", dtype=torch.bfloat16)
    lora("a", {Q0: (HIDDEN, HIDDEN)})
    found = merged(
        merge_method="task_arithmetic",
        base_model="base",
        models=[plus("base+a", 1), plus("base+a", -1)],
    )
    assert torch.equal(found[f"{Q0}.weight"], base[f"{Q0}.weight"])


def test_a_base_with_an_adapter_is_the_origin_of_the_deltas(model: Write, lora: Write) -> None:
    model("base")
    lora("a", {Q0: (HIDDEN, HIDDEN)})
    lora("b", {Q0: (HIDDEN, HIDDEN)}, 1)
    run("fused-a", merge_method="passthrough", models=["base+a"])
    run("fused-b", merge_method="passthrough", models=["base+b"])
    direct = merged(
        "one", merge_method="task_arithmetic", base_model="base+a", models=[plus("base+b", 0.5)]
    )
    fused = merged(
        "two", merge_method="task_arithmetic", base_model="fused-a", models=[plus("fused-b", 0.5)]
    )
    for name in direct:
        torch.testing.assert_close(direct[name], fused[name], rtol=1e-5, atol=1e-6)


def test_the_base_need_not_be_listed_and_changes_nothing_if_it_is(model: Write) -> None:
    model("base"), model("x", 1)
    for out, models in (("a", [plus("x", 0.5)]), ("b", ["base", plus("x", 0.5)])):
        run(out, merge_method="ties", base_model="base", models=models)
    assert (Path("a") / "model.safetensors").read_bytes() == (
        Path("b") / "model.safetensors"
    ).read_bytes()


def test_a_model_named_twice_counts_twice(model: Write) -> None:
    base, x = model("base"), model("x", 1)
    found = merged(
        merge_method="task_arithmetic", base_model="base", models=[plus("x", 0.25), plus("x", 0.5)]
    )
    for name, value in base.items():
        expected = value + 0.75 * (x[name] - value)
        torch.testing.assert_close(found[name], expected)


def test_a_filter_and_a_gradient_decide_by_name_and_layer(model: Write) -> None:
    base, x = model("base"), model("x", 1)
    weight = [{"filter": "mlp", "value": [0, 1]}, {"filter": "norm", "value": 0}, {"value": 1}]
    found = merged(merge_method="task_arithmetic", base_model="base", models=[plus("x", weight)])
    for name, value in base.items():
        share = 1.0
        if "mlp" in name:
            share = int(name.split(".")[2]) / (LAYERS - 1)
        elif "norm" in name:
            share = 0.0
        torch.testing.assert_close(found[name], torch.lerp(value, x[name], share))


def test_dtype_rounds_at_load_and_out_dtype_at_save(model: Write) -> None:
    x, y = model("x"), model("y", 1)
    keys: dict[str, Any] = {"merge_method": "linear", "models": ["x", "y"]}
    loaded = merged("a", **keys, parameters={"weight": 1}, dtype="bfloat16", out_dtype="float32")
    saved = merged("b", **keys, parameters={"weight": 1}, out_dtype="bfloat16")
    for name in x:
        rounded = (x[name].bfloat16().float() + y[name].bfloat16().float()) / 2
        torch.testing.assert_close(loaded[name], rounded, rtol=3e-7, atol=1e-8)
        once = (0.5 * x[name] + 0.5 * y[name]).bfloat16()
        assert torch.equal(saved[name], once)
    assert json.loads((Path("b") / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_output_has_the_storage_type_of_the_base_when_none_is_named(model: Write) -> None:
    model("base", dtype=torch.float16), model("x", 1)
    found = merged(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}


def test_storage_in_bfloat16_rounds_once(model: Write) -> None:
    base, x = model("base", dtype=torch.bfloat16), model("x", 1, dtype=torch.bfloat16)
    found = merged(merge_method="task_arithmetic", base_model="base", models=[plus("x", 0.3)])
    for name, value in base.items():
        exact = value.double() + 0.3 * (x[name].double() - value.double())
        error = (found[name].double() - exact).abs()
        assert bool((error <= exact.abs() * 2**-8 + 1e-9).all())


def test_dare_draws_by_seed_model_and_output_name(model: Write) -> None:
    base, x = model("base"), model("x", 1)
    keys: dict[str, Any] = {
        "merge_method": "dare_linear",
        "base_model": "base",
        "models": [plus("x", 1, density=0.4)],
    }
    found = merged("a", **keys, options={"seed": 3})
    name = "model.norm.weight"
    kept = keep_mask(draw_key(3, "x", name), HIDDEN, 0.4)
    delta = torch.where(kept, x[name] - base[name], 0.0) / 0.4
    torch.testing.assert_close(found[name], base[name] + delta)
    other = merged("b", **keys, options={"seed": 4})
    assert not torch.equal(found[name], other[name])


def test_layers_are_stacked_and_renumbered(model: Write) -> None:
    x, y = model("x", layer_types=["a", "b", "c"]), model("y", 1)
    found = merged(
        merge_method="passthrough",
        slices=[
            {"sources": [{"model": "x", "layer_range": [0, 2]}]},
            {"sources": [{"model": "y", "layer_range": [1, 3]}]},
        ],
    )
    taken = [(x, 0), (x, 1), (y, 1), (y, 2)]
    for layer, (source, of) in enumerate(taken):
        rest = "mlp.up_proj.weight"
        assert torch.equal(
            found[f"model.layers.{layer}.{rest}"], source[f"model.layers.{of}.{rest}"]
        )
    assert torch.equal(found["model.embed_tokens.weight"], x["model.embed_tokens.weight"])
    assert torch.equal(found["model.norm.weight"], y["model.norm.weight"])
    config = json.loads(Path("out/config.json").read_text())
    assert config["num_hidden_layers"] == 4
    assert config["layer_types"] == ["a", "b", "b", "c"]


def test_gradients_run_over_the_layers_of_their_slice(model: Write) -> None:
    x, y = model("x"), model("y", 1)

    def part(*layers: int) -> dict[str, Any]:
        return {"sources": [{"model": m, "layer_range": list(layers)} for m in ("x", "y")]}

    found = merged(merge_method="slerp", slices=[part(0, 2), part(2, 3)], parameters={"t": [0, 1]})
    ends = {0: x, 1: y, 2: y}  # places 0 and 1 of two layers; 1 of a single one
    for layer, source in ends.items():
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        torch.testing.assert_close(found[name], source[name])


def test_a_scale_of_zero_silences_a_projection(model: Write) -> None:
    x = model("x")
    scale = [{"filter": "o_proj", "value": 0}, {"value": 1}]
    found = merged(
        merge_method="passthrough",
        models=[{"model": "x", "parameters": {"scale": scale}}],
    )
    for name, value in x.items():
        assert torch.equal(found[name], value * 0 if "o_proj" in name else value)


def test_whole_numbers_are_copied_from_the_base(model: Write) -> None:
    steps = {"model.steps": torch.tensor(7)}
    model("base", tensors=steps), model("x", 1, tensors={"model.steps": torch.tensor(9)})
    found = merged(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert found["model.steps"].item() == 7
    assert found["model.steps"].dtype == torch.int64


def test_a_stored_copy_of_a_tied_head_is_left_out(model: Write) -> None:
    model("base"), model("x", 1, tensors={"lm_head.weight": torch.zeros(ROWS, HIDDEN)})
    found = merged(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert "lm_head.weight" not in found


def test_tables_that_the_model_computes_are_left_out(model: Write) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    model("base"), model("x", 1, tensors={name: torch.ones(4)})
    assert name not in merged(merge_method="linear", models=[plus("x", 1), plus("base", 1)])


def test_linear_takes_the_common_rows_of_unequal_vocabularies(model: Write) -> None:
    model("x", rows=ROWS), model("y", 1, rows=ROWS + 3)
    found = merged(merge_method="linear", models=[plus("y", 1), plus("x", 1)])
    assert found["model.embed_tokens.weight"].shape == (ROWS, HIDDEN)
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == ROWS


def test_delta_methods_take_the_rows_of_the_base(model: Write) -> None:
    base, x = model("base"), model("x", 1, rows=ROWS + 3)
    found = merged(merge_method="task_arithmetic", base_model="base", models=[plus("x", 0.5)])
    name = "model.embed_tokens.weight"
    torch.testing.assert_close(found[name], (base[name] + x[name][:ROWS]) / 2)


def test_a_source_with_fewer_rows_than_the_base_is_refused(model: Write) -> None:
    model("base"), model("x", 1, rows=ROWS - 1)
    words = fault(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert f"model.embed_tokens.weight: the shapes differ: base [{ROWS}, {HIDDEN}], x" in words


def test_every_fault_between_recipe_and_sources_is_reported_at_once(model: Write) -> None:
    model("base"), model("x", 1, layers=LAYERS - 1)
    model("y", 2, tensors={"model.norm.weight": torch.zeros(3), "more.weight": torch.zeros(1)})
    words = fault(merge_method="ties", base_model="base", models=[plus("x", 1), plus("y", 1)])
    assert "x: has no tensor model.layers.2.input_layernorm.weight, which the merge needs." in words
    assert "y: has a tensor more.weight, which base has not." in words
    assert "model.norm.weight" in words or "... and" in words


def test_a_layer_that_does_not_exist_is_refused(model: Write) -> None:
    model("x")
    slices = [{"sources": [{"model": "x", "layer_range": [0, 9]}]}]
    words = fault(merge_method="passthrough", slices=slices)
    assert f"layer_range [0, 9] of x goes beyond its {LAYERS} layers. Use at most [0, 3]." in words


def test_an_adapter_for_another_model_is_refused_and_its_targets_named(
    model: Write, lora: Write
) -> None:
    model("base")
    lora("a", {"model.layers.9.self_attn.q_proj": (HIDDEN, HIDDEN)})
    words = fault(merge_method="ties", base_model="base", models=[plus("base+a", 1)])
    assert "base+a: the adapter changes model.layers.9.self_attn.q_proj.weight, which" in words


def test_an_adapter_of_another_shape_is_refused(model: Write, lora: Write) -> None:
    model("base")
    lora("a", {Q0: (HIDDEN, HIDDEN + 1)})
    words = fault(merge_method="ties", base_model="base", models=[plus("base+a", 1)])
    assert f"the adapter's change of {Q0}.weight has the shape [16, 17]" in words


def test_a_parameter_that_no_filter_gives_is_refused(model: Write) -> None:
    model("base"), model("x", 1)
    weight = [{"filter": "mlp", "value": 1}]
    words = fault(merge_method="ties", base_model="base", models=[plus("x", weight)])
    assert "no filter of weight of x matches model.embed_tokens.weight" in words
    assert "Add a last entry without a filter, for example `- value: 0.5`." in words


def test_a_mean_with_weights_that_sum_to_zero_is_refused(model: Write) -> None:
    model("x"), model("y", 1), model("z", 2)
    words = fault(merge_method="linear", models=[plus("x", 0.1), plus("y", 0.2), plus("z", -0.3)])
    assert "the weights for model.embed_tokens.weight are [0.1, 0.2, -0.3]; their sum is 0" in words


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_result_that_is_not_finite_is_refused_by_name(model: Write, bad: float) -> None:
    value = torch.zeros(HIDDEN)
    value[3] = bad
    model("base"), model("x", 1, tensors={"model.norm.weight": value})
    words = fault(merge_method="linear", models=[plus("base", 1), plus("x", 1)])
    assert words.startswith("x: model.norm.weight has infinite or undefined values")


def test_an_unlisted_base_is_one_more_source_where_there_is_a_weight_for_it(model: Write) -> None:
    tensors = {name: model(name, seed) for seed, name in enumerate(("base", "x", "y"))}
    name = "model.norm.weight"
    both = (tensors["x"][name] + tensors["y"][name]) / 2
    own = merged(
        "own", merge_method="linear", base_model="base", models=[plus("x", 1), plus("y", 1)]
    )
    torch.testing.assert_close(own[name], both)
    shared = merged(
        merge_method="linear", base_model="base", models=["x", "y"], parameters={"weight": 1}
    )
    torch.testing.assert_close(shared[name], (2 * both + tensors["base"][name]) / 3)


def test_a_chat_template_that_is_no_jinja_is_refused(model: Write) -> None:
    model("x")
    words = fault(merge_method="passthrough", models=["x"], chat_template="{% for x in y %}")
    assert "recipe.chat_template is no Jinja template" in words
    training = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    run(merge_method="passthrough", models=["x"], chat_template=training)


def test_force_does_not_cost_what_the_user_put_beside_a_merge(model: Write) -> None:
    model("x")
    run(merge_method="passthrough", models=["x"])
    Path("out/NOTES.txt").write_text("mine")
    again = {"options": {"force": True}, "merge_method": "passthrough", "models": ["x"]}
    with pytest.raises(InputError, match=r"besides NOTES\.txt, which would be lost"):
        run(**again)
    Path("out/NOTES.txt").unlink()
    run(**again)


def test_overflow_of_the_output_type_is_refused(model: Write) -> None:
    model("x", tensors={"model.norm.weight": torch.full((HIDDEN,), 7e4)})
    words = fault(merge_method="linear", models=[plus("x", 1)], out_dtype="float16")
    assert "exceed the range of float16: set out_dtype: bfloat16 or float32" in words


def test_quantized_sources_are_refused(model: Write) -> None:
    model("base"), model("x", 1, quantization_config={"quant_method": "gptq"})
    words = fault(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert "x: is quantized (config.json has a quantization_config)." in words


def test_eight_bit_floats_are_refused(model: Write) -> None:
    tensors = {"model.norm.weight": torch.zeros(HIDDEN).to(torch.float8_e4m3fn)}
    model("base"), model("x", 1, tensors=tensors)
    words = fault(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert "x: model.norm.weight is stored as F8_E4M3; quantized weights cannot be merged" in words


def test_a_gradient_over_layers_that_cannot_be_told_is_refused(model: Write) -> None:
    for name in ("base", "x"):
        model(name, num_hidden_layers=LAYERS + 1)
    words = fault(merge_method="ties", base_model="base", models=[plus("x", [0, 1])])
    assert "its layers cannot be told from the names of its tensors" in words


def test_layers_beyond_those_of_the_config_are_merged_but_no_part_of_a_gradient(
    model: Write,
) -> None:
    x = {name: model(name, seed, num_hidden_layers=2) for seed, name in enumerate(("base", "x"))}[
        "x"
    ]
    found = merged(merge_method="task_arithmetic", base_model="base", models=[plus("x", [1, 0.5])])
    name = "model.layers.2.mlp.up_proj.weight"
    torch.testing.assert_close(found[name], x[name])


def test_a_plan_reads_no_weights(model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    model("base"), model("x", 1)
    recipe = recipe_of(merge_method="ties", base_model="base", models=[plus("x", 1)])
    sources = {reference: open_source(reference) for reference in recipe.references()}
    monkeypatch.setattr(Checkpoint, "read", lambda *_: pytest.fail("a tensor was read"))
    assert len(plan_merge(recipe, sources).steps) == 29


def test_transformers_loads_the_output_and_computes_as_expected(model: Write) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model("base"), model("x", 1)
    run(merge_method="linear", models=[plus("base", 1), plus("x", 0)])
    ids = torch.arange(ROWS).view(1, -1)
    loaded = {name: AutoModelForCausalLM.from_pretrained(name) for name in ("base", "out")}
    logits = {name: network(ids).logits for name, network in loaded.items()}
    assert torch.equal(logits["base"], logits["out"])
    embeddings = loaded["out"].get_input_embeddings().weight
    assert loaded["out"].get_output_embeddings().weight is embeddings
    assert AutoTokenizer.from_pretrained("out").chat_template


def test_the_output_is_complete(model: Write) -> None:
    model("base"), model("x", 1)
    run(merge_method="ties", base_model="base", models=[plus("x", 1)])
    assert set(contents("out")) == {
        "LICENSE",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merge.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for name in ("LICENSE", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (Path("out") / name).read_bytes() == (Path("base") / name).read_bytes()


def test_keep_probabilities_outside_of_0_to_1_are_refused(model: Write) -> None:
    model("base")
    model("x", 1)
    listed = [{"model": "x", "parameters": {"weight": 1, "density": 0.9, "epsilon": 0.2}}]
    with pytest.raises(InputError, match=r"density is 0\.9 and epsilon 0\.2"):
        run(merge_method="della", base_model="base", models=listed)


def test_directions_whose_weights_sum_to_zero_are_refused(model: Write) -> None:
    model("x", 1)
    model("y", 2)
    with pytest.raises(InputError, match="set normalize_weights: false"):
        run(merge_method="multislerp", models=[plus("x", 1), plus("y", -1)])
