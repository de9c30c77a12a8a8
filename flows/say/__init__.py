"""All that the command prints: reports on standard output, failures on standard error."""

from flows.say.console import as_json, escape, failure, line, note, terminal
from flows.say.merges import adapter, estimate, merged
from flows.say.registry import champion_at, ledger, status
from flows.say.registry_move import moved
from flows.say.serving import answered, rolled_back, serving
from flows.say.verdicts import findings, findings_json, news, outcome, score_table, shown

__all__ = [
    "adapter",
    "answered",
    "as_json",
    "champion_at",
    "escape",
    "estimate",
    "failure",
    "findings",
    "findings_json",
    "ledger",
    "line",
    "merged",
    "moved",
    "news",
    "note",
    "outcome",
    "rolled_back",
    "score_table",
    "serving",
    "shown",
    "status",
    "terminal",
]
