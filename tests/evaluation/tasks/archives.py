"""Miniature archives in the official layout of each dataset: names and labels as published, videos of no bytes."""

from __future__ import annotations

import json
import pickle
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


_EIGHT = [(user, trial) for user in "BCDEFGHI" for trial in range(1, 6)]
JIGSAWS_TRIALS = {  # as many as the archive has; of Suturing one more, whose transcript is empty
    "Suturing": _EIGHT,
    "Knot_Tying": [each for each in _EIGHT if each not in (("B", 5), ("H", 1), ("H", 2), ("I", 1))],
    "Needle_Passing": [  # none of surgeon G
        (user, int(trial))
        for user, trials in zip("BCDEFHI", ("1234", "12345", "12345", "1345", "134", "245", "2345"), strict=True)
        for trial in trials
    ],
}


def jigsaws(root: Path) -> None:
    gestures = {
        "Suturing": ("G1", "G2", "G10"),
        "Knot_Tying": ("G1", "G12", "G15"),
        "Needle_Passing": ("G1", "G5", "G11"),
    }
    for bench, names in gestures.items():
        for user, trial in JIGSAWS_TRIALS[bench]:
            stem = f"{bench}_{user}{trial:03d}"
            for camera in (1, 2):
                put(root / bench / "video" / f"{stem}_capture{camera}.avi")
            lines = [f"{30 + 60 * at} {30 + 60 * at + 59} {name} " for at, name in enumerate(names)]
            put(root / bench / "transcriptions" / f"{stem}.txt", "\n".join(lines) + "\n")
    put(root / "Suturing/transcriptions/Suturing_H002.txt")  # there, and empty


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


def autolaparo(root: Path) -> None:
    for number in range(1, 22):
        put(root / f"videos/{number:02d}.mp4")
        lines = [
            f"{second}\t{1 + (second - 1) // 3}" for second in range(1, 22)
        ]  # seven phases of three seconds, from 1
        put(root / f"labels/label_{number:02d}.txt", "\n".join(("Frame\tPhase", *lines)) + "\n")


def m2cai16_workflow(root: Path) -> None:
    for folder, stem, count in (("train_dataset", "workflow_video", 27), ("test_dataset", "test_workflow_video", 14)):
        for number in range(1, count + 1):
            put(root / folder / f"{stem}_{number:02d}.mp4")
            put(root / folder / f"{stem}_{number:02d}.txt", phase_lines(("TrocarPlacement", *PHASES), 50))
            put(root / folder / f"{stem}_{number:02d}_timestamp.txt", "00:00:00.00\tTrocarPlacement\n")


def cataract_101(root: Path) -> None:
    videos, annotations = ["VideoID;Frames;FPS;Surgeon;Experience"], ["VideoID;FrameNo;Phase"]
    for video in range(269, 269 + 101):
        put(root / f"videos/case_{video}.mp4")
        videos.append(f"{video};500;25;{1 + video % 4};1")
        annotations += [f"{video};{25 * (2 + 3 * at)};{phase}" for at, phase in enumerate((1, 2, 3, 2, 10, 10))]
    put(root / "videos.csv", "\n".join(videos) + "\n")
    put(root / "annotations.csv", "\n".join(annotations) + "\n")
    put(root / "phases.csv", "Phase;Meaning\n1;Incision\n")


def cataract_1k(root: Path) -> None:
    rows = (
        "Incision,240,408,4.004,6.807",
        "Viscoelastic,1043,1519,17.401,25.342",
        "Irrigation/Aspiration,1600,1700,26.0,29.5",
    )
    for case in range(5013, 5013 + 56):
        base = root / "Phase_recognition_dataset"
        put(base / f"videos/case_{case}.mp4")
        text = "\n".join(("caseId,comment,frame,endFrame,sec,endSec", *(f"{case},{row}" for row in rows)))
        put(base / f"annotations/case_{case}/case_{case}_annotations_phases.csv", text + "\n")
        put(base / f"annotations/case_{case}/case_{case}_video.csv", "caseId,width,height,frames,fps\n")


def cataract_21(root: Path) -> None:
    video = tiny_video(root / "training/case_01.mp4")  # 10 frames a second
    names = ("not_initialized", "Incision", "Phako", "Antibiotikum")
    for number in range(1, 22):
        folder = "training" if number <= 17 else "validation"
        path = root / folder / f"case_{number:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video)
        put(path.with_suffix(".csv"), "".join(f"{frame},{names[frame // 20]}\n" for frame in range(80)))


def tiny_video(path: Path) -> bytes:
    """A real video of 10 frames a second; its bytes."""
    from tests.data.conftest import write_video

    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, 0, width=32, height=32)
    return path.read_bytes()


LESIONS = {"Adenoma": 40, "Hyperplasic": 21, "Serrated": 15}


def colonoscopic(root: Path) -> None:
    for histology, count in LESIONS.items():
        for lesion in range(1, count + 1):
            for light in ("WL", "NBI"):
                put(root / histology / f"{histology.lower()}_{lesion:02d}" / "videos" / f"{light}.mp4")


def colonoscopic_as_listed(root: Path) -> None:
    """As SurgRec's lists name the files."""
    for histology, count in LESIONS.items():
        for lesion in range(1, count + 1):
            put(root / histology / f"WL({lesion}).mp4")
            put(root / histology / f"NBI ({lesion}).mp4")


ACTIONS = (
    "abdominal_access", "injection", "cutting", "blunt_dissection", "dissection_thermal", "irrigation", "coagulation", "suction",
    "needle_positioning", "needle_puncture", "knot_pushing", "knotting", "thread_cut", "sling-in", "endobag-in", "endobag-out",
)  # fmt: skip


def surgicalactions160(root: Path) -> None:
    for number, action in enumerate(ACTIONS, 1):
        for clip in range(1, 11):
            put(root / f"{number:02d}_{action}/{number:02d}_{clip:02d}.mp4")


def gyn_events(root: Path) -> None:
    for at, event in enumerate(("AbdominalAccess", "Bleeding", "Coag-Transection", "NeedlePassing")):
        for part in ("Train", "Test"):
            for case in range(101, 107):
                put(root / event / part / event / f"case_{case + at}_{event}_{case}.mp4")
            put(root / event / part / "Rest" / f"case_{101 + at}_irrelevant_4.mp4")


def sar_rarp50(root: Path) -> None:
    for number in range(1, 51):
        part = root / ("train1" if number <= 20 else "train2" if number <= 40 else "test")
        for piece in ("_1", "_2") if number in (15, 17) else ("",):  # two recordings of one operation
            folder = part / f"video_{number:02d}{piece}"
            put(folder / "video_left.avi")
            lines = [f"{frame:09d},{frame // 120}\n" for frame in range(0, 480, 6)]
            put(folder / "action_discrete.txt", "".join(lines))


def multibypass140(root: Path) -> None:
    phases = [
        {"start": 1000, "end": 9000, "label_name": "preparation", "label_id": 0},
        {"start": 3000, "end": 5000, "label_name": "out_of_body", "label_id": 12},
        {"start": 9000, "end": 15000, "label_name": "closure_petersen_space", "label_id": 6},
        {"start": 10000, "end": 11000, "label_name": "severe_index", "label_id": 13},
    ]
    steps = [{"start": 1000, "end": 15000, "label_name": "s28_petersen_space_closing", "label_id": 28}]
    for centre, prefix, folder in (("bern", "BBP", "BernBypass70"), ("strasbourg", "SBP", "StrasBypass70")):
        names = [f"{prefix}{number:02d}" for number in range(1, 71)]
        for name in names:
            put(root / f"wrapped/{folder}/videos/{name}.mp4")
            put(root / f"labels/{centre}/labels_by70/{name}.mp4.json", json.dumps({"phases": phases, "steps": steps}))
        splits = root / f"labels/{centre}/labels_by70_splits/labels"
        for fold in range(5):
            turned = names[14 * fold :] + names[: 14 * fold]
            parts = {"test/1fps": turned[:20], "val/1fps": turned[20:30], "train/1fps_100": turned[30:]}
            for part, listed in parts.items():
                frames = {name: [{"Frame_id": f"{name}_00000001", "Phase_gt": 0, "Step_gt": 0}] for name in listed}
                put(splits / f"{part}_{fold}.pickle")
                (splits / f"{part}_{fold}.pickle").write_bytes(pickle.dumps(frames))


def ldpolypvideo(root: Path) -> None:
    for number in range(1, 8):
        part = "TrainValid" if number <= 5 else "Test"
        for picture in range(1, 76):  # a second without, two with a polyp
            put(root / part / f"Images/{number}/{picture:04d}.jpg")
            text = "0\n" if picture <= 25 else "1\n10 20 30 40\n"
            put(root / part / f"Annotations/{number}/{picture:04d}.txt", text)
    for number in range(1, 6):
        put(root / f"videos without polyps/{number}.avi")


def kvasir_capsule(root: Path) -> None:
    video = tiny_video(root / f"labelled_videos/{0:016x}.mp4")  # 10 frames a second
    lines = ["filename;video_id;frame_number;finding_category;finding_class;x1;y1;x2;y2;x3;y3;x4;y4"]
    for number in range(10):
        code = f"{number:016x}"
        (root / f"labelled_videos/{code}.mp4").write_bytes(video)
        finding = ("Pylorus", "Foreign body", "Normal clean mucosa")[number % 3]
        frames = [*range(5, 20), *range(100, 130), 500]  # a stretch, a gap, a stretch; one frame alone is none
        lines += [f"{code}_{frame}.jpg;{code};{frame};Luminal;{finding};;;;;;;;" for frame in frames]
        lines.append(f"{code}_900.jpg;{code};900;Luminal;Ulcer;;;;;;;;")
    put(root / "metadata.csv", "\n".join(lines) + "\n")


def aixsuture(root: Path) -> None:
    lines = ["STUDENT,GROUP,TIME,VIDEO,INVESTIGATOR,OSATS_RESPECT,GLOBA_RATING_SCORE"]
    for student in range(157):
        for time, letter in (("PRE", "AC"[student // 100]), ("POST", "BD"[student // 100])):
            code = f"{letter}{student % 100:02d}X"
            put(root / f"Package 0{1 + student % 3}/{code}.mp4")
            score = 10 + 2 * (student % 8) + (4 if time == "POST" else 0)
            lines += [
                f"S{student},TUTOR-LED,{time},{code},{rater},3,{score + delta}"
                for rater, delta in (("A", -1), ("B", 1))
            ]
    put(root / "OSATS.csv", "\n".join(lines) + "\n")


def pitvis(root: Path) -> None:
    for number in range(1, 26):
        put(root / f"video_{number:02d}.mp4")
        if number != 19:  # as in the archive that is given out
            rows = [f"{number},{second},{(-1, 1, 2, 14)[second // 3]},0,-2" for second in range(12)]
            header = "int_video,int_time,int_step,int_instrument1,int_instrument2"
            put(root / f"annotations_{number:02d}.csv", "\n".join((header, *rows)) + "\n")
    put(root / "map_steps.csv", "int_step,str_step\n1,nasal corridor creation \n")


def cholect50(root: Path) -> None:
    from surgrec.evaluation.tasks.adapters.cholect50 import FOLDS

    nothing, grasp = [-1.0] * 14, [17, 0, 1, -1, -1, -1, -1, 2, 0, 1, -1, -1, -1, -1]
    for number in (number for fold in FOLDS for number in fold):
        put(root / f"CholecT50/videos/VID{number:02d}/000000.png")
        frames = {str(second): [[*(grasp if second % 2 else nothing), second // 2]] for second in range(14)}
        label = {
            "video": number,
            "fps": 1,
            "num_frames": 14,
            "categories": {"phase": {"0": "preparation"}},
            "annotations": frames,
        }
        put(root / f"CholecT50/labels/VID{number:02d}.json", json.dumps(label))


def grasp(root: Path) -> None:
    cases = {"train": (1, 2, 3, 4, 7, 14, 15, 21), "test": (41, 47, 50, 51, 53)}
    for part, numbers in cases.items():
        images, annotations = [], []
        for case in numbers:
            put(root / f"GraSP_1fps/frames/CASE{case:03d}/00000.jpg")
            for second in range(12):
                name = f"CASE{case:03d}"
                images.append(
                    {
                        "id": len(images) + 1,
                        "file_name": f"{name}/{second:05d}.jpg",
                        "video_name": name,
                        "frame_num": second,
                    }
                )
                annotations.append({"id": len(images), "image_id": len(images), "phases": second // 4, "steps": 0})
        content = {"images": images, "annotations": annotations, "phases_categories": [], "steps_categories": []}
        put(root / f"GraSP_1fps/annotations/grasp_long-term_{part}.json", json.dumps(content))
