"""Faults of llm-compressor that are mended here and nowhere else, each with the release that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_pinned_memory() -> Iterator[None]:
    """llm-compressor 0.14.0: AWQ pins memory unconditionally, which fails where there is no
    accelerator.

    Pinning only speeds copies to a device up, so without one nothing is lost. A test fails as soon
    as AWQ works without this; delete it then.
    """
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    original = IntermediatesCache.__dict__["_pin_intermediate"]

    def leave(cls: type[Any], intermediate: Any) -> None:
        """Keep the tensors where they are."""

    if not torch.accelerator.is_available():
        IntermediatesCache._pin_intermediate = classmethod(leave)
    try:
        yield
    finally:
        IntermediatesCache._pin_intermediate = original
