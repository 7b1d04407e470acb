"""Which checkpoints there are, and which of them stay.

In: a run's `checkpoints/` and its progress. Out: the newest one, those to fall back to, those that are trusted, those to keep. It is its
own file because all of it is looked up anew each time: what is on the disk is the only memory that survives a kill.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.training.checkpoint_facts import DamagedError, read_facts, read_progress, size_fault
from surgrec.training.checkpoint_folder import step_folder, step_of
from surgrec.training.progress import Progress


@dataclass(frozen=True)
class Retention:
    """What is kept: the `newest` so many; each whose step `every` divides (None: none); and the `best` so many by their probe's number."""

    newest: int
    every: int | None = None
    best: int = 0


def is_begun(folder: Path) -> bool:
    """Whether a run has saved here before, in whatever state that is now."""
    return (folder / "latest").exists() or any(folder.glob("step_*")) or any(folder.glob("damaged_step_*"))


def newest(folder: Path) -> Path | None:
    """The checkpoint that `latest` names; None where nothing was saved. Raises `UserError` where it is not there or not whole.

    Sizes are compared, not sums: whoever loads it does that.
    """
    candidates = candidates_in(folder)
    if not candidates:
        if is_begun(folder):
            raise UserError(f"{folder} holds no checkpoint that is whole; put a copy of one there")
        return None
    fault = fault_of(candidates[0])
    if fault is not None:
        others = ", ".join(path.name for path in candidates[1:]) or "none"
        raise UserError(f"{candidates[0]}, which is the newest checkpoint, is not whole: {fault}; before it: {others}")
    return candidates[0]


def fault_of(path: Path) -> str | None:
    """Why a checkpoint is not whole, as far as that shows without reading its files; None where nothing shows."""
    try:
        return size_fault(path, read_facts(path))
    except DamagedError as error:
        return error.fault


def candidates_in(folder: Path) -> list[Path]:
    """What a run may go on from, newest first: what `latest` names, be it whole or not, then those of earlier steps, of the way that the
    run has gone since its last rollback before those of an abandoned one. Without `latest`, all.
    """
    named = _named_in(folder)
    known = [(len(progress.rollbacks), progress.step, path) for path, progress in readable_in(folder)]
    before = [path for _, step, path in sorted(known, reverse=True) if named is None or step < step_of(named)]
    if named is not None:
        return [named, *before]
    return before or steps_in(folder)


def _named_in(folder: Path) -> Path | None:
    pointer = folder / "latest"
    if not pointer.exists():
        return None
    name = pointer.read_text().strip()
    if not (name.startswith("step_") and name[5:].isdigit()):
        raise UserError(
            f"{pointer} names {name!r}, which is no checkpoint; write the name of one, such as step_00001000"
        )
    return folder / name


def steps_in(folder: Path) -> list[Path]:
    """All folders that have a checkpoint's name, oldest first."""
    return sorted((path for path in folder.glob("step_*") if path.name[5:].isdigit()), key=step_of)


def readable_in(folder: Path) -> list[tuple[Path, Progress]]:
    """Checkpoints whose facts can be read, with their progress, oldest first."""
    found = []
    for path in steps_in(folder):
        try:
            found.append((path, read_progress(path)))
        except DamagedError:
            continue
    return found


def checkpoint_of(folder: Path, step: int | None) -> Path:
    """The checkpoint folder of `step`, or the newest one; a `UserError` says which there are."""
    path = newest(folder) if step is None else step_folder(folder, step)
    there = [each.name for each in steps_in(folder)]
    if path is None or path.name not in there:
        raise UserError(
            f"{folder} has no checkpoint{'' if step is None else f' of step {step}'}; there is: {', '.join(there) or 'none'}"
        )
    return path


def on_the_way(folder: Path, progress: Progress) -> list[tuple[Path, Progress]]:
    """Checkpoints with their progress, oldest first, without those of a way that the run has gone back from."""
    return [(path, saved) for path, saved in readable_in(folder) if len(saved.rollbacks) >= len(progress.rollbacks)]


def healthy(folder: Path, progress: Progress) -> Path | None:
    """The newest checkpoint that is trusted, of the way the run has gone since its last rollback; None where there is none."""
    trusted = [path for path, saved in on_the_way(folder, progress) if saved.step <= progress.pulse.safe_until]
    return trusted[-1] if trusted else None


def to_retire(folder: Path, progress: Progress, retention: Retention) -> list[Path]:
    """What may go: all that neither `retention` keeps, nor is the newest healthy one, nor the oldest after it.

    The oldest after the healthy one waits for its verdict, which comes by the patience later: were it to go with age alone, none would
    live to be trusted where `retention.newest` intervals are shorter than that. Later steps than that of `progress` stay until the run
    is there again: they are of a save that was interrupted before `latest` named it, or of a run that was set back.
    """
    there = [path for path, saved in readable_in(folder) if saved.step <= progress.step]
    of_this_way = [(path, saved) for path, saved in on_the_way(folder, progress) if saved.step <= progress.step]
    unjudged = [path for path, saved in of_this_way if saved.step > progress.pulse.safe_until]
    kept = {*there[-retention.newest :], healthy(folder, progress), *unjudged[:1]}
    kept |= {
        path for path, saved in of_this_way if retention.every and saved.step and saved.step % retention.every == 0
    }
    probed = [(saved.probe, saved.step, path) for path, saved in of_this_way if saved.probe is not None]
    kept |= {path for _, _, path in sorted(probed, reverse=True)[: retention.best]}
    return [path for path in there if path not in kept]
