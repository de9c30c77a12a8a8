"""The safetensors format, read strictly: a header must account for every byte of its file.

Format: 8 bytes, the header's length N as a little-endian unsigned integer; N bytes of JSON, which
maps each tensor's name to its dtype, shape and offsets; then the data. Source:
https://github.com/huggingface/safetensors (Format).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CorruptArtifactError
from pipeline.files import open_file, size_of
from pipeline.sources.folders import check_depth, check_extent

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
MAX_HEADER_VALUES = 2_000_000  # 250,000 matrices, each an object, two lists and five commas
MAX_DIMENSIONS = 32
MAX_NAME = 500  # characters; the longest in use have about 100
_MAX_ELEMENTS = 2**63
_DEPTH = 3  # header, tensor, shape
_SHOWN = 8  # faults that a person can take in at once
_LEAST = 10  # the length of the header, and {}
_REMEDY = "The file was truncated or changed: fetch or write it again."

# The format's dtypes: bytes per element, and torch's name for it. All are stored little-endian,
# rows first.
DTYPES: dict[str, tuple[int, str]] = {
    "BOOL": (1, "bool"),
    "U8": (1, "uint8"),
    "I8": (1, "int8"),
    "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E5M2": (1, "float8_e5m2"),
    "F8_E8M0": (1, "float8_e8m0fnu"),
    "U16": (2, "uint16"),
    "I16": (2, "int16"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "U32": (4, "uint32"),
    "I32": (4, "int32"),
    "F32": (4, "float32"),
    "U64": (8, "uint64"),
    "I64": (8, "int64"),
    "F64": (8, "float64"),
}


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: bytes start to end of `file`; `dtype` is a key of DTYPES."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)


def read_header(file: Path) -> tuple[TensorInfo, ...]:
    """Every tensor of a safetensors file, in order of place.

    Raises CorruptArtifactError that names the file and each faulty tensor: an absurd length, bad
    JSON, an unknown dtype, offsets that leave the file, overlap, leave gaps, or do not match the
    shape. Raises InputError where it is no file, or may not be read.
    """
    with open_file(file) as stream:
        size = size_of(stream)
        header, begin = _header(file, stream, size)
    header.pop("__metadata__", None)
    faults: list[str] = []
    infos: list[TensorInfo] = []
    for name, entry in header.items():
        if info := _info(file, name, entry, begin, size, faults):
            infos.append(info)
        elif len(faults) == _SHOWN:
            break
    infos.sort(key=lambda info: (info.start, info.end, info.name))
    faults = faults or list(islice(_gaps(infos, begin, size), _SHOWN))
    if faults:
        raise CorruptArtifactError("\n".join([f"{file}: {fault}" for fault in faults] + [_REMEDY]))
    return tuple(infos)


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """The whole tensor in its storage dtype and shape; see `read_elements`."""
    return read_elements(info, 0, info.elements).reshape(info.shape)


def read_elements(info: TensorInfo, first: int, count: int) -> torch.Tensor:
    """Elements first to first + count of the tensor, rows first: [count] in its storage dtype.

    They lie in memory of their own, and no other part of the tensor is read. Raises
    CorruptArtifactError where the file has become shorter since its header was read.
    """
    import torch

    size, name = DTYPES[info.dtype]
    data = bytearray(count * size)
    with open_file(info.file) as stream:
        stream.seek(info.start + first * size)
        done = stream.readinto(data)
    if done < len(data):
        raise CorruptArtifactError(
            f"{info.file}: {info.name} ends after {done:,} of {len(data):,} bytes. {_REMEDY}"
        )
    dtype = getattr(torch, name)
    return torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _header(file: Path, stream: BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """The header as a mapping, and where the data begins."""
    if size < _LEAST:
        raise CorruptArtifactError(
            f"{file}: has {size:,} bytes; a file with a header has {_LEAST} or more. {_REMEDY}"
        )
    length = int.from_bytes(stream.read(8), "little")
    limit = min(MAX_HEADER_BYTES, size - 8)
    if not 2 <= length <= limit:
        raise CorruptArtifactError(
            f"{file}: its header claims {length:,} bytes; "
            f"it must have 2 to {limit:,}, for a file of {size:,}. {_REMEDY}"
        )
    raw = stream.read(length)
    try:
        check_extent(raw, MAX_HEADER_VALUES)
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
        check_depth(header, _DEPTH)
    except (ValueError, RecursionError) as error:
        raise CorruptArtifactError(
            f"{file}: its header is not valid JSON ({error}). {_REMEDY}"
        ) from None
    if not isinstance(header, dict) or not raw.startswith(b"{"):  # no space before it
        raise CorruptArtifactError(f"{file}: its header is not a JSON object. {_REMEDY}")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _info(
    file: Path, name: str, entry: Any, begin: int, size: int, faults: list[str]
) -> TensorInfo | None:
    """The tensor of one header entry, or None and a fault."""
    if len(name) > MAX_NAME or not name.isprintable():
        faults.append(
            f"tensor {name[:80]!r} has a name that cannot be printed, or of over {MAX_NAME} characters."
        )
        return None
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        faults.append(f"tensor {name!r} must have dtype, shape and data_offsets, and nothing else.")
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        faults.append(f"tensor {name!r} has dtype {dtype!r:.40}; known are {', '.join(DTYPES)}.")
    elif not _naturals(shape) or len(shape) > MAX_DIMENSIONS:
        faults.append(
            f"tensor {name!r} has a shape that is not a short list of whole numbers from 0."
        )
    elif (
        not _naturals(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size - begin
    ):
        faults.append(
            f"tensor {name!r} has data_offsets {offsets!r:.60}; "
            f"they must rise and stay within the {size - begin:,} bytes of data."
        )
    elif (needed := math.prod(shape) * DTYPES[dtype][0]) != offsets[1] - offsets[0]:
        faults.append(
            f"tensor {name!r} of {dtype} {shape} needs {needed:,} bytes; "
            f"its data_offsets span {offsets[1] - offsets[0]:,}."
        )
    elif math.prod(side or 1 for side in shape) >= _MAX_ELEMENTS:  # a 0 among them hides the rest
        faults.append(f"tensor {name!r} has the shape {shape}, whose sides are beyond all memory.")
    else:
        return TensorInfo(name, dtype, tuple(shape), file, begin + offsets[0], begin + offsets[1])
    return None


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _gaps(infos: list[TensorInfo], begin: int, size: int) -> Iterator[str]:
    """Overlaps and holes: bytes that two tensors or none account for."""
    at = begin
    for info in infos:
        if info.start < at:
            yield f"tensor {info.name!r} overlaps the one before it by {at - info.start:,} bytes."
        elif info.start > at:
            yield f"{info.start - at:,} bytes before tensor {info.name!r} belong to no tensor."
        at = max(at, info.end)
    if at < size:
        yield f"the last {size - at:,} bytes belong to no tensor."
