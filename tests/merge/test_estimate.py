"""What a merge would cost, from headers: also of a model that no test machine could hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import recipe_of, run

from pipeline.merge import plan_merge
from pipeline.merge.blocks import BLOCK_ELEMENTS
from pipeline.merge.estimate import estimate
from pipeline.sources import open_source

# The shapes of a model of 405 billion parameters (Llama 3.1), in shards of about 5 GB.
HIDDEN, INNER, LAYERS, KEYS, ROWS = 16384, 53248, 126, 1024, 128256


@pytest.fixture
def family(model: Callable[..., Any]) -> None:
    for seed, name in enumerate(("base", "x", "y")):
        model(name, seed)


def huge(folder: Path, layers: int = LAYERS) -> None:
    """A checkpoint of headers: its files are holes, as long as the model's would be."""
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": [ROWS, HIDDEN], "lm_head.weight": [ROWS, HIDDEN]}
    shapes["model.norm.weight"] = [HIDDEN]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{p}_proj.weight": [HIDDEN, HIDDEN] for p in "qo"}
        shapes |= {f"{at}self_attn.{p}_proj.weight": [KEYS, HIDDEN] for p in "kv"}
        shapes |= {f"{at}mlp.{p}_proj.weight": [INNER, HIDDEN] for p in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = [HIDDEN, INNER]
        shapes |= {f"{at}{p}_layernorm.weight": [HIDDEN] for p in ("input", "post_attention")}
    weight_map = {}
    for name, shape in shapes.items():
        file = f"model-{name.replace('.', '-')}.safetensors"
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entry = {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}
        header = json.dumps({name: entry}).encode()
        with (folder / file).open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            stream.truncate(8 + len(header) + size)
        weight_map[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {"model_type": "llama", "num_hidden_layers": layers, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_model_of_400_billion_parameters_is_planned_from_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    huge(Path("base"))
    shutil.copytree("base", "x", copy_function=_hole)
    shutil.copytree("base", "y", copy_function=_hole)
    weights = {"weight": 0.5, "density": 0.5}
    models = [{"model": name, "parameters": weights} for name in ("x", "y")]
    recipe = recipe_of(merge_method="ties", base_model="base", models=models)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    found = estimate(plan_merge(recipe, sources), threads=2)
    assert found.parameters == pytest.approx(405.9e9, rel=1e-3)
    assert found.written_bytes == 2 * found.parameters
    assert found.read_bytes == found.passes * 3 * found.written_bytes
    assert found.memory_bytes < 1.2e9
    assert found.seconds > 1_000


@pytest.mark.usefixtures("family")
def test_copied_tensors_are_read_once_and_cost_no_arithmetic() -> None:
    recipe = recipe_of(merge_method="passthrough", models=["x"])
    sources = {reference: open_source(reference) for reference in recipe.references()}
    found = estimate(plan_merge(recipe, sources), threads=1)
    assert found.copied == found.tensors
    assert found.read_bytes == found.written_bytes
    assert found.seconds < 4


@pytest.mark.usefixtures("family")
def test_the_estimate_writes_as_much_as_the_merge_does() -> None:
    keys = {
        "merge_method": "linear",
        "models": [{"model": m, "parameters": {"weight": 1}} for m in "xy"],
    }
    recipe = recipe_of(**keys)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    found = estimate(plan_merge(recipe, sources))
    report = run(**keys)
    assert (found.written_bytes, found.parameters) == (report.weight_bytes, report.parameters)
    assert found.memory_bytes > 4 * BLOCK_ELEMENTS


def _hole(source: str, target: str) -> str:
    """Copy a text file whole, of weights the header and the length."""
    if not source.endswith(".safetensors"):
        return str(shutil.copyfile(source, target))
    with Path(source).open("rb") as read, Path(target).open("wb") as write:
        write.write(read.read(4096))
        write.truncate(Path(source).stat().st_size)
    return target
