"""Compatibility: whether the sources of a recipe belong together, before anything is merged.

One file per check, one code per check. A check takes loaded facts and returns findings; it prints
nothing, changes nothing, and raises only where a file cannot be read. A difference that the recipe
itself resolves (`tokenizer`, `tokenizer_source`, `chat_template`) passes, and the finding says so.
What cannot be compared is `cannot_judge`, which blocks as a failure does.

Promises: the same sources give the same findings in the same order; weights are read in pieces,
never a whole model at once. Must not know: how a merge is computed, or what a gate will decide.
"""

from pipeline.compat.registry import CHECKS, Check, Topic, check
from pipeline.compat.run import run_checks

__all__ = ["CHECKS", "Check", "Topic", "check", "run_checks"]
