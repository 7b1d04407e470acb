"""What the classes are called, and which names are no classes.

In: clips, perhaps a file of names. Out: a name for each label where one can be known, and questions about names: are two the
same, is one a table's heading. It is its own file because it is word lists and rules of spelling, nothing about splits.

A name read from paths could be a person's: where a folder holds all clips of one patient and they alone have some label, the
folder determines the label. So a name from paths counts as safe to show only if clips of several groups bear it, or if it is
one of the words listed here.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from surgrec.corpus.splits import Clip, is_number

# Headings of annotation tables, which a careless reader takes for the first annotation.
HEADINGS = frozenset(
    ("phase", "phases", "step", "steps", "label", "labels", "class", "classes", "category", "categories", "name", "names",
     "frame", "frames", "time", "timestamp", "timestamps", "id", "ids", "target", "targets", "gesture", "gestures", "action",
     "actions", "file", "filename", "path", "video", "annotation", "annotations", "start", "end", "begin", "stop", "duration",
     "comment")
)  # fmt: skip
# States of an annotation tool or of a table, and scores: nothing that is seen in a video.
NO_CLASSES = frozenset(
    ("not initialized", "uninitialized", "initialized", "unknown", "undefined", "undef", "unlabeled", "unlabelled",
     "not labeled", "not annotated", "unannotated", "unassigned", "unspecified", "null", "nan", "n a", "na", "tbd", "todo",
     "tmp", "temp", "dummy", "placeholder", "default", "severe index")
)  # fmt: skip
_SCORE_ENDINGS = ("index", "id", "idx", "number", "count", "score")  # "severity index" measures, it does not name

# Clips without the event: the same folder or word under several labels makes those labels mean two things.
NEGATIVES = frozenset(("rest", "irrelevant", "negative", "negatives", "background", "nonevent", "idle", "noevent"))

_SPELLINGS = {
    "pulishing": "polishing", "hyperplasic": "hyperplastic", "oesophagitis": "esophagitis", "oesophagus": "esophagus",
    "haemorrhage": "hemorrhage", "haemostasis": "hemostasis", "tumour": "tumor", "colour": "color", "labelled": "labeled",
    "ileocecal": "ileocaecal", "coag": "coagulation", "polyps": "polyp", "sutures": "suture", "suturing": "suture",
}  # fmt: skip
_SMALL_WORDS = frozenset(("and", "of", "the"))

# German names of cataract, laparoscopic and endoscopic phases, each with the English one; only words that are not English too.
_GERMAN = {
    "antibiotikum": "antibiotics", "hydrodissektion": "hydrodissection", "inzision": "incision", "schnitt": "incision",
    "kapselpolishing": "capsule polishing", "kapselpolieren": "capsule polishing", "kapsulorhexis": "capsulorhexis",
    "linsenimplantation": "lens implantation", "phako": "phacoemulsification", "phakoemulsifikation": "phacoemulsification",
    "tonisieren": "tonifying", "visco absaugung": "viscoelastic suction", "viskoabsaugung": "viscoelastic suction",
    "viscoelasticum": "viscoelastic", "viskoelastikum": "viscoelastic", "absaugung": "suction", "spülung": "irrigation",
    "naht": "suture", "präparation": "preparation", "blutung": "bleeding", "koagulation": "coagulation",
    "trokarplatzierung": "trocar placement", "dissektion": "dissection", "unbekannt": "unknown",
}  # fmt: skip


@dataclass(frozen=True)
class ClassNames:
    """`names` by label; `origin`: given, label (the labels are text), folder, file name, or none; `hidden`: labels whose name
    is known but must not be shown."""

    names: Mapping[str, str]
    origin: str
    hidden: frozenset[str] = field(default_factory=frozenset)

    def name_of(self, label: str) -> str | None:
        return self.names.get(label)

    def shown(self, label: str) -> str:
        """What a report calls the class."""
        name = self.names.get(label)
        if name is None or label in self.hidden:
            return f"class {label}"
        return name if name == label else f"{name} ({label})"


def name_classes(
    clips: Sequence[Clip],
    given: Mapping[str, str] | None,
    group_of: Callable[[Clip], str | None],
    show_names: bool = False,
) -> ClassNames:
    """Names of the labels of `clips`: those `given`, else the labels themselves where they are text, else from the paths: the
    folder that determines the label one to one, or the word in the file name that all clips of a label bear and no others."""
    labels = sorted({clip.label for clip in clips})
    if given is not None:
        return ClassNames({label: given[label] for label in labels if label in given}, "given")
    if not all(map(is_number, labels)):
        return ClassNames({label: label for label in labels}, "label")
    names, origin = _names_of_folders(clips), "folder"
    if not names:
        names, origin = _names_in_files(clips), "file name"
    if not names:
        return ClassNames({}, "none")
    hidden = frozenset() if show_names else _unsafe(names, clips, group_of)
    return ClassNames(names, origin, hidden)


# -- questions about a name


def words_of(name: str) -> str:
    """Lower-case words of a name, spelled one way: 'CalotTriangle_Dissection' is 'calot triangle dissection'."""
    apart = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", name)
    words = [_SPELLINGS.get(word, word) for word in re.findall(r"[^\W_]+", apart.casefold())]
    kept = [word for word in words if word not in _SMALL_WORDS] or words
    return " ".join(kept[:-1] if len(kept) > 1 and kept[-1] == "phase" else kept)


def is_heading(name: str) -> bool:
    """Whether a name is the heading of a column."""
    return name.strip().casefold() in HEADINGS


def is_no_class(name: str) -> bool:
    """Whether a name is a state of the annotation or a score, not something that is seen."""
    words = words_of(name)
    return words in NO_CLASSES or (" " in words and words.rpartition(" ")[2] in _SCORE_ENDINGS)


def is_german(name: str) -> bool:
    return words_of(name) in _GERMAN


def meaning(name: str) -> str:
    """Equal for names that say the same: case, punctuation, known spelling and the listed German names set aside."""
    words = words_of(name)
    return _GERMAN.get(words, words).replace(" ", "")


def negative_word(path: str) -> str | None:
    """The folder or word of the file name that says that the event is absent; None where there is none."""
    folder, name = posixpath.split(path)
    words = (*folder.split("/"), *re.findall(r"[A-Za-z]+", posixpath.splitext(name)[0]))
    return next((word.casefold() for word in words if word.casefold() in NEGATIVES), None)


# -- names from paths


def _names_of_folders(clips: Sequence[Clip]) -> dict[str, str]:
    """The folder, nearest to the file, that determines the label and is determined by it; empty where there is none."""
    parents = [clip.path.split("/")[:-1] for clip in clips]
    for depth in range(1, min(map(len, parents), default=0) + 1):
        pairs = {(clip.label, folders[-depth]) for clip, folders in zip(clips, parents, strict=True)}
        num_labels, num_folders = len({label for label, _ in pairs}), len({folder for _, folder in pairs})
        if len(pairs) == num_labels == num_folders > 1:
            return {label: _without_number(folder) for label, folder in sorted(pairs)}
    return {}


def _names_in_files(clips: Sequence[Clip]) -> dict[str, str]:
    """For each label of at least two clips the longest word that all of them bear and no clip of another label."""
    of_label: dict[str, list[frozenset[str]]] = defaultdict(list)
    for clip in clips:
        of_label[clip.label].append(_words_in(clip.path))
    if len(of_label) < 2:
        return {}
    bearers: dict[str, set[str]] = defaultdict(set)
    for label, sets in of_label.items():
        for word in frozenset[str]().union(*sets):
            bearers[word].add(label)
    names = {}
    for label, sets in of_label.items():
        own = [word for word in frozenset.intersection(*sets) if bearers[word] == {label}]
        if len(sets) > 1 and own:
            names[label] = min(own, key=lambda word: (-len(word), word))
    return names


def _words_in(path: str) -> frozenset[str]:
    """Runs of letters joined by `_`, `-` or a space ('severe_index'), and codes such as 'G12'."""
    stem = posixpath.splitext(posixpath.basename(path))[0]
    codes: Iterable[str] = (part for part in re.split(r"[_ ]", stem) if re.fullmatch(r"[A-Za-z]+\d+", part))
    return frozenset((*re.findall(r"[^\W\d_]+(?:[ _-][^\W\d_]+)*", stem), *codes))


def _without_number(folder: str) -> str:
    return re.sub(r"^\d+[ _.-]+(?=\D)", "", folder)


def _unsafe(names: Mapping[str, str], clips: Sequence[Clip], group_of: Callable[[Clip], str | None]) -> frozenset[str]:
    """Labels whose name is in the paths of one group only, or of nobody knows how many, and is not in the lists."""
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if (group := group_of(clip)) is not None:
            groups[clip.label].add(group)
    is_listed = {label: is_heading(name) or is_no_class(name) or is_german(name) for label, name in names.items()}
    return frozenset(label for label in names if len(groups[label]) < 2 and not is_listed[label])
