"""What a diagnosis reads, for which recipes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import (
    HIDDEN,
    LAYERS,
    diagnosed,
    only,
    plus,
    randoms,
    shapes,
    write_lora,
    write_model,
)

from pipeline.diagnose import lines, rationale
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import write_json

pytestmark = pytest.mark.usefixtures("here")

Q0, Q1 = (f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1))
UP1 = "model.layers.1.mlp.up_proj"
ARITHMETIC: dict[str, Any] = {"merge_method": "task_arithmetic", "base_model": "base"}


def fine_tunes(*seeds: int, scale: float = 0.01) -> None:
    """A base and the fine-tunes m1, m2, ... of it."""
    base = randoms(0)
    write_model("base", base)
    for number, seed in enumerate(seeds, start=1):
        write_model(f"m{number}", plus(base, randoms(seed, scale)))


def fault(**keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        diagnosed(**keys)
    return str(caught.value)


def test_a_lora_and_the_same_change_as_a_whole_model_have_the_same_figures() -> None:
    base = randoms(0)
    write_model("base", base)
    write_model("full", plus(base, write_lora("a", [Q0, UP1], seed=1)))
    found = diagnosed(**ARITHMETIC, models=["base+a", "full"])
    assert [tensor.name for tensor in found.tensors] == [f"{Q0}.weight", f"{UP1}.weight"]
    for group in (found.whole, *found.cells):
        assert group.cosine((0, 1)) == pytest.approx(1, abs=1e-7)
        assert group.relative_norm(0) == pytest.approx(group.relative_norm(1), rel=1e-5)
        assert group.rank(0) == pytest.approx(group.rank(1), rel=1e-4)


def test_figures_stand_by_layer_and_by_kind_of_module() -> None:
    base = randoms(0)
    write_model("base", base)
    write_model("m1", plus(base, only(randoms(1, 0.01), lambda name: "q_proj" in name)))
    write_model("m2", plus(base, only(randoms(2, 0.01), lambda name: ".1." in name)))
    found = diagnosed(**ARITHMETIC, models=["m1", "m2"])
    assert [group.layer for group in found.layers] == [0, 1]
    assert [group.kind for group in found.kinds if group.relative_norm(0)] == ["self_attn.q_proj"]
    places = {(group.layer, group.kind) for group in found.cells if group.cosine((0, 1))}
    assert places == {(1, "self_attn.q_proj")}
    assert found.layers[0].cosine((0, 1)) is None
    assert found.whole.conflict((0, 1)) == pytest.approx(
        sum(t.sums.opposed[0, 1] for t in found.tensors)
        / sum(t.sums.either[0, 1] for t in found.tensors)
    )


def test_kinds_outside_the_layers_are_named_without_the_model() -> None:
    fine_tunes(1)
    found = diagnosed(**ARITHMETIC, models=["m1"])
    outside = {group.kind for group in found.cells if group.layer is None}
    assert outside == {"embed_tokens", "norm", "lm_head"}


def test_experts_of_one_layer_are_one_kind() -> None:
    base = {f"model.layers.0.mlp.experts.{i}.w1.weight": torch.ones(4, 6) for i in range(3)}
    write_model("base", base, layers=1)
    write_model("m1", {name: value * 1.1 for name, value in base.items()}, layers=1)
    (cell,) = diagnosed(**ARITHMETIC, models=["m1"]).cells
    assert (cell.layer, cell.kind, len(cell.tensors)) == (0, "mlp.experts.*.w1", 3)


def test_figures_do_not_depend_on_the_number_of_threads() -> None:
    fine_tunes(1, 2, 3)
    one, many = (
        diagnosed(threads, **ARITHMETIC, models=["m1", "m2", "m3"]).to_json() for threads in (1, 4)
    )
    assert json.dumps(one) == json.dumps(many)


def test_tensors_that_no_source_changes_are_counted_and_not_read() -> None:
    write_model("base", randoms(0))
    write_lora("a", [Q0], seed=1)
    seen: list[tuple[int, int]] = []
    found = diagnosed(progress=lambda *done: seen.append(done), **ARITHMETIC, models=["base+a"])
    assert (len(found.tensors), found.unchanged) == (1, len(shapes()) - 1)
    assert seen == [(4 * HIDDEN * HIDDEN, 4 * HIDDEN * HIDDEN)]


def test_a_model_equal_to_the_base_changes_nothing() -> None:
    fine_tunes()
    write_model("copy", randoms(0))
    found = diagnosed(**ARITHMETIC, models=["copy"])
    assert (found.tensors, found.unchanged) == ((), len(shapes()))
    assert found.suggestion.method is None
    assert "nothing to merge" in found.suggestion.reason
    assert found.suggestion.warnings == ("copy differs from base in no tensor; it adds nothing.",)


@pytest.mark.parametrize("method", ["ties", "dare_linear", "model_stock", "nuslerp"])
def test_recipes_of_any_method_on_differences_give_the_same_figures(method: str) -> None:
    fine_tunes(1, 2)
    keys = {"merge_method": method, "base_model": "base"}
    models = ["m1", "m2"] if method != "model_stock" else [{"model": m} for m in ("m1", "m2")]
    found, plain = diagnosed(**keys, models=models), diagnosed(**ARITHMETIC, models=["m1", "m2"])
    assert found.cells[3].to_json("ab") == plain.cells[3].to_json("ab")
    assert found.recipe_method == method


def test_without_a_base_the_first_model_is_it_and_the_diagnosis_says_so() -> None:
    fine_tunes(1, 2)
    found = diagnosed(merge_method="linear", models=["m1", "m2"])
    assert (found.base, found.sources, found.base_known) == ("m1", ("m2",), False)
    assert found.suggestion.method == "linear"
    assert "so they are measured from m1" in found.suggestion.warnings[0]


def test_without_a_base_adapters_are_measured_from_the_checkpoint_under_them() -> None:
    write_model("base", randoms(0))
    write_lora("a", [Q0], seed=1)
    write_lora("b", [Q0], seed=2)
    found = diagnosed(merge_method="linear", models=["base+a", "base+b"])
    assert (found.base, found.base_known) == ("base", True)
    assert found.sources == ("base+a", "base+b")
    assert found.names == ("a", "b")


def test_slerp_is_measured_from_one_of_its_two_models() -> None:
    fine_tunes(1)
    found = diagnosed(
        merge_method="slerp", base_model="base", models=["base", "m1"], parameters={"t": 0.5}
    )
    assert (found.base, found.sources, found.base_known) == ("base", ("m1",), False)


def test_slices_are_measured_at_the_layers_that_they_merge() -> None:
    fine_tunes(1, 2)

    def part(first: int, end: int, model: str) -> dict[str, Any]:
        weight = {"parameters": {"weight": 1}}
        return {"sources": [{"model": model, "layer_range": [first, end], **weight}]}

    found = diagnosed(**ARITHMETIC, slices=[part(0, 2, "m1"), part(1, 2, "m2")])
    assert found.sources == ("m1", "m2")
    assert [group.layer for group in found.layers] == [0, 1, 2]
    assert found.layers[2].relative_norm(0) is None  # m1 has no part in the second slice
    assert found.layers[2].relative_norm(1) == pytest.approx(0.01, rel=0.1)


def test_stacking_layers_of_one_model_has_no_differences() -> None:
    fine_tunes()
    said = fault(
        merge_method="passthrough",
        slices=[{"sources": [{"model": "base", "layer_range": [0, LAYERS]}]}],
    )
    assert said == (
        "recipe.yaml: slices[0] has no model besides base, so there is no difference to look at. "
        "Diagnose a recipe that merges models, or name as base_model what they came from."
    )


def test_models_of_other_shapes_are_refused_with_both_shapes() -> None:
    base = randoms(0)
    write_model("base", base)
    write_model("m1", base | {f"{Q0}.weight": torch.ones(HIDDEN, 3)})
    said = fault(**ARITHMETIC, models=["m1"])
    assert f"{Q0}.weight: the shapes differ: base [24, 24], m1 [24, 3]" in said


@pytest.mark.parametrize("broken", ["base", "m1"])
def test_values_that_are_not_finite_are_refused_by_name(broken: str) -> None:
    base = randoms(0)
    bad = {f"{Q1}.weight": base[f"{Q1}.weight"].clone()}
    bad[f"{Q1}.weight"][3, 4] = torch.nan
    write_model("base", base | bad if broken == "base" else base)
    write_model("m1", base | bad if broken == "m1" else plus(base, randoms(1)))
    said = fault(**ARITHMETIC, models=["m1"])
    assert said.startswith(f"{Q1}.weight: {broken} has infinite, undefined or absurdly large")


def test_a_file_that_was_cut_is_a_corrupt_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    fine_tunes(1)
    module = sys.modules["pipeline.diagnose.diagnose"]  # its name stands for the function
    planned = module.plan_merge

    def cut(*given: Any) -> Any:
        plan = planned(*given)
        path = Path("m1/model.safetensors")
        path.write_bytes(path.read_bytes()[:-4000])
        return plan

    monkeypatch.setattr(module, "plan_merge", cut)
    with pytest.raises(CorruptArtifactError, match=r"ends .* bytes early"):
        diagnosed(**ARITHMETIC, models=["m1"])


def test_a_model_of_another_origin_is_named_with_its_cosine() -> None:
    fine_tunes(1)
    write_model("stranger", randoms(77))
    said = diagnosed(**ARITHMETIC, models=["m1", "stranger"]).suggestion
    assert said.method is None
    assert "does not descend from base, as it seems of stranger" in said.reason
    assert said.warnings[0].startswith("stranger seems not to descend from base: the median cosine")


def test_a_fine_tune_of_the_base_is_no_stranger() -> None:
    fine_tunes(1, 2, scale=0.3)
    found = diagnosed(**ARITHMETIC, models=["m1", "m2"])
    assert all(cosine is not None and cosine > 0.9 for cosine in found.alike)
    assert found.suggestion.method == "task_arithmetic"


def test_names_are_the_ends_of_references_unless_they_are_equal() -> None:
    base = randoms(0)
    write_model("base", base)
    for folder in ("x", "y"):
        Path(folder).mkdir()
        write_model(f"{folder}/tuned", plus(base, randoms(ord(folder), 0.01)))
    found = diagnosed(**ARITHMETIC, models=["x/tuned", "y/tuned"])
    assert found.names == found.sources == ("x/tuned", "y/tuned")
    assert diagnosed(**ARITHMETIC, models=["x/tuned"]).names == ("tuned",)


def test_the_same_model_twice_is_two_sources() -> None:
    fine_tunes(1)
    found = diagnosed(**ARITHMETIC, models=["m1", "m1"])
    assert found.sources == ("m1", "m1 (2)")
    assert found.whole.cosine((0, 1)) == pytest.approx(1)
    assert "m1 and m1 (2) are one difference twice" in found.suggestion.warnings[0]


def test_json_has_every_figure_and_no_value_that_json_lacks() -> None:
    write_model("base", randoms(0))
    write_lora("a", [Q0], seed=1)
    write_lora("b", [UP1], seed=2)
    found = diagnosed(**ARITHMETIC, models=["base+a", "base+b"])
    write_json(Path("diagnosis.json"), found.to_json())  # refuses NaN
    read = json.loads(Path("diagnosis.json").read_text())
    assert read["sources"] == {"a": "base+a", "b": "base+b"}
    assert read["measured"]["effective_rank"]["sketch"] == 64
    assert read["measured"]["top_share"] == {"of_entries": 0.2, "bins_per_octave": 256}
    (q0,) = (cell for cell in read["cells"] if cell["kind"] == "self_attn.q_proj")
    assert q0["sources"]["b"] == {
        "norm": 0.0,
        "relative_norm": None,
        "top_share": None,
        "effective_rank": None,
    }
    assert q0["pairs"] == [{"of": ["a", "b"], "cosine": None, "sign_conflict": 0.0}]
    assert read["suggestion"]["method"] == "task_arithmetic"


def test_the_lines_for_a_terminal_hold_figures_suggestion_and_warnings() -> None:
    base = randoms(0)
    write_model("base", base)
    write_model("m1", plus(base, randoms(1, 0.01)))
    write_model("m2", plus(base, randoms(2, 0.05)))
    found = diagnosed(**ARITHMETIC, models=["m1", "m2"])
    text = lines(found)
    assert text[0] == f"differences from base: {len(shapes())} tensors changed, 0 not"
    norm = f"{found.whole.relative_norm(1):.4f}"
    assert any(line.split()[:2] == ["m2", norm] for line in text)
    assert any(line.startswith("mlp.up_proj ") and len(line.split()) == 4 for line in text)
    assert any(line.startswith("m1 and m2") and " in layer " in line for line in text)
    assert any(line.startswith("suggested method: task_arithmetic. The two") for line in text)
    assert text[-1].startswith("warning: The difference of m2 is 4.9 times as long as that of m1")


def test_the_rationale_says_whether_the_recipe_follows_the_suggestion() -> None:
    fine_tunes(1, 2)
    kept = rationale(diagnosed(**ARITHMETIC, models=["m1", "m2"]))
    assert kept.startswith("Measured before the merge: The two differences have cosine ")
    assert kept.endswith("That speaks for `task_arithmetic`; which this recipe uses.")
    other = rationale(diagnosed(merge_method="ties", base_model="base", models=["m1", "m2"]))
    assert other.endswith("That speaks for `task_arithmetic`; this recipe uses `ties`.")


def test_the_package_starts_neither_matplotlib_nor_transformers() -> None:
    code = (
        "import sys, pipeline.diagnose\n"
        "print([m for m in ('matplotlib', 'transformers', 'mlflow') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
