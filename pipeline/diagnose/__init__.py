"""Diagnosis: what the differences of a recipe's sources look like before anything is merged.

Promises: one pass over the bytes, in blocks, so that memory does not grow with the model; sums in float64 and the
same figures for any number of threads; every figure by layer and kind of module, with what it means where it
is defined; a suggestion that quotes the figures it rests on. Nothing is merged, and nothing is written but the
heat map that is asked for. Knows nothing of gates and schedulers, and judges no model: a suggestion is where to begin.
"""

from pipeline.diagnose.diagnose import diagnose
from pipeline.diagnose.heatmap import write_heatmap
from pipeline.diagnose.report import Diagnosis, lines, rationale
from pipeline.diagnose.suggest import Suggestion, suggest

__all__ = ["Diagnosis", "Suggestion", "diagnose", "lines", "rationale", "suggest", "write_heatmap"]
