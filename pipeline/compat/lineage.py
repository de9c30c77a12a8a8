"""Check `lineage`: every source descends from the recipe's base.

For an adapter it is decided by digest where its base's is known, else by the name that it states.
For a full fine-tune it is decided by its weights: fine-tuning moves them little, while two networks
trained from different beginnings have weights that are as good as orthogonal. For vectors of n
independent, centred entries the cosine has mean 0 and standard deviation 1 / sqrt(n), that is 0.004
for a sample of 65,536; fine-tunes stay near 1 (their changes are small beside the weights: Yu et
al. 2024, arXiv 2311.03099). MIN_COSINE lies halfway; no honest source comes near it from either
side, so its exact value decides nothing.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import NamedTuple

from pipeline.compat.registry import CompatFacts, Topic, check
from pipeline.facts import Finding
from pipeline.sources import Adapter, Checkpoint, Source, weights_digest
from pipeline.sources.tensors import read_elements

TOPIC = Topic("lineage", "Sources descend from the base")
MIN_COSINE = 0.5
SAMPLE_TENSORS = 16
SAMPLE_ELEMENTS = 65_536
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REMEDY = "Use a source made from this very base, or name its own base as base_model."

_ADAPTER_REMEDY = "Put the adapter on the model that it was made from, as MODEL+ADAPTER."


@check(TOPIC)
def lineage(facts: CompatFacts) -> list[Finding]:
    """For each source: its model against the base, and its adapter against the model under it."""
    found = []
    for name, source in facts.others():
        if source.adapter is None or not facts.is_base(source.model):
            found.append(_model(facts, name, source.model))
        if source.adapter:
            found.append(_adapter(facts, name, source, source.adapter))
    return found


def _model(facts: CompatFacts, name: str, model: Checkpoint) -> Finding:
    if facts.is_base(model):
        return TOPIC.finding("pass", name, f"{name} lies on the base itself.")
    measured = _distances(model, facts.base_model)
    if not measured:
        return TOPIC.finding(
            "cannot_judge",
            name,
            f"{name} has no weight matrix in common with {facts.base}, "
            "so its descent cannot be seen.",
            remedy=_REMEDY,
        )
    middle = statistics.median(d.cosine for d in measured)
    moved = statistics.median(d.relative for d in measured)
    far = min(measured, key=lambda d: d.cosine)
    numbers = (
        f"median cosine {middle:.3f} and relative distance {moved:.3f} "
        f"over {len(measured)} matrices, lowest {far.cosine:.3f} in {far.tensor}"
    )
    good = middle >= MIN_COSINE
    return TOPIC.finding(
        "pass" if good else "fail",
        name,
        f"{name} {'descends' if good else 'does not descend'} from {facts.base}: {numbers}.",
        observed=f"median cosine {middle:.3f}",
        required=f"median cosine at least {MIN_COSINE}",
        remedy="" if good else _REMEDY,
    )


class _Distance(NamedTuple):
    tensor: str
    cosine: float
    relative: float  # norm of the difference / norm of the base's part


def _distances(model: Checkpoint, base: Checkpoint) -> list[_Distance]:
    """Distances of a sample of weight matrices, evenly spread over the model; float64 arithmetic.

    Vectors are left out: norm weights lie near 1 in every network, and biases near 0.
    """
    common = [
        name
        for name, info in base.tensors.items()
        if len(info.shape) >= 2
        and name in model.tensors
        and model.tensors[name].shape == info.shape
    ]
    step = max(1, -(-len(common) // SAMPLE_TENSORS))
    return [d for name in common[::step] if (d := _distance(name, model, base))]


def _distance(name: str, model: Checkpoint, base: Checkpoint) -> _Distance | None:
    infos = (model.tensors[name], base.tensors[name])
    count = min(infos[0].elements, SAMPLE_ELEMENTS)
    theirs, ours = (
        read_elements(info, (info.elements - count) // 2, count).double() for info in infos
    )
    norms = theirs.norm() * ours.norm()
    if not float(norms) > 0 or not bool(norms.isfinite()):
        return None  # all zeros say nothing of descent; check `values` reports what is not finite
    return _Distance(
        name, float(theirs @ ours / norms), float((theirs - ours).norm() / ours.norm())
    )


def _adapter(facts: CompatFacts, name: str, source: Source, adapter: Adapter) -> Finding:
    """The adapter's stated base against the model that the reference puts it on."""
    stated, where = _stated_digest(facts, adapter)
    if stated is None:
        return _by_name(facts, name, source, adapter)
    here = weights_digest(source.model.folder, facts.cache)
    if stated == here:
        message = f"{name}: its adapter was made from the base under it, by digest {here[:12]}."
        return TOPIC.finding("pass", name, message)
    return TOPIC.finding(
        "fail",
        name,
        f"{name}: its adapter was made from another base: "
        f"weights {stated[:12]} ({where}), but {source.reference.base} has {here[:12]}.",
        observed=stated,
        required=here,
        remedy=_ADAPTER_REMEDY,
    )


def _stated_digest(facts: CompatFacts, adapter: Adapter) -> tuple[str | None, str]:
    """The weights digest of the adapter's base, and who says so; (None, "") where nobody does."""
    if adapter.base_model_digest:
        return adapter.base_model_digest, "stated in its mergegate.json"
    named = Path(adapter.base_model_name_or_path or "")
    if named.name and named.is_dir() and any(named.glob("*.safetensors")):
        return weights_digest(named, facts.cache), f"those of {named}"
    return None, ""


def _by_name(facts: CompatFacts, name: str, source: Source, adapter: Adapter) -> Finding:
    """Without a digest: the names must agree, and the commits where both are known."""
    stated, under = adapter.base_model_name_or_path, source.reference.model
    if not stated:
        words = f"{name}: its adapter does not say which base it was made from."
        return _unknown(facts, name, source, words)
    # Of a folder only the last part is compared: it may have been elsewhere when training ran.
    local = source.kind == "local" or Path(stated).is_absolute()
    if stated != under and not (local and Path(stated).name == Path(under).name):
        words = f"{name}: its adapter was made from {stated}, which is not here to compare with"
        return _unknown(facts, name, source, f"{words} {under}.")
    commits = (adapter.revision or "", source.model_revision or "")
    if all(map(_COMMIT.fullmatch, commits)) and commits[0] != commits[1]:
        return TOPIC.finding(
            "fail",
            name,
            f"{name}: its adapter was made from {stated} at {commits[0]}, not at {commits[1]}.",
            observed=commits[0],
            required=commits[1],
            remedy=_ADAPTER_REMEDY,
        )
    message = f"{name}: its adapter names {stated} as its base; no digest confirms it."
    return TOPIC.finding("pass", name, message)


def _unknown(facts: CompatFacts, name: str, source: Source, message: str) -> Finding:
    here = weights_digest(source.model.folder, facts.cache)
    return TOPIC.finding(
        "cannot_judge",
        name,
        message,
        required="the digest or the name of the adapter's base",
        remedy=(
            "Where you know that the base is right, say so in a file mergegate.json beside the adapter: "
            f'{{"base_model_digest": "{here}"}}'
        ),
    )
