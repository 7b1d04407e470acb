"""Lists of clips of the form that published benchmarks have, with their published faults, made up from numbers.

Each function gives the rows (path, label) of train, val and test. Names of videos, cases and lesions are invented; structure,
counts and faults are those that were reported of lists of this form.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Rows = list[tuple[str, int]]
Lists = dict[str, Rows]

PLACEHOLDER = "__DATA_ROOT__/"


def write_lists(folder: Path, lists: Lists, quoted: bool = False) -> list[str]:
    """Write SurgRec's form; returns the flags of `surgrec audit splits` that name the files."""
    flags = []
    for name, rows in lists.items():
        mark = '"' if quoted else ""
        lines = [f"{mark}{PLACEHOLDER}{path}{mark} {label}\n" for path, label in rows]
        (folder / f"{name}.csv").write_text("".join(lines), encoding="utf-8")
        flags += [f"--{name}", str(folder / f"{name}.csv")]
    return flags


def write_leaking_set(folder: Path, root: Path) -> None:
    """Lists whose validation set is the test set, with an empty file for every clip below `root`."""
    lists = clean(num_groups=12, clips_per_group=4)
    lists["val"] = list(lists["test"])
    folder.mkdir()
    write_lists(folder, lists)
    for path, _ in (row for rows in lists.values() for row in rows):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _lists(train: Rows, test: Rows, val: Rows | None = None) -> Lists:
    """With the test set as validation set unless `val` is given."""
    return {"train": train, "val": list(test) if val is None else val, "test": test}


def clean(num_groups: int = 60, clips_per_group: int = 12, num_classes: int = 4) -> Lists:
    """Faultless, and nothing in a path tells the label: cases 0..29 train, 30..44 validation, 45..59 test."""

    def rows(first: int, last: int) -> Rows:
        return [
            (f"set/case_{case:03d}_{clip:02d}.mp4", (case + clip) % num_classes)
            for case in range(first, last)
            for clip in range(clips_per_group)
        ]

    half, three_quarters = num_groups // 2, 3 * num_groups // 4
    return _lists(rows(0, half), rows(three_quarters, num_groups), rows(half, three_quarters))


# -- laparoscopy

_M2CAI16 = (
    "CalotTriangleDissection", "CleaningCoagulation", "ClippingCutting", "GallbladderDissection", "GallbladderPackaging",
    "GallbladderRetraction", "Phase", "Preparation", "TrocarPlacement"
)  # fmt: skip


def m2cai16() -> Lists:
    """A ninth class 'Phase', one clip a video; videos of train and test are both numbered from 1; validation is test."""

    def rows(name: str, num_videos: int, lacking: int) -> Rows:
        clips = [
            (f"M2CAI16-Workflow/split_video/{name}_video_{video:02d}_{phase}.mp4", label)
            for label, phase in enumerate(_M2CAI16)
            for video in range(1, num_videos + 1)
        ]
        is_optional = [path.endswith(("Coagulation.mp4", "Retraction.mp4")) for path, _ in clips]
        dropped = set(np.flatnonzero(is_optional)[:lacking])
        return [row for at, row in enumerate(clips) if at not in dropped]

    return _lists(rows("m2cai16w_workflow", 27, 2), rows("m2cai16w_test_dataset_test_workflow", 14, 1))


def cholec80() -> Lists:
    """Faultless but for the validation set: every phase once in nearly every video; nothing in a path tells the label."""

    def rows(first: int, last: int) -> Rows:
        return [
            (f"cholec80/split_video/cholec80_{v:02d}_{p + 1}.mp4", p)
            for v in range(first, last)
            for p in range(7)
            if (v + p) % 20
        ]

    return _lists(rows(1, 41), rows(41, 81))


_BYPASS = (
    "anastomosis_test", "cleaning_coagulation", "closure_mesenteric_defect", "closure_petersen_space", "disassembling",
    "gastric_pouch_creation", "gastrojejunal_anastomosis", "jejunal_separation", "jejunojejunal_anastomosis",
    "omentum_division", "other_intervention", "out_of_body", "preparation", "severe_index"
)  # fmt: skip


def multibypass140() -> Lists:
    """Second-largest class 'severe_index', smallest class 6 in train and 2 in test; no group in two splits."""

    def rows(first: int, last: int, num_rare: int) -> Rows:
        found = []
        for case in range(first, last):
            centre, name = ("bern", "BBP") if case % 4 else ("strasbourg", "SBP")
            phases = [*range(10), *range(11, 14), 11, 11, 11, 13, 13]
            if case - first < num_rare:
                phases.append(10)
            for at, label in enumerate(phases):
                clip = f"{name}{case:02d}_phase_{at:03d}_{_BYPASS[label]}_{at * 900:06d}-{at * 900 + 800:06d}.mp4"
                found.append((f"MultiBypass140/split_videos/{centre}/phase/{name}{case:02d}/{clip}", label))
        return found

    return _lists(rows(1, 58, 6), rows(69, 91, 2), rows(58, 69, 1))


def lapgyn() -> Lists:
    """Half of every class are clips of the folder Rest, with the label of the event; cases of train occur in test under other
    events; ids of Rest clips come again under other events, with other labels."""
    events = ("AbdominalAccess", "Bleeding", "Coag-Transection", "NeedlePassing")

    def rows(split: str, cases: dict[int, range]) -> Rows:
        found = []
        for label, event in enumerate(events):
            for case in cases[label]:
                for at in range(12):
                    folder = f"LapGyn_dataset/{event}/{split}"
                    found.append((f"{folder}/{event}/case_{case}_{event}_{at}.mp4", label))
                    found.append((f"{folder}/Rest/case_{case}_irrelevant_{at}.mp4", label))
        return found

    train = rows("Train", {0: range(20), 1: range(20, 40), 2: range(40, 60), 3: range(60, 80)})
    test = rows("Test", {0: range(100, 105), 1: range(18, 28), 2: range(110, 115), 3: range(105, 110)})
    return _lists(train, test)


def surgical_actions160() -> Lists:
    """16 classes of 10 clips: 7 for training, 2 for validation, 1 for testing; no name tells the recording."""
    actions = [f"{number:02d}_action-{chr(96 + number)}" for number in range(1, 17)]

    def rows(first: int, last: int) -> Rows:
        return [
            (f"SurgicalActions160/{action}/{action[:2]}_{clip:02d}.mp4", label)
            for label, action in enumerate(actions)
            for clip in range(first, last)
        ]

    return _lists(rows(1, 8), rows(10, 11), rows(8, 10))


# -- endoscopy

_KVASIR = (
    "lower-colitis", "upper-z-line", "upper-esophagitis", "lower-polyps", "upper-polyps", "lower-parasites", "upper-ulcer",
    "upper-cancer", "upper-pylorus"
)  # fmt: skip
_KVASIR_TEST_CLIPS = (165, 60, 60, 150, 62, 40, 70, 36, 11)  # 654


def _uuids(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [str(uuid.UUID(bytes=random.bytes(16), version=4)) for _ in range(count)]


def hyper_kvasir() -> Lists:
    """Chunks of a video fall on both sides: 640 of 654 test clips, 93 of 101 test videos; a class of 11 and 11 clips."""
    ids = _uuids(101, seed=1)
    alone, shared = ids[:8], ids[8:]
    videos_of = {label: shared[label::9] for label in range(9)}
    train: Rows = []
    test: Rows = []
    for label, num_clips in enumerate(_KVASIR_TEST_CLIPS):
        num_alone = 14 if label == 0 else 0
        for at in range(num_clips):
            video = alone[at % 8] if at < num_alone else videos_of[label][at % len(videos_of[label])]
            test.append((f"hyper-kvasir/videos/{_KVASIR[label]}/{video}_{2 * at}.avi", label))
            trained = videos_of[label][at % len(videos_of[label])]
            train.append((f"hyper-kvasir/videos/{_KVASIR[label]}/{trained}_{2 * at + 1}.avi", label))
    return _lists(train[:-1] if len(train) % 2 else train, test)


def kvasir_capsule() -> Lists:
    """Quoted paths with spaces; 81 of 82 test clips, 18 of 19 test videos are in train."""
    classes = ("Ileocecal valve", "blood-fresh", "foreign-body", "lymphangiectasia", "normal-clean-mucosa", "pylorus")
    random = np.random.default_rng(2)
    videos = [random.bytes(8).hex() for _ in range(19)]

    def path(video: str, label: int, at: int) -> tuple[str, int]:
        return f"kvasir-capsule/videos/{classes[label]}/{video}_{at * 100}-{at * 100 + 70}.mp4", label

    test = [path(videos[1 + at % 18], at % 6, 2 * at) for at in range(81)] + [path(videos[0], 4, 999)]
    train = [path(videos[1 + at % 18], at % 6, 2 * at + 1) for at in range(329)]
    return _lists(train, test)


def ldpolypvideo() -> Lists:
    """1,301 negatives of 60 videos, all of which are in train too; 139 positives, of other videos than in train."""

    def negatives(offset: int) -> Rows:
        return [
            (f"LDPolyVideo/videos/0_{1 + at % 60}_{20 * at + offset}_{20 * at + offset + 8}_no_polyps.mp4", 0)
            for at in range(1301)
        ]

    def positives(first: int) -> Rows:
        old = [
            (f"LDPolyVideo/videos/{first + at}_{9 * part}_{9 * part + 8}_polyps.mp4", 1)
            for at in range(50)
            for part in (0, 1)
        ]
        new = [(f"LDPolyVideo/videos/1_{first + at}_0_{80 + at}_polyps.mp4", 1) for at in range(39)]
        return old + new

    return _lists(negatives(0) + positives(1), negatives(10) + positives(80))


def colonoscopic() -> Lists:
    """A lesion is filmed in white light (WL) and narrow band (NBI) under one number: 12 of 15 test clips show a lesion of
    train. Numbers begin anew in each class."""
    counts = {"Adenoma": (8, 7), "Hyperplasic": (4, 3), "Serrated": (3, 2)}  # test clips, of which in train
    train: Rows = []
    val: Rows = []
    test: Rows = []
    for label, (kind, (num_test, num_shared)) in enumerate(counts.items()):
        folder = f"Colonoscopic-web/{kind}"
        first = 50 + 10 * label  # within test and val no number is used by two classes
        test += [(f"{folder}/WL({first + at}).mp4", label) for at in range(num_test)]
        train += [(f"{folder}/NBI({first + at}).mp4", label) for at in range(num_shared)]
        train += [(f"{folder}/{light}({number}).mp4", label) for number in range(1, 16) for light in ("WL", "NBI")]
        val += [(f"{folder}/{light}({20 + 5 * label + at}).mp4", label) for at in range(5) for light in ("WL", "NBI")]
    return _lists(train, test, val)


# -- cataract, robotic, open

_CATARACT21 = (
    "Antibiotikum", "Hydrodissektion", "Incision", "Irrigation-Aspiration", "Kapselpolishing", "Linsenimplantation",
    "Phako", "Rhexis", "Tonisieren", "Visco-Absaugung", "Viscoelasticum", "not_initialized"
)  # fmt: skip


def cataract21() -> Lists:
    """German names and 'not_initialized'; 4 test videos; validation is test."""

    def rows(first: int, last: int, split: str) -> Rows:
        return [
            (f"cat-21/split_clip/{name}/case_{case:02d}_{split}_{(label + 1) % 12:04d}.mp4", label)
            for label, name in enumerate(_CATARACT21)
            for case in range(first, last)
        ]

    return _lists(rows(1, 18, "training"), rows(18, 22, "validation"))


def jigsaws() -> Lists:
    """Names with dots: the id up to the first dot is shared by test clips of different gestures, three pairs. Trials are
    disjoint, but all 8 surgeons are on both sides."""
    gestures = ("G1", "G2", "G3", "G4", "G5", "G6", "G8", "G9", "G11", "G12", "G13", "G14", "G15")

    def rows(trials: range) -> Iterator[tuple[str, int]]:
        for surgeon in "BCDEFGHI":
            for trial in trials:
                for label, gesture in enumerate(gestures):
                    start = 5 * label
                    clip = f"Needle_Passing_{surgeon}{trial:03d}_capture2_{start}.{label}_{start + 4}.63_{gesture}.mp4"
                    yield f"JIGSAWS/{clip}", label

    test = list(rows(range(4, 6)))
    for label in (0, 1, 2):  # a short gesture that begins within the same second as another
        path, _ = test[label]
        test.append(
            (path.replace(f"_{gestures[label]}.", f"_{gestures[label + 5]}.").replace(f".{label}_", ".95_"), label + 5)
        )
    return _lists(list(rows(range(1, 4))), test)


def aixsuture() -> Lists:
    """Codes that name no student: nothing tells which two videos are of one person."""
    random = np.random.default_rng(3)
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    codes = sorted({f"{letters[a]}{b:02d}{letters[c]}" for a, b, c in random.integers(0, (24, 100, 24), (330, 3))})[
        :314
    ]
    shuffled = [str(code) for code in random.permutation(codes)]
    rows = [(f"AlxSuture/video_faststart/{code}.mp4", at % 3) for at, code in enumerate(shuffled)]
    return _lists(rows[:220], rows[268:], rows[220:268])


FORMS: dict[str, Callable[[], Lists]] = {
    form.__name__: form
    for form in (
        m2cai16, cholec80, multibypass140, lapgyn, surgical_actions160, hyper_kvasir, kvasir_capsule, ldpolypvideo, colonoscopic,
        cataract21, jigsaws, aixsuture,
    )
}  # fmt: skip
