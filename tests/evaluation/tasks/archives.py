"""Miniature archives in the official layout of each dataset: names and labels as published, videos of no bytes."""

from __future__ import annotations

from pathlib import Path

PHASES = (
    "Preparation", "CalotTriangleDissection", "ClippingCutting", "GallbladderDissection", "GallbladderPackaging",
    "CleaningCoagulation", "GallbladderRetraction",
)  # fmt: skip


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def phase_lines(phases: tuple[str, ...], frames_each: int) -> str:
    """Two seconds of each phase, at 25 frames a second, as Cholec80 and M2CAI16 write them."""
    lines = [f"{number}\t{phases[number // frames_each]}" for number in range(frames_each * len(phases))]
    return "\n".join(("Frame\tPhase", *lines)) + "\n"


def cholec80(root: Path) -> None:
    for number in range(1, 81):
        put(root / f"videos/video{number:02d}.mp4")
        put(root / f"phase_annotations/video{number:02d}-phase.txt", phase_lines(PHASES[: 5 + number % 3], 50))
        put(root / f"tool_annotations/video{number:02d}-tool.txt", "Frame\tGrasper\n0\t1\n")


def jigsaws(root: Path) -> None:
    gestures = {
        "Suturing": ("G1", "G2", "G10"),
        "Knot_Tying": ("G1", "G12", "G15"),
        "Needle_Passing": ("G1", "G5", "G11"),
    }
    for bench, names in gestures.items():
        for user in "BCDEFGHI":
            for trial in (1, 2):
                stem = f"{bench}_{user}{trial:03d}"
                for camera in (1, 2):
                    put(root / bench / "video" / f"{stem}_capture{camera}.avi")
                lines = [f"{30 + 60 * at} {30 + 60 * at + 59} {name} " for at, name in enumerate(names)]
                put(root / bench / "transcriptions" / f"{stem}.txt", "\n".join(lines) + "\n")
    (root / "Suturing/transcriptions/Suturing_H002.txt").unlink()


HYPER_KVASIR = {
    "lower-gi-tract/pathological-findings/polyps": 6,
    "upper-gi-tract/pathological-findings/polyps": 5,
    "upper-gi-tract/anatomical-landmarks/pylorus": 4,
    "upper-gi-tract/anatomical-landmarks/z-line": 3,
    "lower-gi-tract/quality-of-mucosal-view/BBPS-2-3": 2,
}


def hyper_kvasir(root: Path) -> None:
    number = 0
    for folder, count in HYPER_KVASIR.items():
        for _ in range(count):
            put(root / f"labeled-videos/{folder}/{number:08x}-0000-0000-0000-000000000000.avi")
            number += 1
