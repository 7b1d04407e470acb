"""The form "a phase text file per video": a line a frame, the frame's number and its phase.

In: text files of Cholec80, M2CAI16-workflow and AutoLaparo. Out: spans. It is its own file because three datasets write it, differing in
the rate and in whether phases are names or numbers.
"""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive, is_count, short
from surgrec.evaluation.tasks.card import Form
from surgrec.evaluation.tasks.spans import Span, of_frames


def read_phase_text(archive: Archive, path: Path, fps: float, form: Form = "phase") -> tuple[list[Span], float]:
    """Spans of a file with a header and then `FRAME<blank>PHASE` a line, `fps` frame numbers a second, counted from 0 or
    1; and where the last one ends, in s.

    A header that names columns is no phase: it is skipped, once, and any further line that is no number and a known phase is refused.
    """
    lines = [line.split(None, 1) for line in archive.text(path).splitlines() if line.strip()]
    rows = lines[1:] if lines and not is_count(lines[0][0]) else lines
    if not rows:
        raise UserError(f"{archive.card.name}: {path} has no line with a frame and a phase")
    if wrong := next((row for row in rows if len(row) < 2 or not is_count(row[0])), None):
        raise UserError(
            f"{archive.card.name}: {path} has the line {short(' '.join(wrong))}; expected a frame number and a phase"
        )
    texts = [row[1].strip() for row in rows]
    labels = {text: archive.label(form, text, path) for text in set(texts)}
    first = 1 if rows[0][0] == "1" else 0
    frames = [int(row[0]) - first for row in rows]
    try:
        spans = of_frames(frames, (labels[text] for text in texts), fps)
    except ValueError as error:
        raise UserError(f"{archive.card.name}: {path}: {error}") from None
    step = frames[-1] - frames[-2] if len(frames) > 1 else 1
    return spans, (frames[-1] + step) / fps
