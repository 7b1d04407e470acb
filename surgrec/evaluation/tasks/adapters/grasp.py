"""GraSP: the phases of 13 prostatectomies in pictures, one a second (Ayobi et al., arXiv 2401.11174)."""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import of_frames
from surgrec.evaluation.tasks.task import Task

COUNTS = {"train": 8, "test": 5}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase. Annotated pictures are one a second, so a picture's rank is its second."""
    base = archive.base("GraSP_1fps")
    operations, part_of = [], {}
    for part, count in COUNTS.items():
        path = archive.file(f"{base}annotations/grasp_long-term_{part}.json", f"phases of the {part} cases")
        content = archive.json(path)
        try:
            phase_of = {entry["image_id"]: str(entry["phases"]) for entry in content["annotations"]}
            frames: dict[str, dict[int, str]] = {}
            for image in content["images"]:
                if image["id"] in phase_of:
                    frames.setdefault(str(image["video_name"]), {})[int(image["frame_num"])] = phase_of[image["id"]]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(
                f"{archive.card.name}: {path} must have images with id, video_name and frame_num, and annotations with image_id and phases"
            ) from None
        archive.expect(frames, count, f"{part} cases")
        for case, phases in sorted(frames.items()):
            pictures = archive.folder(f"{base}frames/{case}", "the pictures of a case, one a second")
            labels = [archive.label("phase", phases[number], path) for number in sorted(phases)]
            spans = of_frames(range(len(labels)), labels, 1.0)
            operations.append(Operation(case, pictures, case, spans, float(len(labels)), frames_fps=1.0))
            part_of[case] = part
    notes = archive.missing_note(sum(COUNTS.values()), len(operations), "case")
    return dense(archive, "phase", operations, {"8_5": part_of}, notes), clips(
        archive, operations, {"8_5": part_of}, notes
    )
