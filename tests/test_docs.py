"""The pages of docs/ are true: what they show is what happens, what they list is what is configured, their links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from surgrec import __main__ as console
from surgrec import corpus_command
from surgrec.config import compose
from surgrec.config.compose import compose_config, recipe_of
from surgrec.config.explain import all_options
from surgrec.config.phases import phases_of
from surgrec.config.schema import JEPAConfig, MAEConfig, MultiBlockMaskConfig, Policy, TubeMaskConfig
from surgrec.models.sizes import SIZES
from surgrec.objectives.ema import moved_at_once
from tests.footage import write_corpus

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
VARIANTS = ("mae", "jepa")


@pytest.mark.parametrize(
    "page", [*sorted(DOCS.rglob("*.md")), REPOSITORY / "launch" / "README.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# -- docs/follow_one_clip.md

CLIP_PAGE = (DOCS / "follow_one_clip.md").read_text(encoding="utf-8")
CLIP_BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", CLIP_PAGE, flags=re.MULTILINE | re.DOTALL)


def follow() -> None:
    """Execute the page's Python blocks in one session, in the current folder; compare what each prints with its `# >` lines."""
    session: dict[str, Any] = {"__name__": "follow_one_clip"}
    for number, code in enumerate(text for language, text in CLIP_BLOCKS if language == "python"):
        expected = [line.removeprefix("# > ") for line in code.splitlines() if line.startswith("# > ")]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{DOCS / 'follow_one_clip.md'}, block {number}", "exec"), session)
        found = printed.getvalue().splitlines()
        pattern = [re.escape(line).replace(re.escape("..."), r"\S+") for line in expected]
        matches = len(found) == len(expected) and all(map(re.fullmatch, pattern, found))
        assert matches, "block {} prints:\n{}\nand says:\n{}".format(number, "\n".join(found), "\n".join(expected))


@pytest.mark.slow
def test_the_page_follows_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "embedded" / "quickstart")
    monkeypatch.chdir(tmp_path)
    follow()


@pytest.mark.slow
def test_the_page_follows_a_clip_of_the_embedded_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, script),) = (block for block in CLIP_BLOCKS if block[0] == "bash")
    verb, *arguments = script.split()
    assert verb == "surgrec"
    monkeypatch.chdir(tmp_path)
    assert console.main(arguments) == 0
    follow()


def test_the_page_visits_every_stage() -> None:
    folders = set(re.findall(r"^# > surgrec/(\w+)/", CLIP_PAGE, flags=re.MULTILINE))
    assert folders >= {
        "config", "corpus", "data", "features", "hub", "masks", "models", "objectives", "optim", "training", "video"
    }  # fmt: skip


# -- docs/sampling.md


def test_the_table_of_shares_is_what_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "sampling.md").read_text(encoding="utf-8")
    assert "`surgrec corpora shares`" in page and console.main(["corpora", "shares"]) == 0
    assert capsys.readouterr().out in page, "`surgrec corpora shares` prints the new table for docs/sampling.md"
    for policy in Policy:
        assert policy.value in page
    for option in re.findall(r"`\+?(mix\.[a-z_.]+)", page):
        assert any(known.startswith(option) or option.startswith(f"{known}.") for known in all_options()), option


def test_the_commands_on_clusters_are_commands() -> None:
    page = (DOCS / "sampling.md").read_text(encoding="utf-8")
    cluster, preview = (line for line in page.splitlines() if line.startswith("surgrec "))
    assert corpus_command._parser().parse_args(shlex.split(cluster)[2:]).clusters == [1000, 100, 10]
    assert compose_config(shlex.split(preview)[2:]).mix.policy is Policy.clusters


# -- docs/continue_pretraining.md

CONTINUE_PAGE = (DOCS / "continue_pretraining.md").read_text(encoding="utf-8")
CONTINUE_LINES = [
    shlex.split(line)
    for block in re.findall(r"^```console\n(.*?)^```$", CONTINUE_PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_the_commands_of_the_page_are_runs() -> None:
    verbs = [words[1] for words in CONTINUE_LINES]
    assert verbs.count("index") == 2 and verbs.count("preview") == 1 and verbs.count("train") == 4
    for words in CONTINUE_LINES:
        if words[1] != "index":
            assert phases_of(compose_config(words[2:]))[-1].span.num_steps > 0
    assert [len(phases_of(compose_config(words[2:]))) for words in CONTINUE_LINES[-2:]] == [2, 3]


def test_the_table_of_the_page_is_the_preset() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.e-]+) \| ([\d.]+) \|$", CONTINUE_PAGE, flags=re.MULTILINE)
    assert len(rows) == 5
    for batch, lr, momentum in rows:
        config = compose_config(
            ["+variant=jepa", "+experiment=continue", "init=surgrec:x", f"data.global_batch_size={batch}"]
        )
        assert isinstance(config.objective, JEPAConfig) and config.objective.ema_half_life_samples is not None
        assert f"{config.optim.lr:.3e}" == lr
        assert f"{0.5 ** (int(batch) / config.objective.ema_half_life_samples):.6f}" == momentum


def test_the_page_says_how_many_updates_are_made_as_one() -> None:
    (sentence,) = re.findall(r"made as one: ([^.]*(?:\.\d[^.]*)*)\.", CONTINUE_PAGE)
    pairs = re.findall(r"(\d+) at (0\.\d+)", sentence)
    assert len(pairs) == 4 and all(moved_at_once(float(momentum)) == int(count) for count, momentum in pairs)
    assert moved_at_once(0.9995) == 1 < moved_at_once(0.99951)  # "above 0.9995"


# -- docs/checkpoints.md


def test_the_options_of_the_page_on_checkpoints_are_options() -> None:
    page = (DOCS / "checkpoints.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:trainer|runtime|probe)\.[a-z_]+)", page))
    kept = {"trainer.keep_checkpoints", "trainer.keep_every", "trainer.keep_best", "runtime.async_checkpoints"}
    assert kept <= named <= set(all_options())


# -- docs/healthy_runs.md


def test_the_width_of_the_runs_of_the_page_is_that_of_their_model() -> None:
    page = (DOCS / "healthy_runs.md").read_text(encoding="utf-8")
    widths = re.findall(r"directions that the features use, of (\d+)|at most their width \((\d+) here\)", page)
    size = compose_config(["+variant=jepa", "+experiment=quickstart"]).backbone.size
    assert [int(first or second) for first, second in widths] == [SIZES[size].width] * 2


# -- docs/paper.md

TAG = re.compile(r"\[(paper|release card|repo|assumed: [^\]]+)\]")
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| (\[.+?\]) \|(.*)\|$", flags=re.MULTILINE)
SECTIONS = re.split(r"^## ", (DOCS / "paper.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
KINDS = {MAEConfig: "mae", JEPAConfig: "jepa", TubeMaskConfig: "tube", MultiBlockMaskConfig: "multiblock"}


def listed(variant: str) -> dict[str, tuple[Any, str, bool]]:
    """Option to (value, tag, stands in a table of assumptions), of the tables of a variant and those of both."""
    options: dict[str, tuple[Any, str, bool]] = {}
    for section in SECTIONS:
        title = section.splitlines()[0]
        if title.startswith((f"SurgRec-{variant.upper()},", "Both,")):
            for option, value, tag, _ in ROW.findall(section):
                assert option not in options, f"{option} is listed twice"
                options[option] = (yaml.safe_load(value), tag, title.endswith("assumed"))
    return options


def commented(variant: str) -> Iterator[tuple[str, str | None]]:
    """Option and source tag of every value in a variant's YAML; the lists of `groups` count as one value."""
    group = ""
    for line in (compose.CONFIGS / "variant" / f"{variant}.yaml").read_text().splitlines():
        tag = match[0] if (match := TAG.search(line)) else None
        if chosen := re.match(r"  - /(\w+): \w+", line):
            yield {"backbone": "backbone.size"}.get(chosen[1], chosen[1]), tag
        elif top := re.match(r"(\w+):(.*)", line):
            group = top[1]
        elif (key := re.match(r"  (\w+):", line)) and group != "defaults":
            yield f"{group}.{key[1]}", tag


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tables_are_the_composed_run(variant: str) -> None:
    config = compose_config([f"+variant={variant}"])
    wanted = recipe_of(config) | {name: KINDS[type(getattr(config, name))] for name in ("objective", "mask")}
    options = listed(variant)
    assert options.keys() == wanted.keys()
    assert {key: value for key, (value, _, _) in options.items()} == wanted


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_value_of_the_file_has_its_source_and_the_table_the_same(variant: str) -> None:
    tags = dict(commented(variant))
    assert [key for key, tag in tags.items() if tag is None] == []
    options = listed(variant)
    assert {key: tag for key, tag in tags.items() if options[key][1] != tag} == {}
    values = yaml.safe_load((compose.CONFIGS / "variant" / f"{variant}.yaml").read_text())
    written = {f"{group}.{key}" for group, node in values.items() if isinstance(node, dict) for key in node}
    assert written | {"objective", "mask", "backbone.size"} == tags.keys(), "the test reads every value of the file"


@pytest.mark.parametrize("variant", VARIANTS)
def test_assumptions_stand_apart(variant: str) -> None:
    for option, (_, tag, is_in_assumed) in listed(variant).items():
        assert TAG.fullmatch(tag), (option, tag)
        assert tag.startswith("[assumed") == is_in_assumed, option


def test_the_page_cites_papers_and_nothing_of_this_machine() -> None:
    text = "".join(SECTIONS)
    assert all(number in text for number in ("2603.29966", "2203.12602", "2506.09985", "2205.09113", "2404.08471"))
    assert not re.search(r"(?<![\w.:/-])/(?:\w+/)+\w+|research/", text)
