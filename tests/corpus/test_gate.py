"""What training makes of verdicts: known test material is refused however the manifest came about, and nothing unknown is called clean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import ContaminationAudit, Evidence, read_test_set, same_bytes, same_groups
from surgrec.corpus.gate import ContaminatedError, Standing, refuse_contaminated, standing_of
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.verdict import carry, keep, read_known, verdict_path
from surgrec.video.errors import VideoError
from tests.corpus.test_contamination import manifest_of, row

CARDS = {"Cholec80": Card("Cholec80", "laparoscopy")}
SHOWS = {("ours-2", "theirs-0"): ((3.0, 9.0), (0.0, 6.0))}  # footage of the corpus that is footage of a test


def audited(
    corpus: Path,
    tests: Sequence[Path],
    splits: Sequence[str] = ("test",),
    unseen: Sequence[str] = (),
    shows: Any = None,
) -> ContaminationAudit:
    """An audit as if the footage had been compared: what `shows` says is found, if it is in both."""
    manifest, sets = Manifest.read([corpus]), [read_test_set(path, splits) for path in tests]
    found = [*same_bytes(manifest, sets), *same_groups(manifest, sets)]
    for test in sets:
        theirs = {str(test.manifest.video_ids[at]) for at in test.rows}
        found += [
            Evidence("footage", ours, seconds, test.name, name, test_seconds)
            for (ours, name), (seconds, test_seconds) in (SHOWS if shows is None else shows).items()
            if ours in manifest.video_ids and name in theirs
        ]
    audit = ContaminationAudit(
        tuple(found),
        (),
        len(manifest),
        {test.name: len(test.rows) for test in sets},
        {name: VideoError("corrupt") for name in unseen},
    )
    keep(audit, manifest, sets, CARDS, verdict_path(corpus))
    return audit


def corpus_of(folder: Path, names: Sequence[str] = ("ours-0", "ours-1", "ours-2"), name: str = "corpus") -> Path:
    return manifest_of(folder, name, [row(video, 12) for video in names])


def held_of(folder: Path, name: str = "tests", first: int = 0, split: str | None = "test") -> Path:
    rows = [row(f"theirs-{first + at}", 8, "theirs", split=split) for at in range(2)]
    return manifest_of(folder, name, rows)


def refused(standing: Standing) -> str:
    with pytest.raises(ContaminatedError) as error:
        refuse_contaminated(standing)
    return str(error.value)


def test_what_was_found_is_refused_by_name(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    for held in ([tests], []):  # the verdict beside the manifest is enough
        standing = standing_of([corpus], held)
        assert standing.seen == ("ours-2",)
        assert standing.sentence.startswith("the mixture shows material of test set ")
        assert all(words in refused(standing) for words in ("ours-2", "--clean", "allow_contamination=true"))


def test_bytes_and_groups_of_what_is_held_out_need_no_audit(tmp_path):
    corpus = manifest_of(tmp_path, "corpus", [row("ours-0", 9, sha="A"), row("ours-1", 9, group="patient-9")])
    tests = manifest_of(tmp_path, "tests", [row("t-0", 9, "theirs", sha="A"), row("t-1", 9, "ours", group="patient-9")])
    assert standing_of([corpus], [tests]).seen == ("ours-0", "ours-1")
    assert standing_of([corpus], []).seen == ()


def test_what_is_not_used_is_no_contamination(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    pieces = [{"start_seconds": 0.0, "end_seconds": 2.0}, {"start_seconds": 10.5, "end_seconds": 12.0}]
    for usable in (pieces, []):
        cut = manifest_of(tmp_path, "cut", [row("ours-0", 12), {**row("ours-2", 12), "usable": usable}])
        refuse_contaminated(standing_of([cut], [tests]))


# -- what audits said is not forgotten


def test_a_second_audit_adds_to_the_first(tmp_path):
    corpus, tests, others = corpus_of(tmp_path), held_of(tmp_path), held_of(tmp_path, "others", first=5)
    audited(corpus, [tests])
    audited(corpus, [others])
    standing = standing_of([corpus], [])
    assert standing.seen == ("ours-2",)
    assert "shows material of test set" in standing.sentence
    assert "; nothing of test set" in standing.sentence


def test_audits_of_one_test_set_each_are_enough(tmp_path):
    corpus, tests, others = corpus_of(tmp_path, ("ours-0",)), held_of(tmp_path), held_of(tmp_path, "others", first=5)
    audited(corpus, [tests])
    assert standing_of([corpus], [tests, others]).missing
    audited(corpus, [others])
    refuse_contaminated(standing_of([corpus], [tests, others]))


def test_a_later_audit_of_the_same_videos_holds(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    audited(corpus, [tests], shows={})
    refuse_contaminated(standing_of([corpus], [tests]))
    audited(corpus, [tests])
    audited(corpus, [tests], unseen=["ours-2"], shows={})  # it could not be looked at again
    assert standing_of([corpus], [tests]).seen == ("ours-2",)
    assert len(read_known(verdict_path(corpus)).comparisons) == 1


def test_audits_that_say_the_same_do_not_make_the_verdict_grow(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    before = verdict_path(corpus).read_bytes()
    audited(corpus, [tests])
    assert verdict_path(corpus).read_bytes() == before


# -- videos are known by their bytes


def test_a_video_under_another_name_is_still_the_same(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    renamed = row("else_9", 12, "else", sha="bytes of ours-2")
    manifest_of(tmp_path, "corpus", [row("ours-0", 12), renamed])
    for held in ([tests], []):
        assert standing_of([corpus], held).seen == ("else_9",)


def prepared(folder: Path, names: Sequence[str]) -> Path:
    (folder / "prepared").mkdir()
    rows = [{**row(name, 12.04, sha=f"copy of {name}"), "original_sha256": f"bytes of {name}"} for name in names]
    return manifest_of(folder / "prepared", "manifest", rows)


def test_copies_are_what_their_originals_are(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    copies = prepared(tmp_path, ("ours-0", "ours-2"))
    assert standing_of([copies], []).sentence == "the mixture was not compared with any test set"
    carry([corpus], copies)
    assert standing_of([copies], []).seen == standing_of([copies], [tests]).seen == ("ours-2",)
    assert standing_of([copies], [tests]).missing == ()


def test_originals_are_what_their_copies_are(tmp_path):
    tests, copies = held_of(tmp_path), prepared(tmp_path, ("ours-0", "ours-2"))
    audited(copies, [tests])
    corpus = corpus_of(tmp_path / "prepared", ("ours-2",))
    assert standing_of([corpus], []).seen == ("ours-2",)


def test_what_is_carried_never_replaces_what_is_there(tmp_path):
    corpus, tests, copies = corpus_of(tmp_path), held_of(tmp_path), prepared(tmp_path, ("ours-0", "ours-2"))
    audited(copies, [tests])
    audited(corpus, [tests], shows={})
    carry([corpus], copies)
    assert standing_of([copies], []).seen == ("ours-2",)


def test_a_plain_copy_beside_it_is_known(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    copy = Path(shutil.copy(corpus, tmp_path / "copy.parquet"))
    assert standing_of([copy], []).seen == ("ours-2",)


# -- nothing unknown is called clean


def test_what_was_compared_with_nothing_is_told(tmp_path):
    standing = standing_of([corpus_of(tmp_path)], [])
    refuse_contaminated(standing)  # nothing held out, nothing known
    assert standing.sentence == "the mixture was not compared with any test set"


def test_what_is_held_out_and_was_never_compared_is_told_and_refused(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    standing = standing_of([corpus], [tests])
    assert standing.sentence.startswith("the footage of the mixture was not compared with test set")
    assert f"surgrec audit contamination --pretrain {corpus} --downstream {tests} --out" in refused(standing)


def test_a_manifest_of_the_mixture_that_was_not_compared_is_told(tmp_path):
    corpus, tests = corpus_of(tmp_path, ("ours-0",)), held_of(tmp_path)
    audited(corpus, [tests])
    other = corpus_of(tmp_path, ("new-0", "new-1"), "other")
    standing = standing_of([corpus, other], [])
    refuse_contaminated(standing)
    assert "2 of 3 videos of the mixture were not wholly compared with test set" in standing.sentence
    assert "nothing of" not in standing.sentence
    assert f"--pretrain {other} " in refused(standing_of([corpus, other], [tests]))


def test_a_video_added_after_the_audit_is_told(tmp_path):
    corpus, tests = corpus_of(tmp_path, ("ours-0",)), held_of(tmp_path)
    audited(corpus, [tests])
    corpus_of(tmp_path, ("ours-0", "ours-1"))
    assert "1 of 2 videos of the mixture were not wholly compared" in standing_of([corpus], []).sentence
    assert standing_of([corpus], [tests]).missing


def test_a_video_that_was_listed_as_shorter_was_not_wholly_compared(tmp_path):
    corpus, tests = manifest_of(tmp_path, "corpus", [row("ours-0", 3), row("ours-1", 12)]), held_of(tmp_path)
    audited(corpus, [tests])
    corpus_of(tmp_path, ("ours-0", "ours-1"))
    assert "1 of 2 videos of the mixture were not wholly compared" in standing_of([corpus], []).sentence


@pytest.mark.parametrize("unseen", ["ours-0", "theirs-1"])
def test_what_could_not_be_decoded_was_not_compared(tmp_path, unseen):
    corpus, tests = corpus_of(tmp_path, ("ours-0", "ours-1")), held_of(tmp_path)
    audited(corpus, [tests], unseen=[unseen])
    standing = standing_of([corpus], [tests])
    assert "not wholly compared with" in standing.sentence
    assert "nothing of" not in standing.sentence
    assert "cannot be decoded" in refused(standing)
    audited(corpus, [tests])
    refuse_contaminated(standing_of([corpus], [tests]))


def test_a_video_of_which_nothing_is_used_need_not_be_compared(tmp_path):
    corpus, tests = corpus_of(tmp_path, ("ours-0", "ours-1")), held_of(tmp_path)
    audited(corpus, [tests], unseen=["ours-1"])
    manifest_of(tmp_path, "corpus", [row("ours-0", 12), {**row("ours-1", 12), "usable": []}])
    refuse_contaminated(standing_of([corpus], [tests]))


def test_that_contamination_was_allowed_is_told(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    standing = replace(standing_of([corpus], [tests]), is_allowed=True)
    assert standing.sentence.endswith("; allow_contamination was set")


# -- splits


def test_an_audit_of_more_splits_covers_each(tmp_path):
    corpus = corpus_of(tmp_path, ("ours-0",))
    rows = [row("t-0", 8, "theirs", split="test"), row("t-1", 8, "theirs", split="val")]
    tests = manifest_of(tmp_path, "tests", rows)
    audited(corpus, [tests], ["test", "val"])
    for splits in (["test"], ["val"], ["val", "test"]):
        refuse_contaminated(standing_of([corpus], [tests], splits))


def test_an_audit_of_another_split_says_nothing_of_the_test(tmp_path):
    corpus = corpus_of(tmp_path, ("ours-0",))
    rows = [row("t-0", 8, "theirs", split="test"), row("t-1", 8, "theirs", split="val")]
    tests = manifest_of(tmp_path, "tests", rows)
    audited(corpus, [tests], ["val"])
    assert " --splits " not in refused(standing_of([corpus], [tests]))
    refuse_contaminated(standing_of([corpus], [tests], ["val"]))
    assert " --splits val test --out" in refused(standing_of([corpus], [tests], ["val", "test"]))


def test_a_held_out_manifest_without_test_material_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tests\.parquet has no videos of the splits test; .*mix\.held_out_splits"):
        standing_of([corpus_of(tmp_path)], [held_of(tmp_path, split="train")])


# -- labels


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        (("cholec-80", "cholec-80"), "(2 videos, Cholec80)"),
        (("cholec-80", "clinic_x"), "(2 videos, Cholec80, others)"),
        (("clinic_x", "clinic_y"), "(2 videos)"),
    ],
)
def test_a_label_names_what_is_public_and_nothing_else(tmp_path, sources, told):
    corpus = corpus_of(tmp_path, ("ours-0",))
    rows = [row(f"t-{at}", 8, source) for at, source in enumerate(sources)]
    audited(corpus, [manifest_of(tmp_path, "Jane_Doe", rows)])
    sentence = standing_of([corpus], []).sentence
    assert told in sentence
    assert not any(name in sentence for name in ("Jane", "clinic"))


def test_what_is_no_verdict_is_told(tmp_path):
    corpus, tests = corpus_of(tmp_path), held_of(tmp_path)
    audited(corpus, [tests])
    whole = json.loads(verdict_path(corpus).read_text())
    for broken in ("{}", "[]", "no", json.dumps(whole | {"schema_version": 1}), json.dumps(whole | {"findings": [{}]})):
        verdict_path(corpus).write_text(broken)
        with pytest.raises(UserError, match="is no verdict of this version"):
            standing_of([corpus], [])
