"""What a merge made, or would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.say.console import facts, line, size

if TYPE_CHECKING:
    from pipeline.merge import MergeReport
    from pipeline.merge.as_adapter import AdapterReport
    from pipeline.merge.estimate import Estimate


def merged(report: MergeReport) -> None:
    """What a merge made, in three lines."""
    facts(
        f"merged by {report.merge_method} into {report.out}",
        {
            "tensors": f"{report.tensors}, {report.copied} of them copied byte for byte",
            "parameters": f"{report.parameters:,}",
            "weights": f"{report.weight_bytes / 1e6:,.1f} MB in {', '.join(report.shards)}",
        },
    )


def adapter(report: AdapterReport) -> None:
    """What a merge into an adapter made, with the tensors that lost most."""
    worst = sorted(report.tensors, key=lambda tensor: -tensor.error)[:3]
    facts(
        f"merged by {report.merge_method} into the adapter {report.out}",
        {
            "rank": report.rank,
            "changed layers": f"{len(report.tensors)}, and {len(report.whole)} modules saved whole",
            "error": f"{report.mean:.2%} of the merged difference on average, {report.worst:.2%} at worst",
            "most lost": ", ".join(f"{tensor.tensor} {tensor.error:.2%}" for tensor in worst)
            or "nothing",
            "weights": size(report.weight_bytes),
        },
    )
    if report.whole:
        line(
            f"Saved whole: {', '.join(report.whole)}. PEFT loads them; vLLM takes low-rank changes alone."
        )


def estimate(costs: Estimate) -> None:
    """What a merge would cost."""
    facts(
        f"{costs.method} would make {costs.parameters:,} parameters",
        {
            "tensors": f"{costs.tensors}, {costs.copied} of them copied byte for byte",
            "reads": f"{size(costs.read_bytes)}, in {_passes(costs.passes)}",
            "writes": size(costs.written_bytes),
            "memory": f"about {size(costs.memory_bytes)}",
            "time": f"about {costs.seconds:,.0f} s on {costs.threads} threads, "
            "with the sources in the page cache; reading them from a disk comes on top",
        },
    )


def _passes(count: int) -> str:
    return "one pass" if count == 1 else f"{count} passes"
