"""Random draws by counter: the draw for an element depends on its key and its index alone.

So threads, blocks, the order of tensors and the device cannot change a result. The generator is
SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014), whose
output for counter i is a mix of key + (i + 1) * GAMMA modulo 2^64. One output makes two draws: elements 2 i and
2 i + 1 take its lower and its upper 32 bits.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_TILE = 65_536  # so many draws, with what they are made from, stay in the cache
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def draw_key(seed: int, model: str, tensor: str) -> int:
    """The 64-bit key of one model's tensor: the head of SHA-256 over seed, model and tensor name."""
    text = f"{seed}\0{model}\0{tensor}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def random_bits(key: int, count: int, first: int = 0) -> npt.NDArray[np.uint64]:
    """The generator's outputs for the counters first .. first + count - 1: uint64 [count]."""
    bits = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    shifted = np.empty_like(bits)
    np.multiply(bits, _GAMMA, out=bits)
    np.add(bits, np.uint64(key), out=bits)
    for places, factor in _MIX:
        np.right_shift(bits, np.uint64(places), out=shifted)
        np.bitwise_xor(bits, shifted, out=bits)
        np.multiply(bits, factor, out=bits)
    np.right_shift(bits, np.uint64(31), out=shifted)
    return np.bitwise_xor(bits, shifted, out=bits)


def uniform(key: int, count: int, first: int = 0) -> npt.NDArray[np.uint32]:
    """The draws of elements first .. first + count - 1: whole numbers evenly in [0, 2^32), uint32 [count]."""
    skipped = first % 2
    bits = random_bits(key, (count + skipped + 1) // 2, first // 2)
    return bits.astype("<u8", copy=False).view("<u4")[skipped : skipped + count]


def keep_mask(key: int, count: int, density: float, first: int = 0) -> Tensor:
    """A boolean mask [count], each entry true with probability `density`, to 2^-32.

    It is that of the elements from index `first` on.
    """
    limit = round(density * 2**32)
    if limit == 2**32:
        return torch.ones(count, dtype=torch.bool)
    mask = np.empty(count, dtype=np.bool_)
    for start in range(0, count, _TILE):
        tile = mask[start : start + _TILE]
        np.less(uniform(key, tile.size, first + start), np.uint32(limit), out=tile)
    return torch.from_numpy(mask)


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """`values`, changed: multiplied by 0 where `mask` is false, so that what is not finite stays visible."""
    flags = mask.view(values.shape)
    if values.device.type != "cpu":
        return values.mul_(flags.to(values.device))
    array = values.numpy()  # numpy multiplies by a boolean at a third of torch's time
    with np.errstate(invalid="ignore"):  # 0 times infinity is NaN, as wanted
        np.multiply(array, flags.numpy(), out=array)
    return values
