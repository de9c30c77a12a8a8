"""A merge as an adapter: PEFT is the oracle of what loads, the full merge and torch's SVD of what it should hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import HIDDEN, INNER, ROWS, contents, merged, recipe_of, run, weights
from torch import Tensor

from pipeline.compat import run_checks
from pipeline.errors import InputError
from pipeline.merge import low_rank
from pipeline.merge.as_adapter import AdapterReport, merge_as_adapter
from pipeline.merge.blocks import Grid
from pipeline.sources import Reference, open_source, weights_digest

Write = Callable[..., dict[str, Tensor]]
Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj"
TWO = {Q: (HIDDEN, HIDDEN), DOWN: (HIDDEN, INNER)}
EMBEDDING, NORM = "model.embed_tokens.weight", "model.layers.1.input_layernorm.weight"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tie_word_embeddings"),
    pytest.mark.filterwarnings("ignore:.*no longer tied"),
]


def make(rank: int, *, options: dict[str, Any] | None = None, **keys: Any) -> AdapterReport:
    """The adapter folder `out` by a recipe given as keys."""
    recipe = recipe_of(**keys)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    return merge_as_adapter(recipe, sources, Path("out"), rank=rank, **(options or {}))


def two_adapters(lora: Write, **more: Any) -> dict[str, Any]:
    """Adapters of ranks 4 and 3 over `base`, and the keys of a recipe that adds them up."""
    lora("a", TWO, seed=1, r=4)
    lora("b", {Q: (HIDDEN, HIDDEN)}, seed=2, r=3)
    models = [
        {"model": "base+a", "parameters": {"weight": 0.7}},
        {"model": "base+b", "parameters": {"weight": -0.4}},
    ]
    return {"merge_method": "task_arithmetic", "base_model": "base", "models": models, **more}


def network(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def gpt2(folder: str, seed: int = 0, **more: Any) -> None:
    """A tiny GPT-2: its linear layers are stored [in, out]."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=32, **more)
    GPT2LMHeadModel(config).save_pretrained(folder)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(torch.arange(24)[None]).logits


def assert_peft_makes_the_merge_of(rtol: float = 1e-5, **keys: Any) -> None:
    """`base` with the adapter `out`: by logits, by fused weights, and the base again without it."""
    from peft import PeftModel

    full = merged("full", **keys)
    adapted = PeftModel.from_pretrained(network("base"), "out")
    torch.testing.assert_close(logits(adapted), logits(network("full")), rtol=rtol, atol=rtol)
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted), logits(network("base")))
    fused = adapted.merge_and_unload().state_dict()
    for name, value in full.items():
        torch.testing.assert_close(fused[name], value, rtol=rtol, atol=rtol, msg=name)


def svd_error(delta: Tensor, rank: int) -> float:
    values = torch.linalg.svdvals(delta.double())
    return float(values[rank:].norm() / values.norm())


def test_a_sum_of_adapters_is_the_full_merge_when_the_rank_suffices(
    model: Write, lora: Write
) -> None:
    model("base")
    keys = two_adapters(lora)
    report = make(20, **keys)
    assert_peft_makes_the_merge_of(**keys)
    assert report.rank == 7  # no tensor can need more
    assert {tensor.tensor: tensor.rank for tensor in report.tensors} == {
        f"{Q}.weight": 7,
        f"{DOWN}.weight": 4,
    }
    assert report.worst < 1e-6
    assert all(tensor.exact and tensor.energy == 1 for tensor in report.tensors)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_the_error_is_that_of_the_truncated_svd(model: Write, lora: Write, method: str) -> None:
    base = model("base")
    keys = two_adapters(lora, merge_method=method)
    report = make(2, **keys)
    full = merged("full", **keys)
    for tensor in report.tensors:
        best = svd_error(full[tensor.tensor].double() - base[tensor.tensor].double(), 2)
        assert tensor.error == pytest.approx(best, rel=1e-4)
        assert tensor.energy == pytest.approx(1 - best**2, rel=1e-4)
        assert tensor.rank == 2
    errors = [tensor.error for tensor in report.tensors]
    assert (report.worst, report.mean) == (max(errors), pytest.approx(sum(errors) / len(errors)))


@pytest.mark.parametrize("method", ["ties", "dare_linear"])
def test_any_method_on_differences_is_the_full_merge_at_full_rank(
    model: Write, lora: Write, method: str
) -> None:
    model("base")
    keys = two_adapters(lora, merge_method=method, parameters={"density": 0.5})
    report = make(HIDDEN, options={"seed": 3}, **keys)
    assert report.worst < 1e-6
    assert not any(tensor.exact for tensor in report.tensors)
    run("seeded", options={"seed": 3}, **keys)
    found = merged("again", merge_method="passthrough", models=["base+out"])
    for name, value in weights("seeded").items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def trained(name: str, **settings: Any) -> dict[str, Any]:
    """Save a PEFT adapter over `base` with random weights, and give the keys of a recipe that takes half of it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    adapted = get_peft_model(network("base"), LoraConfig(task_type="CAUSAL_LM", r=4, **settings))
    for key, parameter in adapted.named_parameters():
        if "lora_" in key:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    adapted.save_pretrained(name)
    models = [{"model": f"base+{name}", "parameters": {"weight": 0.5}}]
    return {"merge_method": "task_arithmetic", "base_model": "base", "models": models}


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
def test_factors_of_embeddings_are_taken_as_they_are(model: Write) -> None:
    model("base", tied=False)
    keys = trained("a", target_modules=["model.embed_tokens", "lm_head"])
    path = Path("a/adapter_model.safetensors")  # PEFT saves the tables themselves along
    save_file({k: v for k, v in load_file(path).items() if "lora_" in k}, path)
    assert all(tensor.exact for tensor in make(4, **keys).tensors)
    assert_peft_makes_the_merge_of(**keys)


def test_factors_of_layers_stored_input_first_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gpt2("base")
    keys = trained("a", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    report = make(4, **keys)
    assert all(tensor.exact for tensor in report.tensors)
    assert report.worst < 1e-6
    assert_peft_makes_the_merge_of(**keys)


def test_dora_is_no_product_of_factors_and_is_approximated_as_it_stands(model: Write) -> None:
    model("base")
    keys = trained("a", target_modules=["v_proj"], use_dora=True)
    assert not any(tensor.exact for tensor in make(HIDDEN, **keys).tensors)
    assert_peft_makes_the_merge_of(**keys)


def test_an_adapter_over_a_replaced_layer_or_another_model_is_no_product_either(
    model: Write, lora: Write
) -> None:
    base = model("base")
    model("tuned", tensors={f"{Q}.weight": base[f"{Q}.weight"] + 0.1})
    tensors = lora("a", {Q: (HIDDEN, HIDDEN)})
    lora("b", {Q: (HIDDEN, HIDDEN)}, seed=1)
    replaced = {f"base_model.model.{Q}.base_layer.weight": torch.ones(HIDDEN, HIDDEN)}
    save_file({**tensors, **replaced}, "a/adapter_model.safetensors")
    keys: dict[str, Any] = {"merge_method": "task_arithmetic", "base_model": "base"}
    for source in ("base+a", "tuned+b"):
        keys["models"] = [{"model": source, "parameters": {"weight": 0.5}}]
        report = make(HIDDEN, options={"force": True}, **keys)
        assert [tensor.exact for tensor in report.tensors] == [False]
        full = merged(f"full-{source}", **keys)
        found = merged(f"again-{source}", merge_method="passthrough", models=["base+out"])
        torch.testing.assert_close(found[f"{Q}.weight"], full[f"{Q}.weight"])


def test_norms_of_fine_tunes_are_saved_whole_and_every_matrix_is_approximated(model: Write) -> None:
    base = model("base", tied=False)
    model("tuned", seed=1, tied=False)
    keys = {"merge_method": "task_arithmetic", "base_model": "base"}
    keys["models"] = [{"model": "tuned", "parameters": {"weight": 0.5}}]
    report = make(HIDDEN, **keys)
    assert_peft_makes_the_merge_of(rtol=1e-4, **keys)
    norms = [name.removesuffix(".weight") for name in base if "norm" in name]
    assert report.whole == tuple(sorted(norms))
    assert len(report.tensors) == len(base) - len(norms)


def test_tables_of_embeddings_are_approximated_where_the_head_is_its_own(model: Write) -> None:
    base = model("base", tied=False)
    step = torch.randn(ROWS, 2) @ torch.randn(2, HIDDEN)
    model("tuned", tied=False, tensors={EMBEDDING: base[EMBEDDING] + step})
    keys = {"merge_method": "task_arithmetic", "base_model": "base"}
    keys["models"] = [{"model": "tuned", "parameters": {"weight": 0.5}}]
    report = make(2, **keys)
    assert [tensor.tensor for tensor in report.tensors] == [EMBEDDING]
    assert set(load_file("out/adapter_model.safetensors")) == {
        f"base_model.model.model.embed_tokens.lora_embedding_{part}" for part in "AB"
    }
    assert_peft_makes_the_merge_of(**keys)


def test_a_table_that_head_and_embeddings_share_is_saved_whole_for_both(
    model: Write, lora: Write
) -> None:
    """A low-rank change of either end would leave the other, and of both be added twice when it is fused."""
    base = model("base")
    lora("a", TWO)
    model("tuned", tensors={EMBEDDING: base[EMBEDDING] + 0.1})
    keys = {"merge_method": "task_arithmetic", "base_model": "base"}
    keys["models"] = [{"model": m, "parameters": {"weight": 0.5}} for m in ("base+a", "tuned")]
    report = make(4, **keys)
    assert report.whole == ("lm_head", "model.embed_tokens")
    assert_peft_makes_the_merge_of(**keys)
    again = merged("again", merge_method="passthrough", models=["base+out"])
    assert torch.equal(again[EMBEDDING], weights("full")[EMBEDDING])


@pytest.fixture
def gpt2_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Over a GPT-2, whose linear layers are stored [in, out], a fine-tune that changes all but its table of tokens."""
    monkeypatch.chdir(tmp_path)
    gpt2("base")
    gpt2("tuned", seed=1)
    changed = {
        name: value + (0 if "wte" in name else 0.05 * torch.randn_like(value))
        for name, value in weights("base").items()
    }
    save_file(changed, "tuned/model.safetensors", {"format": "pt"})
    keys: dict[str, Any] = {"merge_method": "task_arithmetic", "base_model": "base"}
    bias = [{"filter": f"{m}.bias", "value": 0} for m in ("c_attn", "c_proj", "c_fc")]
    keys["models"] = [{"model": "tuned", "parameters": {"weight": [*bias, {"value": 0.5}]}}]
    return keys


def test_layers_stored_input_first_are_loaded_as_such(gpt2_keys: dict[str, Any]) -> None:
    report = make(16, **gpt2_keys)
    assert_peft_makes_the_merge_of(rtol=1e-4, **gpt2_keys)
    assert json.loads(Path("out/adapter_config.json").read_text())["fan_in_fan_out"]
    assert "transformer.wpe.weight" in [tensor.tensor for tensor in report.tensors]


def test_a_changed_bias_of_a_linear_layer_is_refused_with_both_ways_out(
    gpt2_keys: dict[str, Any],
) -> None:
    gpt2_keys["models"][0]["parameters"]["weight"] = 0.5
    with pytest.raises(InputError, match=r"attn\.c_attn\.bias: changes.*full model.*filter") as at:
        make(16, **gpt2_keys)
    assert not Path("out").exists()
    assert "wte" not in str(at.value)


def test_what_has_no_weight_in_the_recipe_does_not_change(model: Write) -> None:
    base = model("base", tied=False)
    model("tuned", seed=1, tied=False)
    keep = [{"filter": part, "value": 0} for part in ("norm", "embed", "lm_head", "mlp")]
    keys = {"merge_method": "ties", "base_model": "base"}
    keys["models"] = [{"model": "tuned", "parameters": {"weight": [*keep, {"value": 1}]}}]
    report = make(4, **keys)
    assert not report.whole
    assert {tensor.tensor for tensor in report.tensors} == {n for n in base if "self_attn" in n}


REFUSED = {
    "tensors": ({"merge_method": "linear"}, "linear merges whole tensors.*task_arithmetic"),
    "adapter": ({"base_model": "base+a", "models": ["base+b"]}, "base.a has an adapter itself"),
    "template": ({"chat_template": "chatml"}, "chat_template is not that of the base"),
    "nothing": ({"models": [{"model": "copy"}]}, "changes no tensor of the base"),
    "norms": ({"models": [{"model": "normed"}]}, "changes no linear layer"),
    "vocabulary": (
        {"models": [{"model": "more"}], "tokenizer": {"source": "union"}},
        "tokenizer changes the vocabulary",
    ),
    "layers": (
        {
            "models": None,
            "slices": [
                {"sources": [{"model": m, "layer_range": [0, 2]} for m in ("base", "base+a")]}
            ],
        },
        "slices move or leave out layers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_an_adapter_cannot_express_is_refused(model: Write, lora: Write, case: str) -> None:
    base = model("base")
    model("copy")
    model("normed", tensors={NORM: base[NORM] + 1})
    model("more", rows=ROWS + 1)
    keys = {**two_adapters(lora, parameters={"weight": 1.0}), **REFUSED[case][0]}
    if keys["models"] is None:
        del keys["models"]
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError, match=f"(?s){REFUSED[case][1]}"):
        make(4, **keys)
    assert sorted(Path().rglob("*")) == before


def test_slices_that_keep_every_layer_in_its_place_are_no_obstacle(
    model: Write, lora: Write
) -> None:
    model("base")
    keys = two_adapters(lora, parameters={"weight": 1.0})
    del keys["models"]
    keys["slices"] = [
        {"sources": [{"model": m, "layer_range": span} for m in ("base", "base+a")]}
        for span in ([0, 1], [1, 3])
    ]
    make(4, **keys)
    assert_peft_makes_the_merge_of(**keys)


def test_a_rank_below_one_is_refused(model: Write, lora: Write) -> None:
    model("base")
    keys = two_adapters(lora)
    with pytest.raises(InputError, match="rank is 0; it must be at least 1"):
        make(0, **keys)


def test_a_model_that_transformers_does_not_know_is_refused(model: Write, lora: Write) -> None:
    model("base", model_type="unheard-of")
    keys = two_adapters(lora)
    with pytest.raises(InputError, match="transformers cannot build this model"):
        make(4, **keys)


@pytest.mark.parametrize("name", ["model.layers.0.extra.weight", "model.norm.bias"])
def test_a_change_of_what_the_model_does_not_have_is_refused(model: Write, name: str) -> None:
    """PEFT would load the rest and warn."""
    model("base", tensors={name: torch.zeros(HIDDEN)})
    model("tuned", tensors={name: torch.ones(HIDDEN)})
    models = [{"model": "tuned", "parameters": {"weight": 1.0}}]
    with pytest.raises(InputError, match=rf"{name}: .* no such parameter"):
        make(4, merge_method="task_arithmetic", base_model="base", models=models)


def test_layers_stored_both_ways_round_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """adapter_config.json has one setting for all of them."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "tuned")):
        gpt2(name, seed, tie_word_embeddings=False)
    models = [{"model": "tuned", "parameters": {"weight": 1.0}}]
    with pytest.raises(InputError, match=r"lm_head\.weight: is stored \[out, in\], and other"):
        make(4, merge_method="task_arithmetic", base_model="base", models=models)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_a_change_that_is_not_finite_is_refused_and_leaves_nothing(
    model: Write, lora: Write, method: str
) -> None:
    model("base")
    keys = two_adapters(lora, merge_method=method)
    tensors = load_file("a/adapter_model.safetensors")
    tensors[f"base_model.model.{Q}.lora_A.weight"][0, 0] = float("inf")
    save_file(tensors, "a/adapter_model.safetensors")
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError, match=rf"{Q}.weight: the merged change has infinite"):
        make(4, **keys)
    assert sorted(Path().rglob("*")) == before


def test_the_bytes_do_not_depend_on_the_number_of_threads(model: Write) -> None:
    model("base", tied=False)
    model("tuned", seed=1, tied=False)
    keys: dict[str, Any] = {"merge_method": "dare_ties", "base_model": "base"}
    keys["models"] = [{"model": "tuned", "parameters": {"weight": 1.0, "density": 0.5}}]
    make(3, options={"threads": 1}, **keys)
    first = contents("out")
    make(3, options={"threads": 3, "force": True}, **keys)
    assert contents("out") == first


def test_progress_ends_at_all_of_the_bytes(model: Write, lora: Write) -> None:
    model("base")
    seen: list[tuple[int, int]] = []
    make(2, options={"progress": lambda *done: seen.append(done)}, **two_adapters(lora))
    assert seen[-1] == (4 * HIDDEN * (HIDDEN + INNER),) * 2


def test_the_folder_says_what_it_is_over_and_what_it_leaves_out(model: Write, lora: Write) -> None:
    model("base")
    report = make(2, **two_adapters(lora))
    assert set(contents("out")) == {
        "LICENSE",
        "adapter_config.json",
        "adapter_model.safetensors",
        "merge.json",
        "mergegate.json",
    }
    config = json.loads(Path("out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert config["target_modules"] == [Q, DOWN]
    assert config["r"] == config["lora_alpha"] == report.rank == 2
    record = json.loads(Path("out/merge.json").read_text())
    assert record["adapter"]["error"] == {"worst": report.worst, "mean": report.mean}
    assert [entry["tensor"] for entry in record["adapter"]["tensors"]] == [
        f"{Q}.weight",
        f"{DOWN}.weight",
    ]
    source = open_source(Reference.parse("base+out"))
    assert source.adapter
    assert source.adapter.base_model_digest == weights_digest(Path("base"))


def test_a_base_of_the_hub_is_named_with_its_commit(model: Write, lora: Write) -> None:
    model("base")
    recipe = recipe_of(**two_adapters(lora))
    sources = {reference: open_source(reference) for reference in recipe.references()}
    base = Reference.parse("base")
    sources[base] = replace(sources[base], model_revision="c" * 40)
    merge_as_adapter(recipe, sources, Path("out"), rank=2)
    config = json.loads(Path("out/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("base", "c" * 40)


def test_the_adapter_merges_again_like_any_other(model: Write, lora: Write) -> None:
    base = model("base")
    keys = two_adapters(lora)
    make(7, **keys)
    again = recipe_of(**{**keys, "models": [{"model": "base+out", "parameters": {"weight": 0.5}}]})
    sources = {reference: open_source(reference) for reference in again.references()}
    named = {str(reference): source for reference, source in sources.items()}
    assert not [finding for finding in run_checks(again, named) if finding.blocks]
    full = merged("full", **keys)
    found = merged(
        "half", **{**keys, "models": [{"model": "base+out", "parameters": {"weight": 0.5}}]}
    )
    for name, value in base.items():
        torch.testing.assert_close(found[name], (value + full[name]) / 2, rtol=1e-5, atol=1e-6)


def test_factors_are_stored_in_the_type_that_the_recipe_asks_for(model: Write, lora: Write) -> None:
    model("base")
    report = make(7, **two_adapters(lora, out_dtype="bfloat16"))
    assert {v.dtype for v in load_file("out/adapter_model.safetensors").values()} == {
        torch.bfloat16
    }
    assert 1e-4 < report.worst < 1e-2  # the rounding is part of the error


def test_only_an_adapter_of_ours_is_replaced_and_only_when_asked(model: Write, lora: Write) -> None:
    model("base")
    keys = two_adapters(lora)
    make(2, **keys)
    with pytest.raises(InputError, match="already holds a merged adapter"):
        make(2, **keys)
    assert make(3, options={"force": True}, **keys).rank == 3
    Path("out/merge.json").unlink()
    with pytest.raises(InputError, match=r"is not a merged adapter.*merge\.json beside"):
        make(2, options={"force": True}, **keys)


def test_a_source_is_never_replaced(model: Write, lora: Write) -> None:
    model("base")
    keys = two_adapters(lora)
    make(2, **keys)
    keys["models"][0]["model"] = "base+out"
    with pytest.raises(InputError, match=r"holds the source base\+out"):
        make(2, options={"force": True}, **keys)


def rows_of(matrix: Tensor) -> low_rank.Rows:
    def rows() -> Iterator[tuple[range, Tensor]]:
        for span in Grid.of(matrix.shape).spans():
            yield span, matrix[span.start : span.stop].clone()

    return rows


def test_the_best_rank_one_of_a_diagonal_by_hand() -> None:
    matrix = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    pair = (matrix.double(), torch.eye(2, dtype=torch.float64))
    for factors in (
        low_rank.of_products([pair], 1),
        low_rank.of_rows(rows_of(matrix), Grid(2, 2), 1, key=7),
    ):
        left = torch.tensor([[0.0], [2.0]]).double()  # the greatest entry of a column is positive
        torch.testing.assert_close(factors.left, left)
        torch.testing.assert_close(factors.right, -left.T)
        error = low_rank.relative_error(rows_of(matrix), factors.left, factors.right)
        assert error == pytest.approx(3 / 5)


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(900, 600), (600, 900)])
def test_the_sketch_is_as_good_as_the_best_approximation_to_a_hundredth(
    shape: tuple[int, int], decay: float
) -> None:
    """Singular values j^-decay: the flatter, the harder to tell apart, and the less it matters."""
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(shape[0], 600, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(shape[1], 600, dtype=torch.float64))
    matrix = (u * torch.arange(1, 601) ** -decay @ v.T).float()
    factors = low_rank.of_rows(rows_of(matrix), Grid(*shape), 20, key=1)
    error = low_rank.relative_error(rows_of(matrix), factors.left, factors.right)
    assert error / svd_error(matrix, 20) < 1.01


def test_a_matrix_of_low_rank_is_found_whole_and_the_rest_left_out() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(700, 5).double(), torch.randn(5, 400).double()
    both = low_rank.of_products([(left, right), (-2 * left, right)], 20)
    assert both.rank == 5
    torch.testing.assert_close(both.left @ both.right, -left @ right)
    matrix = (left @ right).float()
    sketch = low_rank.of_rows(rows_of(matrix), Grid(700, 400), 20, key=1)
    assert low_rank.relative_error(rows_of(matrix), sketch.left, sketch.right) < 1e-6


def test_a_matrix_of_zeros_has_rank_zero_and_no_error() -> None:
    zeros = torch.zeros(30, 20)
    factors = low_rank.of_rows(rows_of(zeros), Grid(30, 20), 4, key=1)
    left, right = factors.padded(4, torch.float32)
    assert (factors.rank, left.shape, right.shape) == (0, (30, 4), (4, 20))
    assert low_rank.relative_error(rows_of(zeros), left, right) == 0


def test_layers_are_told_apart_by_their_whole_path(model: Write, lora: Write) -> None:
    """`layers.1.` is no part of `layers.11.`: nothing but the changed modules has an adapter."""
    from peft import PeftModel

    model("base", layers=12)
    lora("a", {"model.layers.1.self_attn.q_proj": (HIDDEN, HIDDEN)})
    models = [{"model": "base+a", "parameters": {"weight": 1.0}}]
    make(4, merge_method="task_arithmetic", base_model="base", models=models)
    adapted = PeftModel.from_pretrained(network("base"), "out")
    found = [name for name, _ in adapted.named_modules() if name.endswith("lora_A")]
    assert found == ["base_model.model.model.layers.1.self_attn.q_proj.lora_A"]
