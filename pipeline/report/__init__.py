"""The report of a release: report.html, one page for people who would rather look than read.

Promises: the page is a pure function of the record, the evidence beside it and the examples; it
loads nothing from anywhere, runs no script, and its policy (Content-Security-Policy) forbids both;
whatever came from a model, a golden set or a recipe is text in it and nothing else. What a record or
its evidence lacks is said in words: the report of a refusal is as whole as that of a promotion.
Must not know: how verdicts are made, registries, signatures, torch.
"""

from pipeline.report.examples import failed_examples
from pipeline.report.page import render_report
from pipeline.report.workspace import examples_of

__all__ = ["examples_of", "failed_examples", "render_report"]
