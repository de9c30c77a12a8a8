"""Writing safetensors shards whose headers are known before the first tensor is computed.

So every tensor has its place, workers write in any order, and the bytes are the same for any
number of them. Format: https://github.com/huggingface/safetensors (Format).
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from pipeline.errors import CorruptArtifactError, EnvironmentFault
from pipeline.facts import write_json
from pipeline.sources.tensors import DTYPES

INDEX = "model.safetensors.index.json"
_ALIGNMENT = 8
# Where the kernel cannot copy between two files: across some file systems, or at all.
_NO_KERNEL_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_COPIED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to be written; `dtype` is its name in the format."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """Bytes per element."""
        return DTYPES[self.dtype][0]

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return self.elements * self.item_bytes


@dataclass(frozen=True)
class Shard:
    """One file: its header, and where in the file each tensor begins."""

    file: str
    header: bytes
    starts: dict[str, int]
    size: int


def lay_out(tensors: Sequence[TensorSpec], shard_bytes: int) -> tuple[Shard, ...]:
    """The shards for `tensors` in the order given, each with at most `shard_bytes` of data.

    One tensor above that has a shard of its own.
    """
    groups: list[list[TensorSpec]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.nbytes
    return tuple(_shard(group, _file(i, len(groups))) for i, group in enumerate(groups))


class ShardWriter:
    """Writes laid-out shards into `folder`; its methods may be called from several threads.

    As a context manager. A shard that is there in its full size is written on, not made anew.
    """

    def __init__(self, folder: Path, shards: Iterable[Shard]) -> None:
        self._folder, self._shards = folder, tuple(shards)
        self._places: dict[str, tuple[int, int]] = {}
        self._open: list[int] = []

    def __enter__(self) -> ShardWriter:
        for shard in self._shards:
            descriptor = os.open(self._folder / shard.file, os.O_RDWR | os.O_CREAT, 0o666)
            self._open.append(descriptor)
            os.ftruncate(descriptor, shard.size)
            _write_at(descriptor, shard.header, 0)
            self._places |= {name: (descriptor, at) for name, at in shard.starts.items()}
        if len(self._shards) > 1:
            self._write_index()
        return self

    def write(self, name: str, first: int, values: Tensor) -> None:
        """Put values at element `first` of a tensor. Raises EnvironmentFault where the disk fails."""
        descriptor, start = self._places[name]
        data = values.view(-1).view(torch.uint8).numpy().data
        _write_at(descriptor, data, start + first * values.element_size())

    def copy(self, name: str, source: int, start: int, count: int) -> None:
        """Copy `count` bytes of the file descriptor `source` from `start` on; by the kernel, where it can."""
        descriptor, at = self._places[name]
        while count:
            done = _copy(source, descriptor, count, start, at)
            start, at, count = start + done, at + done, count - done

    def written(self, shard: int, start: int, count: int) -> memoryview:
        """Bytes of a shard as they were written."""
        extra = start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(
            self._open[shard], extra + count, access=mmap.ACCESS_READ, offset=start - extra
        )
        return memoryview(mapped)[extra:]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def _write_index(self) -> None:
        weight_map = {name: shard.file for shard in self._shards for name in shard.starts}
        total = sum(shard.size - len(shard.header) for shard in self._shards)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(self._folder / INDEX, index)


def _shard(tensors: Sequence[TensorSpec], file: str) -> Shard:
    """Wider types first, so that every tensor begins at a multiple of its element's size."""
    ordered = sorted(tensors, key=lambda tensor: (-tensor.item_bytes, tensor.name))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offsets: dict[str, int] = {}
    end = 0
    for tensor in ordered:
        offsets[tensor.name], end = end, end + tensor.nbytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offsets[tensor.name], end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    starts = {name: len(header) + offset for name, offset in offsets.items()}
    return Shard(file, header, starts, len(header) + end)


def _file(index: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{index + 1:05}-of-{count:05}.safetensors"


def _write_at(descriptor: int, data: bytes | memoryview, start: int) -> None:
    view = memoryview(data)
    try:
        while view:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
    except OSError as error:
        raise _failed(error) from error


def _copy(source: int, descriptor: int, count: int, start: int, at: int) -> int:
    """Copy at most `count` bytes between files; the number copied."""
    try:
        done = os.copy_file_range(source, descriptor, count, start, at)
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise _failed(error) from error
        data = os.pread(source, min(count, _COPIED_AT_ONCE), start)
        _write_at(descriptor, data, at)
        done = len(data)
    if not done:
        raise CorruptArtifactError(
            "a source ends before its header says. "
            "The file was truncated or changed: fetch or write it again."
        )
    return done


def _failed(error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"writing the merged weights failed: {error.strerror}. "
        "Free space or mend the disk, then run the merge again: it goes on where it was."
    )
