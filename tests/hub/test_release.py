"""What is written is what was trained, the same bytes every time, and nothing that should stay private."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from surgrec.core.errors import UserError
from surgrec.corpus.downstream import Downstream
from surgrec.hub.card import family_began_with, without_paths
from surgrec.hub.card_footage import Footage, SeenVideo
from surgrec.hub.card_results import Result, read_results
from surgrec.hub.folder import verify
from surgrec.hub.head import head_of
from surgrec.hub.initial import FAMILIES
from surgrec.hub.release import write_release
from surgrec.models.decoder import Decoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.optim.schedules import Schedule
from tests.hub.build import MEAN, PREPROCESS, STD, small_release, written

FILES = {"encoder.safetensors", "config.json", "preprocessing.json", "README.md", "CITATION.cff", "SHA256SUMS"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("variant", "head"), [("mae", "decoder"), ("jepa", "predictor")])
def test_a_release_has_its_files_and_no_others(tmp_path: Path, variant: str, head: str) -> None:
    folder = written(tmp_path / "release", variant)
    assert set(contents(folder)) == FILES | {f"{head}.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["release"], "nothing temporary is left"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_weights_are_float32_with_the_metadata_that_readers_expect(tmp_path: Path) -> None:
    release = small_release("mae")
    release.encoder.bfloat16()
    write_release(release, tmp_path / "release")
    with safe_open(tmp_path / "release" / "encoder.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118


@pytest.mark.parametrize(("variant", "kind"), [("mae", Decoder), ("jepa", Predictor), ("dense jepa", Predictor)])
def test_the_head_can_be_built_again(tmp_path: Path, variant: str, kind: Any) -> None:
    release = small_release(variant)
    write_release(release, tmp_path / "release")
    assert release.head is not None
    name = release.head.kind
    arguments = json.loads((tmp_path / "release" / "config.json").read_text())[name]
    head = kind(**arguments)
    head.load_state_dict(load_file(tmp_path / "release" / f"{name}.safetensors"), strict=True)
    expected = release.head.module.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in head.state_dict().items())
    for name in ("positions", "rope_style", "rope_grid"):  # what the weights' shapes do not tell
        assert getattr(head, name, None) == getattr(release.head.module, name, None), name


def test_the_arguments_of_a_head_say_its_positions() -> None:
    encoder = small_release("jepa").encoder
    decoder = Decoder(encoder_width=48, width=24, depth=1, num_heads=2, patch=8, positions="sincos_3d")
    predictor = Predictor(encoder_width=48, width=24, depth=1, num_heads=2, positions="sincos_3d")
    for objective in (MAE(encoder, decoder, MEAN, STD), JEPA(encoder, predictor, Schedule(0.99, 10))):
        assert head_of(objective).arguments["positions"] == "sincos_3d"


def test_jepa_releases_the_average_not_the_online_encoder(tmp_path: Path) -> None:
    release = small_release("jepa")
    assert all(not parameter.requires_grad for parameter in release.encoder.parameters())


def test_the_same_release_is_the_same_bytes_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert write_release(small_release(), tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not write_release(small_release(), tmp_path / "one")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "release")
    before = contents(folder)
    with pytest.raises(UserError, match=r"holds another release .*config\.json"):
        write_release(small_release(step=301), folder)
    assert contents(folder) == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    with pytest.raises(UserError, match="is no release"):
        write_release(small_release(), tmp_path / "notes")
    (tmp_path / "empty").mkdir()
    assert write_release(small_release(), tmp_path / "empty")


def test_a_damaged_copy_of_the_same_release_is_not_called_done(tmp_path: Path) -> None:
    folder = written(tmp_path / "release")
    (folder / "README.md").write_text("other")
    with pytest.raises(UserError, match=r"README\.md"):
        write_release(small_release(), folder)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    release = small_release()
    with torch.no_grad():
        next(release.encoder.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        write_release(release, tmp_path / "release")
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_the_training_data_and_says_what_is_unknown(tmp_path: Path) -> None:
    card = (written(tmp_path / "release") / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    front_matter = yaml.safe_load(front)
    assert front_matter["library_name"] == "surgrec" and front_matter["license"] == "unknown"
    assert "surgery" in front_matter["tags"]
    assert "| cholec | 12.50 | 75.0% | 3,000 | CC BY 4.0 |" in body
    assert "| eye\\|two | 0.50 | 25.0% | 1,000 | unknown |" in body
    assert "optim.lr 0.000525 -> 0.0001" in body
    assert "Not a medical device" in body
    assert "4 RGB frames, 0.2 seconds apart" in body


def test_nothing_of_the_machine_or_the_originals_is_in_a_release(tmp_path: Path) -> None:
    secret = "Muster_Erika"
    distance = (
        f"mix.manifests [] -> ['store/{secret} 1970/case.parquet']",
        f"init None -> vjepa2:{secret}.pt",
        f"paths.runs runs -> {secret}",
        f"backbone.size base -> ~{secret}",
        "optim.lr 0.1 -> 0.2",
    )
    folder = written(tmp_path / "release", distance=distance)
    for name, content in contents(folder).items():
        assert secret.encode() not in content and str(tmp_path).encode() not in content, name
    assert "optim.lr 0.1 -> 0.2" in (folder / "README.md").read_text()
    assert "mix.manifests (changed; the value is local)" in (folder / "README.md").read_text()


def test_of_the_starting_weights_the_family_stays_and_the_path_goes() -> None:
    """The terms of those weights go with all that is trained from them; the path is of this machine."""
    secret = "~/Muster_Erika 1970"
    lines = tuple(f"init None -> {family}:{secret}/w.pth@take:encoder" for family in FAMILIES)
    assert without_paths(lines) == tuple(f"init None -> {family} (path left out)" for family in FAMILIES)
    changed = (f"init surgrec:{secret} -> vjepa2.1:{secret}", f"init vit:{secret} -> None", f"init None -> {secret}:x")
    assert without_paths(changed) == (
        "init surgrec -> vjepa2.1 (path left out)",
        "init vit -> None (path left out)",
        "init (changed; the value is local)",
    )
    assert [family_began_with((line,)) for line in changed] == ["vjepa2.1", None, None]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_card_says_under_which_licence_the_starting_weights_are(tmp_path: Path, family: str) -> None:
    """Those that docs/foreign_weights.md lists as CC BY-NC."""
    card = (written(tmp_path / "release", distance=(f"init None -> {family}:w.pth",)) / "README.md").read_text()
    assert f"Training began with weights of the family `{family}`" in card and "w.pth" not in card
    not_for_sale = family in ("videomae", "vjepa", "surgrec-mae", "surgrec-jepa")
    assert ("Licence of the starting weights: CC BY-NC 4.0" in card) == not_for_sale
    assert ("no commercial use" in card) == not_for_sale
    assert ("Licence of the starting weights: on the page that they came from." in card) != not_for_sale


def test_a_run_that_began_at_random_says_nothing_of_starting_weights(tmp_path: Path) -> None:
    assert "starting weights" not in (written(tmp_path / "release") / "README.md").read_text()


def test_ordinary_values_are_published() -> None:
    lines = ("backbone.size large -> nano", "augment.scale (0.3, 1.0) -> (0.5, 1.0)", "optim.clip_norm None -> 0.02")
    assert without_paths(lines) == lines


def test_preprocessing_says_what_a_reader_without_surgrec_needs(tmp_path: Path) -> None:
    content = json.loads((written(tmp_path / "release") / "preprocessing.json").read_text())
    assert content == {
        "num_frames": 4,
        "frame_interval_seconds": 0.2,
        "colour": "RGB",
        "colour_range": "full",
        "short_side_pixels": 40,
        "crop_pixels": 32,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
    }
    assert PREPROCESS.window_seconds == pytest.approx(0.8)


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n", 2)[1])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("cc-by-4.0", {"license": "cc-by-4.0"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Hospital X, research only", {"license": "other", "license_name": "hospital-x-research-only"}),
    ],
)
def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path, licence: str, expected: dict[str, str]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    results = (
        Result("phase recognition", "Cholec80: test", "macro F1", 0.61, 0.58, 0.64, "linear probe"),
        Result("tool presence", "Cholec80: test", "mAP", 0.5),
    )
    folder = written(tmp_path / "release", licence=licence, results=results)
    text = (folder / "README.md").read_text()
    front = front_matter(text)
    assert {key: front.get(key) for key in ("license", "license_name")} == {"license_name": None} | expected
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.library_name == "surgrec" and card.data.pipeline_tag == "feature-extraction"
    read = {(one.dataset_name, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert read == {("Cholec80: test", "macro F1"): 0.61, ("Cholec80: test", "mAP"): 0.5}
    assert "| phase recognition | Cholec80: test | macro F1 | 0.61 (0.58 to 0.64) | linear probe |" in text


def test_without_results_the_card_says_so(tmp_path: Path) -> None:
    text = (written(tmp_path / "release") / "README.md").read_text()
    assert "none were recorded with this release" in text and "model-index" not in front_matter(text)


def test_results_are_read_or_refused_by_entry(tmp_path: Path) -> None:
    whole = {"task": "phase", "data": "a", "metric": "F1", "value": 0.5}
    (tmp_path / "r.json").write_text(json.dumps([whole, whole | {"low": 0.4, "high": 0.6, "note": "x"}]))
    assert read_results(tmp_path / "r.json")[1] == Result("phase", "a", "F1", 0.5, 0.4, 0.6, "x")
    for entry, sentence in (
        ({"task": "phase"}, "entry 0 .* lacks data, metric, value"),
        (whole | {"file": "x"}, "entry 0 .* has the unknown file"),
        (whole | {"value": "high"}, "value 'high', which is no number"),
        (whole | {"value": float("nan")}, "which is no number"),
        (whole | {"task": 3}, "task 3, which is no text"),
    ):
        (tmp_path / "r.json").write_text(json.dumps([entry]))
        with pytest.raises(UserError, match=sentence):
            read_results(tmp_path / "r.json")
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(UserError, match="no list of objects"):
        read_results(tmp_path / "r.json")


def test_the_card_has_a_line_for_every_downstream_set_and_says_whether_contamination_was_allowed(
    tmp_path: Path,
) -> None:
    sets = (Downstream("cholec80", "found", "2 videos"), Downstream("glenda", "not compared", ""))
    for is_allowed, sentence in (
        (True, "**`allow_contamination` was set"),
        (False, "`allow_contamination` was not set"),
        (None, "(`allow_contamination`): unknown"),
    ):
        footage = Footage(standings=("at first", "then"), is_allowed=is_allowed, downstream=sets)
        folder = written(tmp_path / str(is_allowed), footage=footage)
        card, config = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
        assert sentence in card and "as known in training: at first; later: then." in card
        assert "| cholec80 | found | 2 videos |" in card and "| glenda | not compared |  |" in card
        assert config["allow_contamination"] is is_allowed
        assert [(each["name"], each["status"]) for each in config["downstream"]] == [
            ("cholec80", "found"), ("glenda", "not compared")
        ]  # fmt: skip


def test_the_videos_seen_are_listed_where_they_are_known(tmp_path: Path) -> None:
    seen = (SeenVideo("a_1", "cholec", 0), SeenVideo("b_2", 'eye "two", left', 7))
    folder = written(tmp_path / "release", footage=Footage(seen=seen, is_whole=False))
    with (folder / "videos_seen.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("a_1", "cholec", "0"), ("b_2", 'eye "two", left', "7")
        ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert (
        "lists the 2 videos that it has seen" in card and "starting weights had seen before is not in that list" in card
    )
    verify(folder)
    unknown = written(tmp_path / "unknown")
    assert not (unknown / "videos_seen.csv").exists()
    assert "Ids of the videos that it has seen: unknown" in (unknown / "README.md").read_text()


def test_the_citation_is_whole(tmp_path: Path) -> None:
    """What the schema of the format demands: https://github.com/citation-file-format/citation-file-format, 1.2.0."""
    citation = yaml.safe_load((written(tmp_path / "release") / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation.keys() <= {"cff-version", "message", "title", "type", "authors", "references"}
    assert citation["cff-version"] == "1.2.0" and citation["authors"] == [{"name": "unknown"}]
    assert citation["type"] in ("dataset", "software")
    assert {reference["type"] for reference in citation["references"]} == {"software", "article"}
    allowed = {"type", "title", "version", "authors", "year", "url", "identifiers"}
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= reference.keys() <= allowed
        assert all(author["name"] for author in reference["authors"])
        assert all({"type", "value"} <= identifier.keys() for identifier in reference.get("identifiers", ()))
