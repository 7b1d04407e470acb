"""Every YAML composes and is typed; what is misspelt is named; runs are compared as they must be."""

from __future__ import annotations

import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from surgrec.config import compose
from surgrec.config.compose import (
    claim_folder,
    compose_config,
    difference,
    distance_from_variant,
    flat,
    headline,
    read_config,
    save_config,
    with_variant_files,
)
from surgrec.config.explain import all_options
from surgrec.config.schema import Config, Policy
from surgrec.core.errors import UserError
from surgrec.optim.schedules import Shape

VARIANTS = ("mae", "jepa")
OF_OTHER_COMMANDS = {"filters"}  # folders of `configs/` that no run composes
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


@pytest.mark.parametrize("variant", VARIANTS)
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
    assert with_variant_files(quick) == [*quick, f"+experiment/quickstart={variant}"]
    changed = with_variant_files([*quick, "variant=jepa"])  # as Hydra takes it: jepa in the place of the first
    assert changed[2] == "+experiment/quickstart=jepa"


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
        ("runtime=gpu", "no runtime 'gpu'; choose one of runtime=auto"),
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
    claim_folder(
        run("runtime=cpu", "data.workers=9", "paths.runs=moved", "logger=tensorboard", "runtime.accumulation=4"), file
    )
    before = file.read_text()
    with pytest.raises(UserError) as caught:
        claim_folder(run("optim.lr=1e-4", "seed=1"), file)
    assert "seed 0 -> 1; optim.lr 0.0012 -> 0.0001" in str(caught.value) and "name=" in str(caught.value)
    assert file.read_text() == before
