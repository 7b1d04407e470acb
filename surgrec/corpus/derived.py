"""Files that were made from a video and show it: training copies, surveys, fingerprints.

In: a manifest's path and ids of videos. Out: the files beside it that show them. It is its own file because a video that was removed must
be found wherever commands of this package have left its pictures, also long after its row has gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from surgrec.corpus.fingerprints import default_surveys, survey_path


def derived_files(manifest: Path, video_ids: Iterable[str]) -> list[Path]:
    """Sorted. Beside a manifest of `surgrec prepare`: copies and their records. Beside any: surveys and, where there are some, the
    fingerprints of all videos together, which are made anew from the other surveys without decoding. Half-written files too."""
    folder, surveys = manifest.parent, default_surveys(manifest)
    found: set[Path] = set()
    for name in video_ids:
        survey = survey_path(surveys, name)
        found |= {*surveys.glob(survey.name), *surveys.glob(f".{survey.stem}.*.partial.npz")}
        if (folder / "prepared.json").is_file():
            for place in ("videos/*", "records/*"):
                found |= {*folder.glob(f"{place}/{name}.*"), *folder.glob(f"{place}/.{name}.*.partial.*")}
    if any(path.parent == surveys for path in found):
        found |= set(surveys.glob("fingerprints_*"))
    return sorted(found)
