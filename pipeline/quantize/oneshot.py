"""One call of llm-compressor: load the merged weights, calibrate, quantize, save, complete the folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, InputError
from pipeline.evaluate.runtime import quiet, repeatable
from pipeline.facts import digest_of, read_json
from pipeline.folders import FolderKind, whole_folder
from pipeline.progress import Meter, meter
from pipeline.quantize.calibration import Calibration
from pipeline.quantize.hardware import hardware_class
from pipeline.quantize.scheme import GROUPED, check_scheme, fit_group_size
from pipeline.quantize.workarounds import no_pinned_memory

# Kept in full precision: the last layer decides between near-equal tokens, and is often tied to
# the embedding.
IGNORED = ("lm_head",)
# What the quantized folder has of its own; every other file is copied from the merged one.
_REPLACED = ("config.json", "merge.json", "model.safetensors.index.json")


def _is_quantized(folder: Path) -> bool:
    """Whether it holds a quantized model, or only the note that a stage left instead of one."""
    config = folder / "config.json"
    if not config.is_file():
        return [path.name for path in folder.iterdir()] == ["SKIPPED.md"]
    return "quantization_config" in read_json(config)


QUANTIZED = FolderKind("a quantized model", "config.json with a quantization_config", _is_quantized)


@dataclass(frozen=True)
class QuantizeReport:
    """What was done, and all that the bytes depend on besides weights and versions.

    `calibration_digest` is the SHA-256 of the token ids of all calibration prompts;
    `calibration_prompts` that of the prompts and the system prompt, see `Calibration.text`. `threads`
    and `hardware` decide the order of float sums, and so now and then a rounding.
    """

    scheme: str
    algorithm: str
    group_size: int | None  # None: one scale per output row
    ignored: tuple[str, ...]
    layers: int  # linear layers quantized
    calibration_samples: int
    calibration_tokens: int
    calibration_digest: str
    calibration_prompts: str
    seed: int
    threads: int
    hardware: Mapping[str, Any]
    weight_bytes_before: int
    weight_bytes_after: int
    tool: str


def quantize(
    merged: Path,
    out: Path,
    *,
    scheme: str,
    algorithm: str,
    group_size: int | str,
    prompts: Sequence[str],
    system: str,
    seed: int,
    threads: int | None = None,
) -> QuantizeReport:
    """Write the quantized checkpoint of `merged` as the folder `out`, whole or not at all.

    `scheme` and `algorithm` as in `scheme.ALGORITHMS`; `group_size` is «auto» or the number of
    columns that share a scale; `prompts` are rendered by the model's chat template for calibration.
    `threads` within each operation; by default one, or as many as OMP_NUM_THREADS says.
    Raises InputError for choices that do not fit the model, EnvironmentFault where llm-compressor
    is not installed.
    """
    check_scheme(scheme, algorithm, group_size)
    _check_inputs(merged, algorithm, prompts)
    _require_library()
    import torch

    title = f"quantize to {scheme} by {algorithm}"
    with (
        quiet(),
        repeatable(seed),
        no_pinned_memory(),
        meter(title, None, "layers") as progress,
    ):
        if threads is not None:
            torch.set_num_threads(threads)  # `repeatable` sets it back
        model, tokenizer = _load(merged)
        layers = _in_features(model)
        progress.to(0, len(layers))
        size = fit_group_size(group_size, layers) if scheme in GROUPED else None
        calibration = Calibration.of(algorithm, system, prompts)
        ids = calibration.ids(tokenizer)
        with _counted({id(model.get_submodule(name)) for name in layers}, progress):
            _apply(model, tokenizer, _recipe(scheme, algorithm, size), ids)
        with whole_folder(out, QUANTIZED) as part:
            _save(model, merged, part)
            after = _weight_bytes(part)
        used_threads = torch.get_num_threads()
    return QuantizeReport(
        scheme=scheme,
        algorithm=algorithm,
        group_size=size,
        ignored=IGNORED,
        layers=len(layers),
        calibration_samples=len(ids),
        calibration_tokens=sum(map(len, ids)),
        calibration_digest=digest_of(ids),
        calibration_prompts=calibration.digest,
        seed=seed,
        threads=used_threads,
        hardware=hardware_class(),
        weight_bytes_before=_weight_bytes(merged),
        weight_bytes_after=after,
        tool=f"llmcompressor {version('llmcompressor')}",
    )


def _check_inputs(merged: Path, algorithm: str, prompts: Sequence[str]) -> None:
    if not (merged / "config.json").is_file():
        raise InputError(f"{merged}: has no config.json. Quantize the folder of a merged model.")
    if not prompts and algorithm != "rtn":
        raise InputError(
            f"params.yaml: quantize.algorithm {algorithm} needs calibration prompts, "
            "and there are none. Add golden sets to the tune split, or use rtn."
        )


def _require_library() -> None:
    """Import llm-compressor (10 s), which writes to standard output as it is imported."""
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "ERROR")
    try:
        import llmcompressor  # noqa: F401
    except ImportError:
        raise EnvironmentFault(
            "llm-compressor is not installed. Run `pip install 'mergegate[quantize]'`."
        ) from None


def _load(merged: Path) -> tuple[Any, Any]:
    """(model in its own dtype, tokenizer). A model from a path: llm-compressor reads its config again."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(merged, dtype="auto", use_safetensors=True)
    return model, AutoTokenizer.from_pretrained(merged)


def _in_features(model: Any) -> dict[str, int]:
    """Input columns of every linear layer that will be quantized, by name."""
    import torch

    return {
        name: module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in IGNORED
    }


def _recipe(scheme: str, algorithm: str, group_size: int | None) -> list[Any]:
    """llm-compressor's modifiers: its preset of that scheme, with the group size that fits."""
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    preset = preset_name_to_scheme(scheme, ["Linear"])
    if group_size is not None:
        preset.weights.group_size = group_size
    groups = {"config_groups": {"group_0": preset}, "ignore": list(IGNORED)}
    if algorithm == "gptq":
        return [GPTQModifier(**groups)]
    smoothing = [AWQModifier()] if algorithm == "awq" else []
    return [*smoothing, QuantizationModifier(**groups)]


def _apply(model: Any, tokenizer: Any, recipe: list[Any], ids: Sequence[Sequence[int]]) -> None:
    """Quantize `model` in place; each calibration prompt is a batch of its own, so nothing is padded or cut."""
    import torch
    from llmcompressor import oneshot

    batches: Any = [
        {
            "input_ids": torch.tensor([row]),
            "attention_mask": torch.ones(1, len(row), dtype=torch.long),
        }
        for row in ids
    ]
    loader = torch.utils.data.DataLoader(batches, batch_size=None) if batches else None
    oneshot(model=model, processor=tokenizer, recipe=recipe, dataset=loader)


@contextmanager
def _counted(layers: set[int], progress: Meter) -> Iterator[None]:
    """Count `layers`, by id, as llm-compressor ends with each part of the model: a decoder layer, or all at once."""
    from llmcompressor.core import LifecycleCallbacks

    original = LifecycleCallbacks.__dict__["sequential_epoch_end"]

    def ended(cls: type[Any], /, modules: list[Any], **rest: Any) -> Any:
        result = original.__func__(cls, modules, **rest)
        done = layers.intersection(map(id, modules))
        layers.difference_update(done)
        progress(len(done))
        return result

    LifecycleCallbacks.sequential_epoch_end = classmethod(ended)
    try:
        yield
    finally:
        LifecycleCallbacks.sequential_epoch_end = original


def _save(model: Any, merged: Path, part: Path) -> None:
    """The quantized weights and config, and the merged model's other files byte for byte."""
    model.save_pretrained(part, save_compressed=True)
    # config.json says all that it says, and no safe loader reads the Python object tags in it.
    (part / "recipe.yaml").unlink()
    for path in sorted(merged.iterdir()):
        if path.is_file() and path.suffix != ".safetensors" and path.name not in _REPLACED:
            shutil.copyfile(path, part / path.name)
    for path in part.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner can read


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
