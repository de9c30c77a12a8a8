"""Score a variant under every skill with lm-eval, time it, and lay variants side by side.

Promises: one loaded model for all skills, one row per sample with the digests of all that it
depends on, the same bytes for the same inputs on one machine, and an error instead of a score that
is missing, not finite or of another number of samples. Knows no policy: whether a score is good
enough is for `gates`.
"""

from pipeline.evaluate.latency import measure_latency
from pipeline.evaluate.runner import Settings, evaluate
from pipeline.evaluate.table import Table, comparison
from pipeline.evaluate.tasks import SkillSpec

__all__ = ["Settings", "SkillSpec", "Table", "comparison", "evaluate", "measure_latency"]
