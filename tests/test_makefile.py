import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jpnet.training import run_name
from jpnet.workspace import DATA_OF

ROOT = Path(__file__).parents[1]

TARGETS = {
    *("help", "setup", "demo", "test", "train", "compile", "rtl", "cosim", "simulate", "report"),
    *("waves", "synth", "bench", "benchtraining", "benchsynth", "diagrams"),
    *("lint", "types", "clean", "longtest", "table", "comparison"),
    *("estimate", "benchcycles", "benchlayers", "tune", "benchtune", "tunepage"),
    *("study", "benchstudies", "studypage", "benchwide", "benchencodings"),
}

VARIABLES = {
    *("MODEL", "CONFIG", "DATA", "DATA_ROOT", "WARM_START", "SEED", "SEEDS", "IMAGES", "TOLERANCE"),
    *("WAVES", "JOBS", "BUILD", "STUDY", "BUDGET", "RESUME"),
}

TEXT = (ROOT / "Makefile").read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which nothing has been made yet."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    return result.stdout


def test_help_is_the_default_and_lists_every_target_and_variable(clone: Path) -> None:
    text = make(clone)
    assert text == make(clone, "help")
    assert set(re.findall(r"^make (\w+) +\S", text, re.MULTILINE)) == TARGETS
    assert set(re.findall(r"^([A-Z_]+) +\S", text, re.MULTILINE)) >= VARIABLES


def test_every_rule_is_phony_or_a_real_file() -> None:
    declared = set(re.findall(r"^\.PHONY: (\w+)$", TEXT, re.MULTILINE))
    assert declared == TARGETS
    files = set(re.findall(r"^(\$\(\w+\)):", TEXT, re.MULTILINE))
    assert files == {"$(JPNET)", "$(SCHEDULE)", "$(RTL)", "$(SIMULATION)"}


def test_every_recipe_is_one_line() -> None:
    recipes = re.findall(r"^(\S[^\n]*:.*)\n((?:\t.*\n)+)", TEXT, re.MULTILINE)
    assert recipes
    long = [rule for rule, recipe in recipes if recipe.count("\n\t") and "help" not in rule]
    assert long == []


@pytest.mark.parametrize("target", sorted(TARGETS - {"help", "setup", "clean"}))
def test_every_target_makes_the_environment_when_it_is_missing(clone: Path, target: str) -> None:
    commands = make(clone, "--dry-run", target).splitlines()
    assert "-m venv .venv" in commands[0]
    assert commands[0].endswith("touch .venv/bin/jpnet")
    assert len(commands) > 1


def test_environment_is_made_once(clone: Path) -> None:
    tool = clone / ".venv" / "bin" / "jpnet"
    tool.parent.mkdir(parents=True)
    tool.touch()
    assert "venv .venv" not in make(clone, "--dry-run", "demo")


def test_report_makes_everything_that_it_needs(clone: Path) -> None:
    commands = make(clone, "--dry-run", "report")
    verbs = re.findall(r"^\.venv/bin/jpnet (\w+) ", commands, re.MULTILINE)
    assert verbs == ["compile", "rtl", "simulate", "report"]


def test_another_model_configuration_or_data_set_reuses_nothing(clone: Path) -> None:
    out = set()
    for arguments in ([], ["MODEL=other"], ["CONFIG=tiny"], ["DATA=digits"], ["CONFIG=a/my.json"]):
        database = make(clone, "--print-data-base", "--dry-run", "help", *arguments)
        out.add(re.findall(r"^SCHEDULE := (\S+)$", database, re.MULTILINE)[0])
    assert len(out) == 5


def test_variables_reach_the_command(clone: Path) -> None:
    commands = make(clone, "--dry-run", "simulate", "MODEL=m", "CONFIG=tiny", "IMAGES=7", "BUILD=b")
    wanted = ".venv/bin/jpnet simulate --model m --config tiny --build b  --images 7"
    assert commands.splitlines()[-1] == wanted


@pytest.mark.parametrize("data", ["mnist", "digits", "fashion-mnist"])
def test_make_and_jpnet_give_a_training_the_same_name(clone: Path, data: str) -> None:
    commands = make(clone, "--dry-run", "compile", "MODEL=mlp3", f"DATA={data}")
    assert f"--model {run_name('mlp3', data)} " in commands


@pytest.mark.parametrize("model", DATA_OF)
def test_architectures_are_trained_on_their_own_data_set_by_name(clone: Path, model: str) -> None:
    commands = make(clone, "--dry-run", "train", f"MODEL={model}")
    assert f"jpnet train --model {model} --data {DATA_OF[model]} " in commands
    commands = make(clone, "--dry-run", "compile", f"MODEL={model}")
    assert f"--model {run_name(model, DATA_OF[model])} " in commands


def test_warm_start_reaches_the_command(clone: Path) -> None:
    commands = make(clone, "--dry-run", "train", "MODEL=resnet32-relu", "WARM_START=a.safetensors")
    assert commands.rstrip().endswith("--warm-start a.safetensors")


def test_documented_commands_exist() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"^make (\w+)", page.read_text(), re.MULTILINE):
            assert target in TARGETS, f"{page.name}: make {target}"
