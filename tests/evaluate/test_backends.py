"""Backends are passed through, with the variant in them for certain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.backend import load_backend


def backend(name: str, arguments: dict[str, Any], model: str = "x", adapter: Path | None = None):
    return load_backend(
        name, arguments, variant="tuned", model=model, adapter=adapter, batch_size=2
    )


def test_a_server_must_be_asked_for_the_variant() -> None:
    with pytest.raises(InputError, match=r"no value of model_args contains \{variant\}"):
        backend("local-chat-completions", {"model": "support", "base_url": "http://localhost"})


def test_an_unknown_backend_hints_at_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'vlm', which lm-eval does not have. Did you mean vllm"):
        backend("vlm", {"model": "{variant}"})


@pytest.mark.parametrize("key", ["pretrained", "peft", "trust_remote_code"])
def test_arguments_that_name_the_model_are_ours(model: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"model_args.{key} is set by mergegate"):
        backend("hf", {key: "x"}, str(model))


def test_an_argument_that_the_backend_does_not_have_is_input(model: Path) -> None:
    with pytest.raises(InputError, match=r"cannot make the backend hf.*dtpye"):
        backend("hf", {"dtpye": "float32"}, str(model))


def test_a_backend_without_adapters_refuses_one(adapter: Path, model: Path) -> None:
    with pytest.raises(InputError, match=r"sglang, which does not load adapters"):
        backend("sglang", {}, str(model), adapter)


def test_a_missing_folder_is_refused() -> None:
    with pytest.raises(InputError, match=r"no/such: no such folder"):
        backend("hf", {}, "no/such")


def test_a_pickled_checkpoint_is_never_opened(model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(OSError, match=r"safetensors"):
        backend("hf", {}, str(tmp_path))
