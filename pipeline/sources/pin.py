"""A source as a record: what was read, from where, and the digests of all of it.

Nothing in it depends on the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.facts import digest_of
from pipeline.sources.adapter import Adapter
from pipeline.sources.hashes import folder_digests, weights_digest
from pipeline.sources.identity import (
    architecture_hash,
    chat_template_hash,
    declared_bases,
    licence,
    tokenizer_hash,
)
from pipeline.sources.source import Source


def pin(source: Source, cache: Path | None = None) -> dict[str, Any]:
    """The record of `source`, as JSON values.

    `model.digest` and `adapter.digest` are artifact digests of their folders; `further` lists the
    adapters after the first, where there are any. `digest` covers all, and so every byte of every
    file of the source. `cache` is that of `hashes.file_digests`.
    """
    model, adapter = _model(source, cache), _adapter(source.adapter, source.adapter_revision, cache)
    further = [_adapter(one, revision, cache) for one, revision in source.further]
    covered: dict[str, Any] = {"model": model["digest"], "adapter": adapter and adapter["digest"]}
    more = {"further": further} if further else {}
    if further:
        covered["further"] = [one["digest"] for one in further if one]
    return {
        "reference": str(source.reference),
        "kind": source.kind,
        "model": model,
        "adapter": adapter,
        **more,
        "digest": digest_of(covered),
    }


def _model(source: Source, cache: Path | None) -> dict[str, Any]:
    model = source.model
    files = folder_digests(model.folder, cache)
    return {
        "revision": source.model_revision,
        "files": files,
        "digest": digest_of(files),
        "weights_digest": weights_digest(model.folder, cache),
        "architecture_hash": architecture_hash(model),
        "tokenizer_hash": tokenizer_hash(model.folder),
        "chat_template_hash": chat_template_hash(model.folder),
        "licence": licence(model.folder),
        "base_models": declared_bases(model.folder),
        "tensors": len(model.tensors),
        "parameters": model.parameters,
    }


def _adapter(
    adapter: Adapter | None, revision: str | None, cache: Path | None
) -> dict[str, Any] | None:
    if adapter is None:
        return None
    files = folder_digests(adapter.folder, cache)
    return {
        "revision": revision,
        "files": files,
        "digest": digest_of(files),
        "licence": licence(adapter.folder),
        "r": adapter.r,
        "alpha": adapter.lora_alpha,
        "base_model": adapter.base_model_name_or_path,
        "base_digest": adapter.base_model_digest,
    }
