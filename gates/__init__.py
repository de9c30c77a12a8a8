"""Turn stored facts into findings and a verdict; read, never change anything.

The verdict is computed by our own statistics (`verdict`, `statistics`) from a policy (`policy`) and
fit evidence (`evidence`), and says why in a person's words (`wording`). Great Expectations checks
the shape of golden sets and of the comparison table (`golden`, `table`): it passes on NaN and on
nothing at all, so it decides no release. `judge` does the same as a release's gate for any scores:
two files of any harness, or values in memory (`api`, `score_files`).

It fails closed: what is missing, broken or not comparable is `cannot judge`, and only `promote`
promotes. Importing this package loads neither torch nor Great Expectations.
"""

from gates.api import judge
from gates.outcome import Outcome, Reason, Row, Verdict
from gates.policy import Policy, Rule
from gates.verdict import combine, judge_release

__all__ = [
    "Outcome",
    "Policy",
    "Reason",
    "Row",
    "Rule",
    "Verdict",
    "combine",
    "judge",
    "judge_release",
]
