"""Whether a mixture may be trained on: what is known of test material in it.

In: the manifests of a run, those that are held out, and the verdicts beside the former. Out: a `Standing`. It is its own file because it
is asked at the start of every run and must be quick: bytes and groups are compared anew, footage by the verdict of
`surgrec audit contamination`, as far as it is still about the videos that are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.corpus.contamination import TestSet, same_bytes, same_groups, test_rows
from surgrec.corpus.contamination_report import read_verdict, verdict_path
from surgrec.corpus.fingerprints import default_surveys
from surgrec.corpus.manifest import Manifest

_SHOWN = 5


class ContaminatedError(UserError):
    """A mixture that shows test material, or may show it."""


@dataclass(frozen=True)
class Standing:
    """`seen`: ids of videos that show test material, `tests`: what was compared with, by name, `missing`: what must be compared first."""

    seen: tuple[str, ...]
    tests: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For the card of a release and the console."""
        if self.seen:
            return f"{len(self.seen)} videos of the mixture show material of {', '.join(self.tests)}"
        if not self.tests:
            return "the mixture was not compared with any test set"
        return f"nothing of {', '.join(self.tests)} was found in the mixture"


def standing_of(manifests: Sequence[Path], held_out: Sequence[Path], splits: Sequence[str] = ("test",)) -> Standing:
    """Compare the bytes and groups of the mixture with those of the held-out test material, and read the verdicts on its footage."""
    seen: dict[str, None] = {}
    names: dict[str, None] = {}
    missing: list[str] = []
    tests = [_test_set(path, splits) for path in held_out]
    for path in manifests:
        kept = read_verdict(verdict_path(path)) if verdict_path(path).is_file() else None
        if not tests and kept is None:
            continue
        corpus = Manifest.read([path])
        found = [*same_bytes(corpus, tests), *same_groups(corpus, tests), *(kept.of(corpus) if kept else [])]
        seen |= dict.fromkeys(one.video_id for one in found)
        names |= dict.fromkeys([test.name for test in tests] + ([*kept.tests] if kept else []))
        digests = {str(digest) for digest in corpus.column("sha256")}
        covered = set(kept.tests.values()) if kept and digests <= kept.checked else set()
        lacking = [held for held, test in zip(held_out, tests, strict=True) if test.key not in covered]
        if lacking:
            missing.append(
                f"surgrec audit contamination --pretrain {path} --downstream {' '.join(map(str, held_out))} --out report.html"
            )
    return Standing(tuple(seen), tuple(names), tuple(missing))


def refuse_contaminated(standing: Standing) -> None:
    """Raise `ContaminatedError` for a mixture that shows test material, or that was not compared with what is held out."""
    advice = "allow_contamination=true trains all the same, and the release says so"
    if standing.seen:
        shown = ", ".join(standing.seen[:_SHOWN]) + (" ..." if len(standing.seen) > _SHOWN else "")
        raise ContaminatedError(
            f"{standing.sentence}: {shown}. `surgrec audit contamination ... --clean FILE` writes a manifest without them; {advice}"
        )
    if standing.missing:
        raise ContaminatedError(
            f"not all of the mixture was compared with all that is held out; run `{standing.missing[0]}` first, and leave out what its "
            f"report says cannot be decoded; {advice}"
        )


def _test_set(path: Path, splits: Sequence[str]) -> TestSet:
    manifest = Manifest.read([path])
    return TestSet(path.stem, manifest, default_surveys(path), test_rows(manifest, splits))
