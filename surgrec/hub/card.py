"""What a release says about itself to people: the model card.

In: the facts of a release. Out: `README.md` in Hugging Face's form (YAML front matter, then Markdown). It is its own file because it is
the one place that decides what of a hospital's run becomes public: sources by name, hours and clips, never a path or file name. What
nobody told us stays "unknown".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from surgrec import __version__
from surgrec.hub.card_footage import UNKNOWN, Footage, TrainingSource, contamination, training_data
from surgrec.hub.card_results import Result, evaluation, model_index
from surgrec.hub.initial import FAMILIES
from surgrec.hub.preprocess import ClipPreprocess

__all__ = ["UNKNOWN", "CardFacts", "TrainingSource", "family_began_with", "model_card", "without_paths"]

_RECIPES = {"mae": "masked autoencoding (VideoMAE family)", "jepa": "latent prediction (V-JEPA family)"}
_PRIVATE_KEYS = re.compile(r"(paths|logger|hydra)\..*|mix\.(manifests|embedded)|name")
# Families whose weights were published for non-commercial use.
_NON_COMMERCIAL = {
    "videomae": "CC BY-NC 4.0 (VideoMAE 1; that of version 2 is not verified)",
    "vjepa": "CC BY-NC 4.0 (V-JEPA 1)",
    "surgrec-mae": "CC BY-NC 4.0 (SurgRec-MAE)",
    "surgrec-jepa": "CC BY-NC 4.0 (SurgRec-JEPA)",
}
_LOOKS_LIKE_FILE = re.compile(
    r"[/\\~]|\.(parquet|ya?ml|json|csv|mp4|mkv|avi|mov|pth?|bin|ckpt|safetensors)\b", re.IGNORECASE
)
# The hub's own identifiers of licences; any other is written as `other` with a name.
# https://huggingface.co/docs/hub/repositories-licenses
_HUB_LICENCES = frozenset(
    re.findall(
        r"\S+",
        """
        apache-2.0 mit openrail bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
        cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
        cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 gpl-2.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 odbl
        unlicense other unknown
        """,
    )
)


@dataclass(frozen=True)
class CardFacts:
    """What the card is made of. `distance`: how the recipe departs from the variant, one line a value; `began_with`: the
    family of the weights that the run began with, None for random ones."""

    variant: str
    objective: str
    step: int
    num_parameters: int
    architecture: dict[str, object]
    preprocess: ClipPreprocess
    sources: tuple[TrainingSource, ...]
    distance: tuple[str, ...]
    licence: str = UNKNOWN
    began_with: str | None = None
    files: tuple[tuple[str, str], ...] = ()  # name and what it is
    footage: Footage = field(default_factory=Footage)
    results: tuple[Result, ...] = ()


def model_card(facts: CardFacts) -> str:
    """The text of `README.md`."""
    sections = [
        f"# {_title(facts)}",
        _what_it_is(facts),
        f"## Use\n\n{_USE}",
        f"## Input\n\n{_input(facts.preprocess)}",
        f"## Training data\n\n{training_data(facts.sources, facts.footage)}",
        f"## Test material\n\n{contamination(facts.footage)}",
        f"## Training\n\n{_training(facts)}",
        f"## Intended use and limits\n\n{_LIMITS}",
        f"## Evaluation\n\n{evaluation(facts.results)}",
        f"## Files\n\n{_files(facts)}",
    ]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n\n".join(sections) + "\n"


def without_paths(distance: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Lines `key old -> new` fit to be published: values that name a file or folder of the run's machine are left out.

    Of `init` the family stays, for the terms of those weights go with all that is trained from them.
    """
    return tuple(_without_path(line) for line in distance)


def _without_path(line: str) -> str:
    key, _, values = line.partition(" ")
    if key == "init":
        return _without_path_of_weights(values)
    if _PRIVATE_KEYS.fullmatch(key) or _LOOKS_LIKE_FILE.search(values):
        return f"{key} (changed; the value is local)"
    return line


def family_began_with(distance: list[str] | tuple[str, ...]) -> str | None:
    """The family of the weights that a run began with, by its lines `key old -> new`; None where no known one is named."""
    starts = [line.partition(" -> ")[2] for line in distance if line.startswith("init ")]
    return next((family for start in starts if (family := _family(start)) is not None), None)


def _without_path_of_weights(values: str) -> str:
    before, _, after = values.partition(" -> ")
    if _family(before) is None and _family(after) is None:
        return "init (changed; the value is local)"
    return f"init {_family(before)} -> {_family(after)} (path left out)"


def _family(init: str) -> str | None:
    """`FAMILY` of `FAMILY:PATH` where it is a known one; anything else may be private."""
    family = init.partition(":")[0]
    return family if family in FAMILIES else None


def _front_matter(facts: CardFacts) -> str:
    tags = ["surgery", "endoscopy", "video", "self-supervised-learning", "feature-extraction", facts.objective]
    front: dict[str, Any] = {
        **_licence(facts.licence),
        "library_name": "surgrec",
        "pipeline_tag": "feature-extraction",
        "tags": tags,
    }
    if facts.results:
        front["model-index"] = model_index(_title(facts), facts.results)
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _licence(licence: str) -> dict[str, str]:
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": "-".join(re.findall(r"[a-z0-9.]+", licence.lower())) or "other"}


def _title(facts: CardFacts) -> str:
    return f"SurgRec-{facts.variant.upper()}, step {facts.step}"


def _what_it_is(facts: CardFacts) -> str:
    shape = facts.architecture
    recipe = _RECIPES.get(facts.objective, facts.objective)
    return (
        f"A video encoder for surgical footage, pretrained without labels by {recipe} with surgrec {__version__}. "
        f"{facts.num_parameters / 1e6:.1f} million parameters: a vision transformer of width {shape['width']} and depth "
        f"{shape['depth']} over tubelets of {shape['tubelet']} frames by {shape['patch']} x {shape['patch']} pixels, "
        f"{shape['positions']} positions."
    )


_USE = """```python
import surgrec

encoder, preprocess = surgrec.load_model("path/to/this/folder")  # or "ORGANISATION/NAME@COMMIT" on the hub
tokens = encoder(preprocess(frames))  # frames uint8 T H W 3 RGB -> tokens 1 N D
```

Features of whole videos: `surgrec extract --model path/to/this/folder --videos VIDEOS --out FEATURES`."""


def _input(preprocess: ClipPreprocess) -> str:
    pixels = preprocess.pixels
    return (
        f"{preprocess.num_frames} RGB frames, {preprocess.frame_interval_seconds:g} seconds apart; short side "
        f"{pixels.short_side_pixels}, central {pixels.crop_pixels} x {pixels.crop_pixels} pixels; mean "
        f"{_numbers(pixels.mean)}, standard deviation {_numbers(pixels.std)} of values in [0, 1] "
        "(full range: 0 to 255 divided by 255, also of videos that are stored in limited range)."
    )


def _training(facts: CardFacts) -> str:
    head = f"Step {facts.step} of a run of the variant `{facts.variant}`"
    if not facts.distance:
        return f"{head}, with the recipe as published."
    lines = "\n".join(f"- `{line}`" for line in facts.distance)
    return f"{head}. Its distance from the variant:\n\n{lines}{_terms(facts.began_with)}"


def _terms(family: str | None) -> str:
    if family is None:
        return ""
    began = (
        f"\n\nTraining began with weights of the family `{family}`, and what is trained from weights keeps their terms."
    )
    if family not in _NON_COMMERCIAL:
        return f"{began} Licence of the starting weights: on the page that they came from."
    return f"{began} Licence of the starting weights: {_NON_COMMERCIAL[family]}: **no commercial use**, of these weights either."


_LIMITS = """Research: frozen features of surgical and endoscopic video, probing, fine-tuning.

**Not a medical device.** Not validated for diagnosis, for guidance during surgery, or for any decision about a patient. Its
features follow the footage it saw: other procedures, cameras and patients may be served worse, and by how much is unknown. An
encoder trained on few videos may have memorised them; whether patients can be recognised from its weights is unknown."""


def _files(facts: CardFacts) -> str:
    rows = "\n".join(f"- `{name}`: {what}" for name, what in facts.files)
    return (
        f"{rows}\n\n`SHA256SUMS` lists every file, and loading checks it (`sha256sum -c SHA256SUMS` does too). After filling in "
        "what is unknown above, renew its line of this card."
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
