"""Merging: a recipe and its opened sources become one Hugging Face checkpoint.

Promises: float32 arithmetic whatever the storage type, rounded once; one tensor per worker in
memory, never a model; the same bytes for the same recipe, sources and seed, for any number of
threads and shards; a tensor that nothing changes is copied byte for byte; the folder appears under
its name only when it is whole. Knows nothing of gates, of schedulers or of how a source was found.
"""

from pipeline.merge.merge import MergeReport, merge, plan_merge

__all__ = ["MergeReport", "merge", "plan_merge"]
