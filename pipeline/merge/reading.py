"""Parts of tensors as views of their files, mapped a window at a time, or read into memory that is used again."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from pipeline.errors import CorruptArtifactError
from pipeline.sources.tensors import DTYPES, TensorInfo

# Bytes mapped at a time. A mapped page costs a tenth of a copied one, but counts as memory of the process.
WINDOW_BYTES = 1 << 23


@dataclass(frozen=True)
class _Window:
    """A mapped part of a file: `bytes` are those from `start` on. Unmapped when nothing refers to it."""

    file: Path
    start: int
    bytes: Tensor

    def holds(self, file: Path, start: int, stop: int) -> bool:
        return file == self.file and self.start <= start and stop <= self.start + self.bytes.numel()


class Reader:
    """Opens each file once and reads ranges of it; may be shared by threads. A context manager."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._lock, self._local = threading.Lock(), threading.local()

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

    def view(self, info: TensorInfo, first: int, shape: tuple[int, int], slot: Hashable) -> Tensor:
        """Elements from index `first` on as [rows, columns] in the tensor's own dtype, not to be changed.

        Valid until the thread uses `slot` again. Raises CorruptArtifactError as `read`; a file that is cut off while
        a view of it is in use ends the process, as with every library that maps checkpoints.
        """
        size, name = DTYPES[info.dtype]
        start = info.start + first * size
        stop = start + shape[0] * shape[1] * size
        if start % size or start == stop:  # torch has no view of what is not aligned
            return self.read(info, first, torch.empty(shape, dtype=getattr(torch, name)))
        self._check_length(info, stop)
        windows: dict[Hashable, _Window] = self._local.__dict__.setdefault("windows", {})
        if slot not in windows or not windows[slot].holds(info.file, start, stop):
            windows[slot] = self._window(
                info.file, start, max(stop, min(start + WINDOW_BYTES, info.end))
            )
        begin = start - windows[slot].start
        found = windows[slot].bytes[begin : begin + stop - start]
        return found.view(getattr(torch, name)).view(shape)

    def _window(self, file: Path, start: int, stop: int) -> _Window:
        begin = start - start % mmap.ALLOCATIONGRANULARITY
        # A private mapping may be written to without the file: torch warns of memory that may not.
        mapped = mmap.mmap(
            self.descriptor(file), stop - begin, access=mmap.ACCESS_COPY, offset=begin
        )
        mapped.madvise(mmap.MADV_WILLNEED)
        return _Window(file, begin, torch.frombuffer(mapped, dtype=torch.uint8))

    def _check_length(self, info: TensorInfo, stop: int) -> None:
        length = os.fstat(self.descriptor(info.file)).st_size
        if length < stop:
            raise _cut_off(info, stop - length)

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
                raise _cut_off(info, len(data))
            data, at = data[done:], at + done
        return into


def _cut_off(info: TensorInfo, missing: int) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"{info.file}: {info.name} ends {missing:,} bytes early. "
        "The file was truncated or changed: fetch or write it again."
    )


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
