"""The model behind a variant, as an lm-eval backend: loaded from its folder, or reached at a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.generation import fit_batches
from pipeline.evaluate.runtime import device
from pipeline.facts import read_json
from pipeline.strict import nearest

# Backends that load a folder themselves, with the argument that takes an adapter's folder.
_ADAPTER_ARGUMENT: Mapping[str, str | None] = {
    "hf": "peft",
    "hf-auto": "peft",
    "huggingface": "peft",
    "vllm": "lora_local_path",
    "sglang": None,
}
_HUGGING_FACE = ("hf", "hf-auto", "huggingface")
# Backends that size their batches themselves, or that we size them for.
_AUTO = (*_HUGGING_FACE, "vllm")
# Texts in model_args that name nothing to load; any other might be a path or an id on the hub.
_WORDS = ("attn_implementation", "device", "dtype", "kv_cache_dtype", "quantization")
_OURS = (
    "pretrained",
    "peft",
    "lora_local_path",
    "batch_size",
    "trust_remote_code",
    "use_safetensors",
)
# What is filled in besides for a server that mergegate starts.
_OF_SERVER = ("base_url", "model", "tokenizer", "tokenizer_backend", "tokenized_requests")
VARIANT = "{variant}"  # stands for the variant's name in model_args of a served backend
# Backends that speak OpenAI's API to any address, with the path of it that they ask.
STARTABLE: Mapping[str, str] = {
    "local-completions": "/v1/completions",
    "local-chat-completions": "/v1/chat/completions",
}
# Backends whose server can be asked probes; of others somebody must vouch for the weights.
PROBED = (*STARTABLE, "openai-completions", "openai-chat-completions")
# Backends that are known without asking lm-eval.
KNOWN = (*_ADAPTER_ARGUMENT, *PROBED)
# Chat APIs give no log-probability of a text that they did not write.
CHAT = (
    "local-chat-completions",
    "openai-chat-completions",
    "azure-openai-chat-completions",
    "anthropic-chat",
    "anthropic-chat-completions",
    "litellm",
    "litellm-chat",
    "litellm-chat-completions",
)


@dataclass(frozen=True)
class Endpoint:
    """A server that has one variant: its address, as http://127.0.0.1:8000, and its name of the model."""

    url: str
    model: str


def load_backend(
    backend: str,
    model_args: Mapping[str, Any],
    *,
    variant: str,
    model: str,
    adapter: Path | None,
    batch_size: int | str,
    endpoint: Endpoint | None = None,
) -> Any:
    """An lm-eval LM for one variant. `model` and `adapter` are folders.

    hf, vllm and sglang load the folder. Any other backend is a server that has the variant already: the one at
    `endpoint`, which mergegate started, or the operator's own. Then model_args must contain "{variant}", or
    every variant would be scored on the same model. `batch_size` is a number of prompts, or "auto" for hf and vllm.
    Raises InputError that lists every fault of the arguments.
    """
    started = endpoint is not None
    faults = argument_faults(
        backend, model_args, batch_size, adapters=adapter is not None, started=started
    )
    if faults:
        raise InputError.of(faults)
    if not is_served(backend):
        arguments = _folder_arguments(backend, model_args, model, adapter)
    else:
        arguments = _served_arguments(backend, model_args, variant, model, endpoint)
    if backend not in _HUGGING_FACE:
        return _create(backend, arguments, batch_size)
    # lm-eval's own search for a batch ends when memory does; on a CPU the system ends the process.
    sized_here = batch_size == "auto" and device_of(backend, model_args) == "cpu"
    lm = _create(backend, arguments, 1 if sized_here else batch_size)
    if sized_here:
        fit_batches(lm)
    return lm


def is_served(backend: str) -> bool:
    """Whether a backend asks a server instead of loading the folder of a variant."""
    return backend not in _ADAPTER_ARGUMENT


def argument_faults(
    backend: str,
    model_args: Mapping[str, Any],
    batch_size: int | str,
    *,
    adapters: bool,
    started: bool,
) -> list[str]:
    """Every fault of evaluate.backend, model_args and batch_size that shows without lm-eval.

    `adapters`: whether some variant is an adapter over the base. `started`: whether mergegate starts the server.
    """
    ours = (*_OURS, *_OF_SERVER) if started else _OURS
    faults = [
        f"params.yaml: evaluate.model_args.{key} is set by mergegate; leave it out."
        for key in ours
        if key in model_args
    ]
    if adapters and _ADAPTER_ARGUMENT.get(backend, "") is None:
        faults.append(
            f"params.yaml: evaluate.backend is {backend}, "
            "which does not load adapters through lm-eval, and an expert is one. Use hf or vllm."
        )
    faults += _batch_faults(backend, batch_size)
    if is_served(backend) and not started:
        faults += _address_faults(backend, model_args)
    return faults


def is_known_by_digest(backend: str, model_args: Mapping[str, Any]) -> bool:
    """Whether a digest of the variant's folder covers all that answers: not so for a server, or where
    model_args may name something else to load, as a tokenizer."""
    texts = (key for key, value in model_args.items() if not isinstance(value, bool | int | float))
    return backend in _ADAPTER_ARGUMENT and all(key in _WORDS for key in texts)


def device_of(backend: str, model_args: Mapping[str, Any]) -> str:
    """Where a variant is computed: a device for the Hugging Face backend, «» where the backend decides."""
    return str(model_args.get("device", device())) if backend in _HUGGING_FACE else ""


def _batch_faults(backend: str, batch_size: int | str) -> list[str]:
    if batch_size != "auto" and not isinstance(batch_size, int):
        return [
            f"params.yaml: evaluate.batch_size is {batch_size!r}; it must be a whole number, "
            "1 or more, or auto."
        ]
    if batch_size == "auto" and backend not in _AUTO:
        return [
            f"params.yaml: evaluate.batch_size is auto, which {backend} does not have; "
            f"{', '.join(_AUTO)} do. Give the number of prompts that it takes at a time."
        ]
    return []


def _address_faults(backend: str, model_args: Mapping[str, Any]) -> list[str]:
    """What is missing to reach a server of the operator's own, and each variant at it."""
    startable = backend in STARTABLE
    faults = []
    if not any(VARIANT in str(value) for value in model_args.values()):
        other = ", or let mergegate start a server for each: evaluate.serve" if startable else ""
        faults.append(
            f"params.yaml: evaluate.backend is {backend}, a server, "
            f"and no value of model_args contains {VARIANT}: "
            "every variant would be scored on the same model. "
            f"Serve each variant under its name and write for example `model: {VARIANT!r}`{other}."
        )
    if startable and not model_args.get("base_url"):
        faults.append(
            f"params.yaml: evaluate.model_args.base_url is missing; {backend} needs the address to ask. "
            f"Write for example `base_url: http://localhost:8000{STARTABLE[backend]}`."
        )
    return faults


def _folder_arguments(
    backend: str, model_args: Mapping[str, Any], model: str, adapter: Path | None
) -> dict[str, Any]:
    if not Path(model).is_dir():
        raise InputError(f"{model}: no such folder. Evaluate a model that lies on this machine.")
    arguments: dict[str, Any] = {"pretrained": model}
    if backend in _HUGGING_FACE:
        # Never a pickle: transformers would fall back to one.
        arguments |= {"device": device(), "use_safetensors": True}
    if adapter and (name := _ADAPTER_ARGUMENT[backend]):
        arguments[name] = str(adapter)
    return {**arguments, **model_args}


def _served_arguments(
    backend: str,
    model_args: Mapping[str, Any],
    variant: str,
    model: str,
    endpoint: Endpoint | None,
) -> dict[str, Any]:
    arguments = {
        key: value.replace(VARIANT, variant) if isinstance(value, str) else value
        for key, value in model_args.items()
    }
    if backend == "local-completions" and "tokenizer_backend" not in arguments:
        # The template is rendered here, with the tokenizer of the weights, and the server gets token ids.
        here = {
            "tokenizer": model,
            "tokenizer_backend": "huggingface",
            "max_length": _longest(model),
        }
        arguments = {**{key: value for key, value in here.items() if value}, **arguments}
    if endpoint is not None:
        arguments |= {"base_url": endpoint.url + STARTABLE[backend], "model": endpoint.model}
    return arguments


def _longest(model: str) -> int:
    """The longest sequence of a model in tokens; 0 where its configuration does not say."""
    config = read_json(Path(model) / "config.json")
    return int({**config, **config.get("text_config", {})}.get("max_position_embeddings") or 0)


def _create(backend: str, arguments: Mapping[str, Any], batch_size: int | str) -> Any:
    import lm_eval.models
    from lm_eval.api.registry import get_model

    known = lm_eval.models.MODEL_MAPPING
    if backend not in known:
        raise InputError(
            f"params.yaml: evaluate.backend is {backend!r}, which lm-eval does not have."
            f"{nearest(backend, known)}"
        )
    try:
        return get_model(backend).create_from_arg_obj(dict(arguments), {"batch_size": batch_size})
    except (ImportError, TypeError) as error:  # a package is missing, or model_args has a wrong key
        raise InputError(
            f"params.yaml: lm-eval cannot make the backend {backend} "
            f"with evaluate.model_args: {error}"
        ) from error
