"""The exact difference that one LoRA module makes to one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.sources.adapter import Adapter, AdapterModule


def lora_delta(adapter: Adapter, module: AdapterModule, stored: Tensor) -> Tensor:
    """What merging `module` adds to the tensor `stored`, both float32.

    Linear: `stored` is [out, in], A [r, in], B [out, r], and the delta is s B A (Hu et al. 2021,
    arXiv 2106.09685, section 4.1; s is alpha / r, or alpha / sqrt(r) for rsLoRA, Kalajdzievski
    2023, arXiv 2312.03732). With `fan_in_fan_out`, and for embeddings [tokens, dim] with A
    [r, tokens] and B [dim, r], it is the transpose. With a magnitude m [out] it is DoRA.
    """
    a, b = adapter.read(module.a).float(), adapter.read(module.b).float()
    transposed = module.kind == "embedding" or adapter.fan_in_fan_out
    delta = (b @ a).mul_(module.scaling)
    delta = delta.T if transposed else delta
    if module.magnitude is None:
        return delta.contiguous()
    magnitude = adapter.read(module.magnitude).float().flatten()
    return dora_delta(stored, delta, magnitude, output_axis=1 if transposed else 0)


def dora_delta(stored: Tensor, delta: Tensor, magnitude: Tensor, output_axis: int) -> Tensor:
    """m (W + D) / norm(W + D) - W, the norm taken per output (Liu et al. 2024, arXiv 2402.09353, eq. 5).

    `stored` W and `delta` D are [out, in] for `output_axis` 0 and [in, out] for 1; `magnitude` m is
    [out]. An output whose row is zero has no direction and stays zero.
    """
    moved = stored + delta
    norm = torch.linalg.vector_norm(moved, dim=1 - output_axis, keepdim=True)
    factor = magnitude.view(norm.shape) / torch.where(norm == 0, 1.0, norm)
    return moved.mul_(factor).sub_(stored)
