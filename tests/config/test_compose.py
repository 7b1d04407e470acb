"""Every YAML composes and is typed; what is misspelt is named; runs are compared as they must be."""

from __future__ import annotations

import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from hydra.errors import MissingConfigException

from surgrec.config import compose
from surgrec.config.application import run_application
from surgrec.config.compose import (
    claim_folder,
    completed_overrides,
    compose_config,
    difference,
    distance_from_variant,
    flat,
    headline,
    read_config,
    save_config,
)
from surgrec.config.explain import all_options, one_sentence
from surgrec.config.schema import Config, Policy
from surgrec.core.errors import UserError
from surgrec.optim.schedules import Shape

VARIANTS = ("mae", "jepa")
OF_OTHER_COMMANDS = {"filters", "benchmark"}  # folders of `configs/` that no run composes
FILES = sorted(
    path.relative_to(compose.CONFIGS)
    for path in compose.CONFIGS.glob("*/*.yaml")
    if path.parent.name not in OF_OTHER_COMMANDS
)
OF_ONE_VARIANT = {
    "mask/tube": "mae",
    "objective/mae": "mae",
    "experiment/videomae2": "mae",
    "mask/multiblock": "jepa",
    "objective/jepa": "jepa",
    "experiment/vjepa21": "jepa",
    "experiment/cooldown": "jepa",
}
NEEDED = {"experiment/continue": ["init=surgrec:somewhere"]}  # from the command line


def option_for(file: Path, variant: str) -> list[str]:
    """Overrides that bring a file of `configs/` into a run of `variant`; `mix.manifests` for experiments that name no corpus."""
    group, name = file.parent.as_posix(), file.stem
    if group == "variant":
        return [f"+variant={name}"]
    return [
        f"+variant={variant}",
        f"{'+' if group == 'experiment' else ''}{group}={name}",
        *NEEDED.get(f"{group}/{name}", []),
    ]


@pytest.mark.parametrize("variant", ["mae", pytest.param("jepa", marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes_with_every_variant(file: Path, variant: str) -> None:
    options = option_for(file, variant)
    if OF_ONE_VARIANT.get(file.with_suffix("").as_posix(), variant) != variant:
        with pytest.raises(UserError, match="belongs to another mask or objective"):
            compose_config(options)
        return
    assert_typed(compose_config(options))


def assert_typed(node: object, path: str = "config") -> None:
    """Values have the types that the schema says."""
    assert is_dataclass(node)
    for field in fields(node):
        value, kind = getattr(node, field.name), str(field.type)
        if is_dataclass(value):
            assert_typed(value, f"{path}.{field.name}")
        elif kind.startswith("tuple"):
            assert isinstance(value, tuple) and all(type(item).__name__ in kind for item in value), (
                path,
                field.name,
                value,
            )
        elif kind in ("int", "float", "str", "bool") or kind in ("Policy", "Strategy", "LoggerKind", "Shape"):
            assert type(value).__name__ == kind, (path, field.name, value)


def test_overlays_apply_from_left_to_right_then_the_command_line() -> None:
    config = compose_config(["+variant=jepa", "+experiment=quickstart", "optim.lr=0.5", "mix=uniform"])
    assert config.mix.embedded == "quickstart" and config.optim.lr == 0.5 and config.mix.policy is Policy.uniform
    assert config.name == "jepa" and config.optim.lr_shape is Shape.cosine


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_experiment_keeps_apart_what_one_variant_has(variant: str) -> None:
    """Each variant's file applies right after its experiment, so the command line and what stands further right still win."""
    own = {"mae": ("normalise_targets", False, "true"), "jepa": ("ema", 0.996, "0.9")}
    option, value, other = own[variant]
    quick = [f"+variant={variant}", "+experiment=quickstart"]
    assert getattr(compose_config(quick).objective, option) == value
    assert getattr(compose_config([*quick, f"objective.{option}={other}"]).objective, option) == yaml.safe_load(other)
    assert completed_overrides(quick) == [quick[0], f'+experiment=["quickstart","quickstart/{variant}"]']
    changed = completed_overrides([*quick, "variant=jepa"])  # as Hydra takes it: jepa in the place of the first
    assert changed[1] == '+experiment=["quickstart","quickstart/jepa"]'


INIT = "init=vjepa2:/weights/vitl.pt"
COMBINED = [  # of jepa; the options that decide which overlay came last
    (
        ["+experiment=[quickstart,continue]", INIT],
        {
            "backbone.size": "nano", "trainer.steps": 3000, "optim.warmup_steps": 300, "data.global_batch_size": 512,
            "objective.ema": None, "objective.ema_end": None, "objective.ema_half_life_samples": 2.838e6,
            "mix.rehearsal_share": 0.37, "augment.crop_pixels": 64, "objective.head_depth": 2,
        },
    ),
    (
        ["+experiment=[continue,quickstart]", INIT],
        {
            "trainer.steps": 500, "data.global_batch_size": 8, "optim.lr": 5e-4, "objective.ema": 0.996,
            "objective.ema_end": 1.0, "objective.ema_half_life_samples": None, "mix.rehearsal_share": 0.37,
        },
    ),
    (
        ["+experiment=[vjepa21,cooldown]"],
        {
            "objective.dense": True, "objective.head_depth": 24, "objective.ema": 0.99925, "trainer.steps": 135000,
            "optim.lr": 6e-4, "trainer.phases": [
                {
                    "steps": 12000, "num_frames": 64, "global_batch_size": 3072, "lr": 5.25e-4, "lr_end": 1e-6,
                    "lr_shape": "linear",
                }
            ],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"), COMBINED, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_overlays_of_a_list_apply_whole_and_from_left_to_right(
    options: list[str], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python and from the command line alike."""
    config = compose_config(["+variant=jepa", *options])
    assert {key: value for key, value in flat(config).items() if key in expected} == expected
    given: list[Config] = []
    monkeypatch.setattr("sys.argv", ["surgrec", "+variant=jepa", *options])
    run_application(given.append, "help")  # type: ignore[arg-type]
    assert given == [config]
    apart = [f"+experiment={name}" for name in options[0].partition("[")[2].rstrip("]").split(",")]
    assert compose_config(["+variant=jepa", *apart, *options[1:]]) == config


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "written",
    ["+experiment=[quickstart]", '+experiment="quickstart"', "+experiment= quickstart", "+experiment=['quickstart']"],
)
def test_an_overlay_is_whole_however_its_name_is_written(variant: str, written: str) -> None:
    plain = compose_config([f"+variant={variant}", "+experiment=quickstart"])
    assert compose_config([f"+variant={variant}", written]) == plain
    assert compose_config([f"+variant=[{variant}]", written]) == plain


OVERLAYS = [
    (variant, overlay)
    for variant in VARIANTS
    for overlay in (None, *sorted(path.stem for path in compose.CONFIGS.glob("experiment/*.yaml")))
    if OF_ONE_VARIANT.get(f"experiment/{overlay}", variant) == variant
]
GROUPS = sorted({path.parent.as_posix() for path in FILES} - {"variant", "experiment"})


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(OVERLAYS)), ids=lambda place: "-".join(map(str, OVERLAYS[place])))
def test_an_option_of_a_group_that_is_named_wins_over_every_overlay(place: int) -> None:
    """Of every group at once; which of its options, changes from overlay to overlay, so that all have their turn."""
    variant, overlay = OVERLAYS[place]
    named = {}
    for group in GROUPS:
        names = [path.stem for path in FILES if path.parent.as_posix() == group]
        own = [name for name in names if OF_ONE_VARIANT.get(f"{group}/{name}", variant) == variant]
        named[group] = own[place % len(own)]
    choices = [f"{group}={name}" for group, name in named.items()]
    before = [
        f"+variant={variant}",
        *([f"+experiment={overlay}", *NEEDED.get(f"experiment/{overlay}", [])] if overlay else []),
    ]
    values = flat(compose_config([*before, *choices]))
    for group, name in named.items():
        for key, value in yaml.safe_load((compose.CONFIGS / group / f"{name}.yaml").read_text()).items():
            nested = value if isinstance(value, dict) and f"{group}.{key}" not in values else {"": value}
            for inner, each in nested.items() if key != "defaults" else ():
                assert values[f"{group}.{key}.{inner}".rstrip(".")] == each, (group, name, key)
    assert compose_config([*choices, *before, "backbone.size=huge", "optim.eps=0.5"]).backbone.size == "huge"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["+experiment=[quickstart]", "+variant=jepa"], "write +variant=jepa before +experiment=quickstart"),
        (["+experiment=[quickstart,continue]", "+variant=jepa"], "before +experiment=[quickstart,continue]"),
        (["+variant=[mae,jepa]"], "a run has one variant"),
        (["+variant=mae", "+experiment=null"], "+experiment=null names no option of experiment"),
        (["+variant=mae", "+experiment=quickstart,continue"], "several as +experiment=[ONE,OTHER]"),
        (["+variant=mae", "+experiment=quickstart/mae"], "is a part of an overlay; write +experiment=quickstart"),
        (["+variant=mae", "+experiment/quickstart=mae"], "is a part of an overlay; write +experiment=quickstart"),
        (["+variant=mae", "+experiment=[quickstart,nothing]"], "there is no experiment 'nothing'"),
        (["+variant=mae", "backbone=null"], "backbone=null names no option of backbone"),
        (["+variant=mae", "+backbone=small"], "backbone is given more than once; give it once, without a plus"),
    ],
)
def test_overlays_that_cannot_be_honoured_are_refused(options: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_experiment_of_the_other_variant_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compose.CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "experiment" / "quickstart" / "mae.yaml").unlink()
    monkeypatch.setattr(compose, "CONFIGS", tmp_path / "configs")
    with pytest.raises(UserError, match=r"no \+experiment=quickstart for variant mae, only for jepa"):
        compose_config(["+variant=mae", "+experiment=quickstart"])


def test_an_experiment_before_its_variant_is_told() -> None:
    with pytest.raises(UserError, match=r"write \+variant=mae before \+experiment=quickstart"):
        compose_config(["+experiment=quickstart", "+variant=mae"])


def test_an_experiment_without_a_variant_is_told() -> None:
    with pytest.raises(UserError, match=r"no variant is chosen; add \+variant=mae or \+variant=jepa"):
        compose_config(["+experiment=quickstart"])


@pytest.mark.parametrize(
    "file, text, key",
    [
        ("variant/mae.yaml", "optim:\n  lrr: 1.0\n", "optim.lrr"),
        ("variant/jepa.yaml", "mask:\n  gruops: []\n", "mask.gruops"),
        ("augment/crop_flip.yaml", "flip_probabilty: 0.5\n", "augment.flip_probabilty"),
        ("mask/tube.yaml", "ratoi: 0.9\n", "mask.ratoi"),
        ("experiment/quickstart.yaml", "data:\n  wokers: 1\n", "data.wokers"),
        ("config.yaml", "sead: 1\n", "sead"),
    ],
)
def test_a_misspelt_key_in_a_file_is_named(
    file: str, text: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "configs"
    shutil.copytree(compose.CONFIGS, folder)
    lines = (folder / file).read_text().splitlines(keepends=True)
    top = text.splitlines()[0]  # a group that the file has already gets the key, else the text is added
    if ":" in text and top + "\n" in lines:
        lines.insert(lines.index(top + "\n") + 1, text.splitlines(keepends=True)[1])
    else:
        lines.append(text)
    (folder / file).write_text("".join(lines))
    assert isinstance(yaml.safe_load((folder / file).read_text()), dict)
    monkeypatch.setattr(compose, "CONFIGS", folder)
    variant = "jepa" if "jepa" in file else "mae"
    with pytest.raises(UserError) as caught:
        compose_config([f"+variant={variant}", "+experiment=quickstart"])
    assert f"no option {key}" in str(caught.value) and "did you mean" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_of_the_wrong_type_in_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compose.CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "trainer" / "default.yaml").write_text("log_every: often\n")
    monkeypatch.setattr(compose, "CONFIGS", tmp_path / "configs")
    with pytest.raises(UserError, match=r"log_every in configs/trainer/default.yaml: Value 'often'"):
        compose_config(["+variant=mae"])


def test_a_file_that_is_no_yaml_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compose.CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "trainer" / "default.yaml").write_text("log_every: {\n")
    monkeypatch.setattr(compose, "CONFIGS", tmp_path / "configs")
    with pytest.raises(UserError, match="trainer/default"):
        compose_config(["+variant=mae"])


@pytest.mark.parametrize(
    "option, words",
    [
        ("optim.lrr=1", "no option optim.lrr; did you mean optim.lr?"),
        ("+optim.lrr=1", "no option optim.lrr; did you mean optim.lr?"),
        ("+sead=1", "no option sead; did you mean seed?"),
        ("++mask.ratioo=1", "no option mask.ratioo; did you mean mask.ratio?"),
        ("mask.groups=[]", "this variant has no option mask.groups"),
        ("mix.policy=fair", "natural, uniform, temperature"),
        ("runtime=tpu", "no runtime 'tpu'; choose one of runtime=auto"),
        ("trainer.log_every=0", "trainer.log_every=0 must be at least 1"),
        ("optim.lr=-1", "optim.lr=-1.0 must be a number of at least 0"),
        ("optim.lr=nan", "optim.lr=nan must be"),
        ("trainer.steps=many", "trainer.steps=many; Value 'many'"),
        ("mix.manifests=a.parquet", "mix.manifests is a list; write 'mix.manifests=[a.parquet]'"),
        ("optim.betas=[0.9]", "optim.betas=[0.9] must be a list of 2 numbers"),
        ("augment.mean=[0.5,0.5]", "augment.mean=[0.5, 0.5] must be a list of 3 numbers"),
        ("objective.ema=0.9", "this variant has no option objective.ema; it belongs to another mask or objective"),
        (
            "objective=jepa",
            "objective= belongs to another mask or objective than variant mae has; leave objective= out",
        ),
        ("mask=multiblock", "mask= belongs to another mask or objective than variant mae has; leave mask= out"),
        ("+variant=jepa", "variant is given more than once"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(option: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(["+variant=mae", option])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(compose.CONFIGS) not in str(caught.value) and "+optim.lrr" not in str(caught.value)


def test_a_launcher_that_is_not_installed_names_its_package() -> None:
    missing = MissingConfigException("not found", missing_cfg_file="hydra/launcher/submitit_slurm", options=["basic"])
    assert one_sentence(missing) == "hydra/launcher=submitit_slurm needs a package: pip install 'surgrec[slurm]'"


@pytest.mark.parametrize(
    ("option", "words", "with_it"),
    [
        ("objective.levels=2", "objective.levels=2 does nothing without objective.dense=true", "objective.dense=true"),
        ("objective.context_weight=0.7", "objective.context_weight=0.7 does nothing", "objective.dense=true"),
        ("objective.context_ramp_steps=[1,2]", "objective.context_ramp_steps=[1, 2] does", "objective.dense=true"),
        (
            "mix.rehearsal_sources=[kinetics]",
            "mix.rehearsal_sources=['kinetics'] does nothing without mix.rehearsal_share; give the share, or leave",
            "mix.rehearsal_share=0.3",
        ),
    ],
)
def test_an_option_that_would_not_be_read_is_refused_with_what_it_needs(
    option: str, words: str, with_it: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(["+variant=jepa", option])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    config = compose_config(["+variant=jepa", option, with_it])
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def test_an_unknown_variant_is_told_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no variant 'mea'; choose one of \+variant=jepa, \+variant=mae"):
        compose_config(["+variant=mea"])


def test_all_options_are_those_of_composed_runs() -> None:
    composed = {key for variant in VARIANTS for key in flat(compose_config([f"+variant={variant}"]))}
    assert composed == set(all_options())


# -- comparing runs


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_itself_has_no_distance(variant: str) -> None:
    config = compose_config([f"+variant={variant}"])
    assert distance_from_variant(config) == []
    assert headline(config) == f"SurgRec-{variant.upper()} as published"


def test_the_distance_is_what_changes_the_recipe() -> None:
    free = [
        "seed=3",
        "name=other",
        "runtime=cpu",
        "paths.runs=elsewhere",
        "data.workers=7",
        "mix.manifests=[a.parquet]",
    ]
    config = compose_config(["+variant=jepa", "optim.lr=1e-4", "backbone=small", "mix=uniform", *free])
    assert distance_from_variant(config) == [
        "mix.policy temperature -> uniform",
        "backbone.size large -> small",
        "optim.lr 0.000525 -> 0.0001",
    ]
    assert headline(config).startswith("SurgRec-JEPA except mix.policy temperature -> uniform, backbone.size")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_configuration_is_read_back_equal(variant: str, tmp_path: Path) -> None:
    config = compose_config([f"+variant={variant}", "mix.manifests=[a.parquet,b.parquet]", "logger=wandb", "seed=5"])
    save_config(config, tmp_path / "config.yaml")
    again = read_config(tmp_path / "config.yaml")
    assert again == config and difference(config, again) == []
    assert_typed(again)
    assert "???" not in (tmp_path / "config.yaml").read_text() and "${" not in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    "damage", ["variant: mea\n", "mae\n", "optim: {lrr: 1}\nvariant: mae\nmask: {ratio: 0.9}\n", "mask: {\n", ""]
)
def test_a_damaged_configuration_is_told(damage: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(damage)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_config(tmp_path / "config.yaml")


def test_no_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read_config(tmp_path / "config.yaml")


def test_continuing_ignores_what_changes_speed_only(tmp_path: Path) -> None:
    def run(*options: str) -> Config:
        return compose_config(["+variant=mae", "mix.manifests=[a.parquet]", *options])

    file = tmp_path / "run" / "config.yaml"
    claim_folder(run(), file)
    claim_folder(run("probe.every=5", "probe.manifest=m.parquet", "probe.labels=l.csv", "probe.windows=9"), file)
    claim_folder(
        run("runtime=cpu", "data.workers=9", "paths.runs=moved", "logger=tensorboard", "runtime.accumulation=4"), file
    )
    before = file.read_text()
    with pytest.raises(UserError) as caught:
        claim_folder(run("optim.lr=1e-4", "seed=1"), file)
    assert "seed 0 -> 1; optim.lr 0.0012 -> 0.0001" in str(caught.value) and "name=" in str(caught.value)
    assert file.read_text() == before
