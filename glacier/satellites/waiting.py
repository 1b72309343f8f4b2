"""Scenes and files that wait on disk until their year is written: what a stopped run need not read again."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

from glacier.storage import disk


@dataclass(frozen=True)
class Outcome:
    """What became of a scene. identity : collection and id of its first item.

    reason : why it is dropped, or nothing. fault : why it is lost, or nothing. megabytes : that were read for it.
    resampled : whether its pixels lay elsewhere. warning : what is doubtful about its numbers, or nothing.
    """

    identity: tuple[str, str]
    reason: str = ""
    fault: str = ""
    megabytes: float = 0.0
    resampled: bool = False
    warning: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the scene is there."""
        return not (self.reason or self.fault)


def waiting_file(folder: Path, identity: tuple[str, str], kind: str = "pkl") -> Path:
    """Return where a finished scene (pkl, facts in json), the reason why it is dropped (txt) or a file waits.

    Whatever signs and length an id has: what tells files apart is a hash of collection and id.
    """
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", identity[1])[:80]
    return folder / f"{readable}-{digest}.{kind}"


def keep_scene(folder: Path, scene: dict, outcome: Outcome) -> None:
    """Write a finished scene where it waits for its year: what the table tells of it first, then the scene."""
    identity = scene["collection"], scene["id"]
    facts = {"resampled": outcome.resampled, "warning": outcome.warning}
    disk.write_json(waiting_file(folder, identity, "json"), facts)
    with disk.writing(waiting_file(folder, identity)) as file:
        pickle.dump(scene | facts, file, protocol=5)


def keep_reason(folder: Path, identity: tuple[str, str], reason: str) -> None:
    """Write why a scene is dropped, so that it is not read again."""
    with disk.writing(waiting_file(folder, identity, "txt")) as file:
        file.write(reason.encode())


def read_waiting(folder: Path, identity: tuple[str, str]) -> Outcome | None:
    """Return what became of a scene that waits on disk, None if none does."""
    note = waiting_file(folder, identity, "txt")
    if note.is_file():
        return Outcome(identity, note.read_text(encoding="utf-8"))
    if not waiting_file(folder, identity).is_file():
        return None
    form = {"resampled": bool, "warning": str}
    facts = disk.read_json(waiting_file(folder, identity, "json"), form)
    return Outcome(identity, resampled=facts["resampled"], warning=facts["warning"])
