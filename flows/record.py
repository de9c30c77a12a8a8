"""The last step of a release: the registry learns of it, and the command learns how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.workspace_journal import Kept, journal_of
from pipeline.errors import InputError
from pipeline.facts import read_json
from pipeline.params import Params
from pipeline.stages.workspace import BUILD, CACHE, SOURCES, known_hashes

if TYPE_CHECKING:
    from pipeline.release.changes import Change

# The exit code of the command for each outcome of the gate.
EXIT_CODES = {"promote": 0, "reject": 3, "inconclusive": 4, "cannot judge": 5}
HELD_BACK = 7  # the gate promoted it, but its version was rolled back and stays down
PROBE_TOKENS = 32


@dataclass(frozen=True)
class Outcome:
    """How a release ended, as the command reports it."""

    candidate: str
    outcome: str
    sentence: str
    reasons: tuple[dict[str, str], ...]  # artifact, check, outcome, text; worst first
    scores: dict[str, dict[str, float | None]]  # variant -> «skill/metric» -> mean
    registered: dict[str, Any]
    changed: tuple[str, ...] = ()  # what of its inputs is no longer as it was judged

    @property
    def held_back(self) -> str:
        """Why a promoted merge is not champion: its version was rolled back. "" for any other."""
        return str(self.registered.get("held_back") or "")

    @property
    def unchanged(self) -> bool:
        """Whether this very release was champion, or refused, before, so that nothing was changed."""
        return bool(self.registered.get("champion_since") or self.registered.get("refused_since"))

    @property
    def exit_code(self) -> int:
        """0 promoted, 3 rejected, 4 inconclusive, 5 the gate could not judge, 7 promoted but held back."""
        return HELD_BACK if self.held_back else EXIT_CODES[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        derived = {
            "exit_code": self.exit_code,
            "held_back": self.held_back,
            "unchanged": self.unchanged,
        }
        return {**asdict(self), **derived}


def read_outcome(candidate: str, registered: dict[str, Any]) -> Outcome:
    """The outcome of a candidate's last release, from its release folder."""
    from pipeline.release import read_bundle

    record = read_bundle(BUILD / candidate / "release")
    verdict, table = record["verdict"], record["comparison"]
    names = ["/".join(column) for column in table["columns"]]
    return Outcome(
        candidate=candidate,
        outcome=verdict["outcome"],
        sentence=verdict["sentence"],
        reasons=tuple(
            {key: reason[key] for key in ("artifact", "check", "outcome", "text")}
            for reason in verdict["reasons"]
        ),
        scores={variant: dict(zip(names, means, strict=True)) for variant, means in table["rows"]},
        registered=registered,
    )


def read_last_outcome(params: Params, candidate: str) -> Outcome:
    """As `read_outcome`, with what has changed in recipe and policy since."""
    from gates import Policy
    from pipeline.recipe import load_recipe
    from pipeline.release import read_bundle

    judged = read_bundle(BUILD / candidate / "release")["identity"]
    now = {
        "recipe": load_recipe(params.recipe(candidate)).digest == judged["recipe"]["digest"],
        "policy": Policy.parse(params.policy, "params.yaml: policy").digest == judged["policy"],
    }
    changed = tuple(name for name, same in now.items() if not same)
    return replace(read_outcome(candidate, {}), changed=changed)


def note_champion(params: Params) -> int | None:
    """The number of the champion's last change, None where there is no champion yet.

    A change that a killed process left half-made is finished first. Raises InputError where the
    alias was moved by hand, or the journal knows changes that the registry does not, before hours of
    stages run in vain.
    """
    from pipeline.release.changes import settle

    last = settle(params.registry_uri, params.name, params.journal)
    return last.number if last else None


def check_journal(params: Params) -> None:
    """Raise InputError where the journal knows changes of the champion that the registry of params.yaml does not."""
    from pipeline.release.changes import check_history

    check_history(params.registry_uri, params.name, params.journal)


def check_registry(params: Params, *, register: bool) -> None:
    """Raise what a release, or with `register` false a judgement, would meet at the registry when it begins."""
    if register:
        note_champion(params)
    else:
        check_journal(params)


def record_release(params: Params, candidate: str, expected: int | None) -> dict[str, Any]:
    """Register a promoted candidate behind its rehearsed way back, or log a refusal. Twice is as once.

    `expected`: what `note_champion` gave when the release began. Raises Overtaken where the
    champion has changed since.
    """
    from pipeline.release import log_refusal, read_bundle, register_merge, rehearse_version
    from pipeline.release.changes import head
    from pipeline.release.registry import refused_at

    folder, uri = BUILD / candidate, params.registry_uri
    record = read_bundle(folder / "release")
    if record["verdict"]["outcome"] != "promote":
        since = refused_at(uri, params.name, record["release_digest"])
        run = log_refusal(uri, params.name, folder / "release")
        return {"run": run, "version": None, "refused_since": since}
    _check_judged_champion(params, expected, record["release_digest"])
    target = _register_unmerged(params, record)
    before = head(uri, params.name)
    # Before the champion moves: a merge whose way back does not hold is not promoted.
    if not _is_release(before, record["release_digest"]):
        rehearse_version(uri, params.name, target, CACHE)
    registered = register_merge(
        uri,
        params.name,
        folder / "quantized",
        folder / "release",
        rollback_version=target,
        expected=expected,
        journal=params.journal,
    )
    return {
        "model": params.name,
        "version": registered.version,
        "rollback_version": target,
        "release_digest": record["release_digest"],
        "held_back": registered.held_back,
        # "" unless this very version was champion before: then nothing was changed.
        "champion_since": before.when if before and before.version == registered.version else "",
    }


def _check_judged_champion(params: Params, expected: int | None, digest: str) -> None:
    """Raise Overtaken where the stages compared with another champion than the one that is served now.

    Unless that is this very release, `digest`, which an interrupted attempt has promoted already.
    """
    from flows.ledger import champion_is_new
    from pipeline.release.changes import Overtaken, check_expected, head

    if champion_is_new(params) and not _is_release(
        last := head(params.registry_uri, params.name), digest
    ):
        check_expected(params.name, last, expected, "promotion")
        raise Overtaken(
            f"{params.name}: the champion is not the one that the candidate was compared with. "
            "Run `mergegate release` again: it will be judged against the one that is served now."
        )


def _is_release(last: Change | None, digest: str) -> bool:
    """Whether the last change made the release `digest` the champion: then nothing is left to do but to say so."""
    return last is not None and last.release_digest == digest


def _register_unmerged(params: Params, record: dict[str, Any]) -> int:
    """The version of the unmerged set: base and experts as they were pinned for this release."""
    from pipeline.release import Probe, register_unmerged
    from pipeline.stages.workspace import open_pinned

    pins = read_json(SOURCES)["pins"]
    sources = {name: open_pinned(params, text, pins) for name, text in params.experts.items()}
    base = open_pinned(params, params.base, pins).model.folder
    asked = {name: _question(params, name) for name in sources}
    return register_unmerged(
        params.registry_uri,
        params.name,
        record["rollback"],
        base=base,
        experts={
            name: source.adapter.folder if source.adapter else source.model.folder
            for name, source in sources.items()
        },
        probe=Probe(params.evaluate.system, asked, PROBE_TOKENS),
    )


def _question(params: Params, expert: str) -> str:
    """A prompt of the tune split: of the skill that an expert is named after, else of any skill."""
    from pipeline.evaluate.golden import read_golden
    from pipeline.stages.latency import prompts

    skill = params.evaluate.skills.get(expert)
    path = skill.split("tune") if skill else None
    if path is None or not path.is_file():
        return prompts(params, "tune", 1)[0]
    return str(read_golden(path)[0]["prompt"])


def read_status(uri: str, name: str) -> dict[str, Any]:
    """Champion, rollback target, history and refusals of a registered model, see `release.history.status`.

    It is compared with the journal of this workspace; where there is none, `journal` has that as a note.
    """
    from pipeline.release import status
    from pipeline.release.changes import check_history

    kept = journal_of(uri, name)
    try:
        found = status(uri, name, kept.path, whole=kept.whole, hashes=known_hashes())
    except InputError:
        if kept.path:  # a registry that knows nothing of the model, where the journal does
            check_history(uri, name, kept.path)
        raise
    return _noted(found, kept)


def read_champion_at(uri: str, name: str, when: str) -> dict[str, Any]:
    """Which version was champion at the time `when`, ISO 8601, UTC where it names no zone; `journal` as in a status."""
    from pipeline.release.history import champion_at

    try:
        moment = datetime.fromisoformat(when)
    except ValueError:
        raise InputError(
            f"--at {when}: no time. Write it as 2026-05-14, 2026-05-14T10:00 or 2026-05-14T10:00+02:00."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    kept = journal_of(uri, name)
    return _noted(champion_at(uri, name, moment, kept.path, whole=kept.whole), kept)


def _noted(report: dict[str, Any], kept: Kept) -> dict[str, Any]:
    """The report, which says so where no journal was compared."""
    none = {"path": None, "faults": [], "notes": [kept.why_none]}
    return {**report, "journal": report["journal"] or none}


def roll_back(
    uri: str,
    name: str,
    *,
    why: str,
    rehearse: bool,
    to: str = "unmerged",
    thorough: bool = False,
    journal: Path | None = None,
) -> dict[str, Any]:
    """Move the champion to a target, see `release.rollback`; with `rehearse` only read and probe the target."""
    from pipeline import release

    if rehearse:
        return release.rehearse(uri, name, CACHE, to=to).to_json()
    options: dict[str, Any] = {"to": to, "thorough": thorough, "journal": journal}
    return release.rollback(uri, name, why, CACHE, hashes=known_hashes(), **options).to_json()
