"""Quantized checkpoints load, answer nearly as before, are complete, and are the same twice."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import EnvironmentFault, InputError
from pipeline.quantize import QuantizeReport, quantize, workarounds

PROMPTS = ("order late", "refund yes no", "ticket queue warm cold", "ship ship ship")


def run(merged: Path, out: Path, **changes: Any) -> QuantizeReport:
    arguments: dict[str, Any] = {
        "scheme": "W4A16",
        "algorithm": "gptq",
        "group_size": "auto",
        "prompts": PROMPTS,
        "system": "warm",
        "seed": 7,
    }
    return quantize(merged, out, **{**arguments, **changes})


def logits(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([[6, 7, 8, 9, 10, 11]])).logits.float()


@pytest.mark.parametrize(
    ("scheme", "algorithm", "error", "weight_bits"),
    [
        ("W4A16", "gptq", 0.15, 4),
        ("W4A16_ASYM", "awq", 0.15, 4),
        ("W8A8", "gptq", 0.03, 8),
        ("FP8_DYNAMIC", "rtn", 0.06, 8),
    ],
)
def test_every_scheme_loads_and_stays_near_the_merged_model(
    merged: Path, tmp_path: Path, scheme: str, algorithm: str, error: float, weight_bits: int
) -> None:
    report = run(merged, tmp_path / "q", scheme=scheme, algorithm=algorithm)
    exact, quantized = logits(merged), logits(tmp_path / "q")
    relative = float((quantized - exact).norm() / exact.norm())
    assert 0 < relative < error
    config = json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]
    assert config["config_groups"]["group_0"]["weights"]["num_bits"] == weight_bits
    assert config["ignore"] == ["lm_head"]
    assert report.weight_bytes_after < report.weight_bytes_before


def test_gptq_is_closer_than_rounding_on_its_calibration_prompts(
    merged: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.evaluate.chat import token_ids

    tokenizer = AutoTokenizer.from_pretrained(merged)

    def outputs(folder: Path) -> Any:
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        rows = [torch.tensor([token_ids(tokenizer, "warm", prompt)]) for prompt in PROMPTS]
        with torch.no_grad():
            return torch.cat([model(row).logits[0] for row in rows])

    for algorithm in ("gptq", "rtn"):
        run(merged, tmp_path / algorithm, algorithm=algorithm)
    exact = outputs(merged)
    errors = {a: float((outputs(tmp_path / a) - exact).norm()) for a in ("gptq", "rtn")}
    assert errors["gptq"] < errors["rtn"]


@pytest.mark.parametrize(("scheme", "algorithm"), [("W4A16", "gptq"), ("W4A16_ASYM", "awq")])
def test_the_same_inputs_give_the_same_bytes(
    merged: Path, tmp_path: Path, scheme: str, algorithm: str
) -> None:
    reports = [
        run(merged, tmp_path / name, scheme=scheme, algorithm=algorithm) for name in ("one", "two")
    ]
    assert reports[0] == reports[1]
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_side_files_are_those_of_the_merged_model(merged: Path, tmp_path: Path) -> None:
    run(merged, tmp_path / "q", algorithm="rtn")
    copied = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE")
    for name in (*copied, "generation_config.json"):
        assert (tmp_path / "q" / name).read_bytes() == (merged / name).read_bytes()
    own = {path.name for path in (tmp_path / "q").iterdir()} - {*copied, "generation_config.json"}
    assert own == {"config.json", "model.safetensors"}


def test_the_report_says_what_was_calibrated(merged: Path, tmp_path: Path) -> None:
    report = run(merged, tmp_path / "one")
    assert (report.group_size, report.layers, report.calibration_samples) == (32, 7, 4)
    # «<system> warm <end> <user> ... <end> <assistant>»: six tokens and the prompt's own.
    assert report.calibration_tokens == 6 * 4 + 2 + 3 + 4 + 3
    other = run(merged, tmp_path / "two", system="cold")
    assert other.calibration_digest != report.calibration_digest


def test_quantization_prints_nothing(
    merged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(merged, tmp_path / "q")
    assert capfd.readouterr() == ("", "")


def test_an_error_leaves_no_folder(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        run(merged, tmp_path / "q", algorithm="rtn")
    assert list(tmp_path.iterdir()) == []


def test_awq_still_needs_unpinned_memory(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this fails, llm-compressor has mended AWQ: delete `workarounds.no_pinned_memory`."""
    import contextlib

    import torch

    if torch.accelerator.is_available():
        pytest.skip("memory can be pinned on this machine")
    monkeypatch.setattr("pipeline.quantize.oneshot.no_pinned_memory", contextlib.nullcontext)
    with pytest.raises(RuntimeError, match="Cannot access accelerator device"):
        run(merged, tmp_path / "q", scheme="W4A16_ASYM", algorithm="awq")


def test_the_workaround_is_undone() -> None:
    from llmcompressor.pipelines.cache import IntermediatesCache

    before = IntermediatesCache.__dict__["_pin_intermediate"]
    with workarounds.no_pinned_memory():
        pass
    assert IntermediatesCache.__dict__["_pin_intermediate"] is before


def test_shapes_that_no_group_fits_are_refused_before_any_work(
    merged: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"group_size is 128; .*q_proj has 64"):
        run(merged, tmp_path / "q", group_size=128)
    assert list(tmp_path.iterdir()) == []


def test_calibration_without_prompts_is_refused(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gptq needs calibration prompts, and there are none"):
        run(merged, tmp_path / "q", prompts=())


def test_rounding_needs_no_prompts(merged: Path, tmp_path: Path) -> None:
    report = run(merged, tmp_path / "q", algorithm="rtn", prompts=())
    assert report.calibration_samples == 0


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config.json"):
        run(tmp_path, tmp_path / "q")


def test_a_missing_extra_says_how_to_install_it(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llmcompressor", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'mergegate\[quantize\]'"):
        run(merged, tmp_path / "q")


@pytest.mark.parametrize("algorithm", ["gptq", "rtn"])
def test_the_layers_are_counted_as_they_are_done(
    merged: Path, tmp_path: Path, algorithm: str, metered: list[Any]
) -> None:
    report = run(merged, tmp_path / "out", algorithm=algorithm)
    title = f"quantize to W4A16 by {algorithm}"
    assert metered[:2] == [(title, 0, None, "layers"), (title, 0, report.layers, "layers")]
    assert metered[-1] == (title, report.layers, report.layers, "layers")
