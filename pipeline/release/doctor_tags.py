"""What is off with the tags that repeat the champion's changes: a version's, and the registered model's.

Nobody but mergegate writes them, so one that differs was edited. It is put right only where the journal bears out
what the claim says; else a person must find out which of the two was edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.facts import canonical_json
from pipeline.release import store
from pipeline.release.agreement import TagFault, model_faults, recorded, version_faults
from pipeline.release.doctor import Ailment
from pipeline.release.journal import Entry
from pipeline.release.standing import CHANGE, Change, Standing, title


def examine_tags(
    uri: str,
    name: str,
    now: Standing,
    known: Sequence[Change],
    versions: Sequence[Any],
    entries: Sequence[Entry] | None,
) -> Iterator[Ailment]:
    """The tags of a model and its `versions` against its changes.

    `known`: the claims that MLflow still has; `entries`: of a journal that can be relied on, None where
    there is none.
    """
    highest = (
        now.head.number if now.head else 0
    )  # above it the journal is of a later registry than this one
    said = {n: change for n, change in recorded(entries or (), name).items() if n <= highest}
    said |= {change.number: change for change in known}
    # What an earlier examination copied from the claims bears nothing out.
    written = recorded((entry for entry in entries or () if not entry.get("observed")), name)
    if now.head is not None and (differing := model_faults(now)):
        last = now.head
        yield Ailment(
            "tag-altered",
            "model",
            f"the model's tag {CHANGE} is not as change {last.number} was claimed: {differing}.",
            _remedy(name, last),
            mend=_rewriting(uri, name, last) if written.get(last.number) == last else None,
        )
    for version in versions:
        for fault in version_faults(version, now, said):
            sure = _borne_out(fault, now, written)
            yield Ailment(
                "tag-altered",
                f"version {version.version}",
                f"version {version.version}: its tag {fault}.",
                _remedy(name, fault.change),
                mend=_setting(uri, name, str(version.version), fault) if sure else None,
            )


def _borne_out(fault: TagFault, now: Standing, written: dict[int, Change]) -> bool:
    """Whether the journal says the same as the claims about what a tag should be."""
    if fault.change is not None:
        return written.get(fault.change.number) == fault.change
    highest = now.head.number if now.head else 0
    return set(range(1, highest + 1)) <= written.keys()


def _remedy(name: str, change: Change | None) -> str:
    what = f"the experiment «{title(name, change.number)}»" if change else "the tag"
    return f"Somebody edited it, or {what}: compare with a journal or a backup, and set the wrong one back in MLflow."


def _rewriting(uri: str, name: str, last: Change) -> Callable[[], object]:
    def rewrite() -> None:
        with store.connect(uri, existing=True) as client:
            client.set_registered_model_tag(name, CHANGE, canonical_json(asdict(last)))

    return rewrite


def _setting(uri: str, name: str, version: str, fault: TagFault) -> Callable[[], object]:
    def put_right() -> None:
        with store.connect(uri, existing=True) as client:
            if fault.due is None:
                client.delete_model_version_tag(name, version, fault.tag)
            else:
                client.set_model_version_tag(name, version, fault.tag, fault.due)

    return put_right
