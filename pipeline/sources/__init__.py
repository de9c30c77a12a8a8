"""Sources: a reference is resolved, opened read-only and pinned by digest.

What comes in is untrusted. Weights are read from safetensors files alone, whose headers must
account for every byte; no pickle is opened, no code of a model is run, no file outside a source's
folder is followed to.

Promises: opening reads headers and JSON, never weights, so it takes the same time for 1 GB and 100
GB; a pin depends on bytes alone, not on the machine. Importing this package imports neither torch
nor transformers nor MLflow; each is imported by the function that needs it.
Must not know: recipes, checks, merging, or who asked.
"""

from pipeline.sources.adapter import Adapter, AdapterModule
from pipeline.sources.checkpoint import Checkpoint
from pipeline.sources.hashes import artifact_digest, file_digest, folder_digests, weights_digest
from pipeline.sources.identity import (
    architecture_hash,
    chat_template_hash,
    licence,
    tokenizer_hash,
)
from pipeline.sources.pin import pin
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source, open_source
from pipeline.sources.tensors import TensorInfo, read_header, read_tensor

__all__ = [
    "Adapter",
    "AdapterModule",
    "Checkpoint",
    "Reference",
    "Source",
    "TensorInfo",
    "architecture_hash",
    "artifact_digest",
    "chat_template_hash",
    "file_digest",
    "folder_digests",
    "licence",
    "open_source",
    "pin",
    "read_header",
    "read_tensor",
    "tokenizer_hash",
    "weights_digest",
]
