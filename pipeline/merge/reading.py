"""Reading parts of tensors from their files into memory that is used again and again."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from pipeline.errors import CorruptArtifactError
from pipeline.sources.tensors import DTYPES, TensorInfo


class Reader:
    """Opens each file once and reads ranges of it; may be shared by threads. A context manager."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def descriptor(self, file: Path) -> int:
        """The file, opened for reading."""
        with self._lock:
            if file not in self._open:
                self._open[file] = os.open(file, os.O_RDONLY)
            return self._open[file]

    def read(self, info: TensorInfo, first: int, into: Tensor) -> Tensor:
        """Elements from index `first` on, as many as `into` holds, in the tensor's own dtype; returns `into`.

        Raises CorruptArtifactError where the file has become shorter since its header was read.
        """
        size = DTYPES[info.dtype][0]
        data = into.view(-1).view(torch.uint8).numpy().data
        at, descriptor = info.start + first * size, self.descriptor(info.file)
        while data:
            done = os.preadv(descriptor, [data], at)
            if not done:
                raise CorruptArtifactError(
                    f"{info.file}: {info.name} ends {len(data):,} bytes early. "
                    "The file was truncated or changed: fetch or write it again."
                )
            data, at = data[done:], at + done
        return into


class Scratch:
    """Memory of one worker by purpose, so that a merge allocates it once."""

    def __init__(self) -> None:
        self._buffers: dict[Hashable, Tensor] = {}

    def take(self, purpose: Hashable, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """A tensor [rows, columns] of arbitrary content, valid until the purpose is taken again."""
        rows, columns = shape
        buffer = self._buffers.get(purpose)
        if buffer is None or buffer.dtype != dtype or buffer.numel() < rows * columns:
            buffer = self._buffers[purpose] = torch.empty(rows * columns, dtype=dtype)
        return buffer[: rows * columns].view(rows, columns)
