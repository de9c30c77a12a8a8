"""What stands out besides the method: sources that do not belong, that add nothing, or that outweigh the others."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.diagnose.evidence import Evidence

# A pair whose cosine is above TWICE is one difference twice; lengths are uneven from the factor UNEVEN on; a
# difference above LARGE of the base's length is more than fine-tuning is known for.
TWICE, UNEVEN, LARGE = 0.999, 3.0, 0.5


def cautions(evidence: Evidence) -> tuple[str, ...]:
    """One sentence for each thing that stands out."""
    return (
        *_strays(evidence),
        *_unknown_base(evidence),
        *_each(evidence),
        *_twice(evidence),
        *_uneven(evidence),
    )


def _strays(e: Evidence) -> Iterator[str]:
    for source in e.strays:
        yield (
            f"{e.names[source]} seems not to descend from {e.base}: the median cosine of its weight "
            f"matrices with the base's is {e.alike[source]:.3f}; of a fine-tune it is near 1."
        )


def _unknown_base(e: Evidence) -> Iterator[str]:
    if not e.base_known:
        yield (
            f"The recipe does not say what the models came from, so they are measured from {e.base}. "
            "Two models that have nothing in common but their origin then have a cosine near 0.5. "
            "Name the origin as base_model to see how they differ from it."
        )


def _each(e: Evidence) -> Iterator[str]:
    for source in e.whole.sources:
        moved = e.whole.relative_norm(source)
        if source not in e.changed:
            yield f"{e.names[source]} differs from {e.base} in no tensor; it adds nothing."
        elif moved is not None and moved > LARGE and source not in e.strays:
            yield (
                f"{e.names[source]} moves the tensors that it changes by {moved:.2f} of their length, "
                f"unusually far for fine-tuning (limit {LARGE:g}). Check the scaling of the adapter."
            )


def _twice(e: Evidence) -> Iterator[str]:
    for (one, two), cosine in e.cosines.items():
        if cosine > TWICE:
            yield (
                f"{e.names[one]} and {e.names[two]} are one difference twice "
                f"(cosine {cosine:.4f}); a sum counts it double."
            )


def _uneven(e: Evidence) -> Iterator[str]:
    by_length = sorted(e.changed, key=e.whole.norm)
    if len(by_length) > 1 and not e.strays:
        short, long = by_length[0], by_length[-1]
        factor = e.whole.norm(long) / e.whole.norm(short)
        if factor > UNEVEN:
            yield (
                f"The difference of {e.names[long]} is {factor:.1f} times as long as that of "
                f"{e.names[short]}; at equal weights it decides. Give it a smaller weight."
            )
