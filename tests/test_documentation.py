import ast
import json
import re
from pathlib import Path

import pytest
import typer.main

from jpnet.bench_wide import WIDE_CONFIG
from jpnet.cli import app
from jpnet.cycle_tables import (
    cycle_model_table,
    list_encodings_table,
    reference_layers_table,
    wide_network_table,
)
from jpnet.method_table import BEGIN, END, method_table
from jpnet.results_table import insert_results, results_table
from jpnet.study_file import Study, read_study
from jpnet.study_page import markers
from jpnet.study_tables import study_table
from jpnet.tuning_page import BEGIN as BEGIN_TUNE
from jpnet.tuning_page import END as END_TUNE
from jpnet.tuning_page import cycles_at_equal_accuracy, page_part, read_searches
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS
from jpnet_spec.errors import ErrorCode
from jpnet_spec.registers import REGISTERS
from jpnet_sw.sparsity.methods import method_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_jpnet_commands_exist(page: Path) -> None:
    known = set(typer.main.get_command(app).commands)
    commands = re.findall(r"(?:^    |`)jpnet (\w+)", page.read_text(), re.MULTILINE)
    assert set(commands) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_are_python(page: Path) -> None:
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(example)


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in text, page.name


def test_readme_has_the_committed_results() -> None:
    page = (ROOT / "README.md").read_text()
    remedy = "`jpnet results docs/results --page README.md` brings them"
    assert page == insert_results(page, results_table(DOCS / "results")), remedy


def test_methods_page_has_the_committed_results() -> None:
    page = (DOCS / "methods.md").read_text()
    folder = DOCS / "results" / "methods"
    table = method_table(folder) if folder.is_dir() else ""
    remedy = "`make comparison` brings them"
    between = page.partition(BEGIN)[2].partition(END)[0]
    assert between.strip() == table.strip(), remedy


def test_methods_page_names_every_method() -> None:
    page = (DOCS / "methods.md").read_text()
    for name in method_names():
        assert f"`{name}`" in page


@pytest.mark.parametrize("study", Study)
def test_studies_page_has_the_committed_results(study: Study) -> None:
    page = (DOCS / "studies.md").read_text()
    begin, end = markers(study)
    files = sorted((DOCS / "results" / "studies").glob(f"*-{study.value}.json"))
    between = page.partition(begin)[2].partition(end)[0]
    assert between.count("![") == len(files)
    for path in files:
        assert study_table(read_study(path)) in between, "`make studypage` brings them"
        assert (DOCS / "images" / f"study-{path.stem}.svg").is_file()


def test_tuning_page_has_the_committed_results() -> None:
    page = (DOCS / "tuning.md").read_text()
    path = DOCS / "results" / "tune-lenet4.json"
    part = page_part(read_searches(path), "images/tune-lenet4.svg") if path.is_file() else ""
    remedy = "`make tunepage` brings them"
    between = page.partition(BEGIN_TUNE)[2].partition(END_TUNE)[0]
    assert between.strip() == part.strip(), remedy


@pytest.mark.parametrize("path", sorted((DOCS / "results").glob("tune-*.json")))
def test_committed_searches_save_what_they_must_within_their_tolerance(path: Path) -> None:
    content = read_searches(path)
    joint, uniform = (
        next(found for found in content["searches"] if found["family"] == family)
        for family in ("joint", "uniform")
    )
    reached = joint["held_out_percent"]
    assert reached["int8"] >= reached["dense"] - content["budget"]["tolerance_percent"]
    _, mine, its = cycles_at_equal_accuracy(joint, uniform)
    assert mine <= 0.85 * its


def test_results_cover_every_preset() -> None:
    for name in PRESETS:
        assert (DOCS / "results" / f"mlp3-{name}.json").is_file(), f"`jpnet bench` measures {name}"


def test_register_page_lists_the_registers_and_errors_of_the_specification() -> None:
    text = (DOCS / "registers.md").read_text()
    for entry in REGISTERS:
        if not entry.name.startswith("COUNTER_"):
            assert f"| 0x{entry.offset:02x} | {entry.name} | {entry.access} |" in text
    for code in ErrorCode:
        assert code is ErrorCode.NONE or f"| {code.value} | {code.name} | " in text


def test_hardware_page_lists_the_stall_counters() -> None:
    text = (DOCS / "hardware.md").read_text()
    for counter in STALL_COUNTERS:
        assert f"| `{counter.name}` |" in text


def test_training_page_shows_the_measured_times_of_a_step() -> None:
    page = (DOCS / "training.md").read_text()
    measured = json.loads((DOCS / "results" / "training-step.json").read_text())
    assert set(measured) == {"recipe", "plain", "bare"}
    for case in measured.values():
        ratios = (case[name] for name in ("ratio", "distilled_ratio", "asked_ratio"))
        assert f"| {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |" in page


@pytest.mark.parametrize(
    ("page", "mark", "table"),
    [
        (
            "cycle-model.md",
            "cycle model",
            cycle_model_table(DOCS / "results" / "cycle-model.json"),
        ),
        (
            "cycle-model.md",
            "reference layers",
            reference_layers_table(DOCS / "results" / "reference-layers.json"),
        ),
        (
            "residual-networks.md",
            "wide network",
            wide_network_table(DOCS / "results" / "wide-network.json"),
        ),
        (
            "list-encodings.md",
            "list encodings",
            list_encodings_table(DOCS / "results" / "list-encodings.json"),
        ),
    ],
)
def test_pages_have_the_committed_cycles(page: str, mark: str, table: str) -> None:
    text = (DOCS / page).read_text()
    assert f"<!-- {mark} -->\n\n{table}\n<!-- end of {mark} -->" in text


def test_wide_configuration_in_the_page_is_the_one_that_was_measured() -> None:
    page = (DOCS / "residual-networks.md").read_text()
    text = re.search(r"^    (\{.*?\})$", page, re.DOTALL | re.MULTILINE)
    assert text is not None
    assert AcceleratorConfig(**json.loads(text.group(1))) == WIDE_CONFIG


def test_committed_predictions_are_within_their_limits() -> None:
    measured = json.loads((DOCS / "results" / "cycle-model.json").read_text())
    assert {entry["config"] for entry in measured["networks"]} == set(PRESETS)
    for entry in measured["networks"]:
        assert abs(entry["cycles_total"]["error_percent"]) <= 1
        assert all(abs(layer["error_percent"]) <= 3 for layer in entry["layers"])


def test_committed_reference_layers_reach_their_fraction_of_the_bound() -> None:
    measured = json.loads((DOCS / "results" / "reference-layers.json").read_text())
    least = {16: 0.90, 64: 0.88, 128: 0.80}
    assert {entry["mac_units"] for entry in measured["layers"]} <= set(least)
    assert len(measured["layers"]) % 3 == 0 < len(measured["layers"])
    for entry in measured["layers"]:
        assert entry["fraction_of_bound"] >= least[entry["mac_units"]]
