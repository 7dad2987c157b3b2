import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jpnet.area import insert_areas, measure_area, print_area, read_areas
from jpnet.workspace import Workspace
from jpnet_hw.place_and_route import DEVICE
from jpnet_hw.synthesis import SynthesisReport

FOUND = SynthesisReport(
    config_hash=1,
    device=DEVICE,
    lut4=20000,
    comb=21234,
    flip_flops=10000,
    dp16kd=80,
    mult18x18d=60,
    distributed_ram_lut4=300,
    parts={
        "lanes": {"mult18x18d": 16, "dp16kd": 70, "distributed_ram_lut4": 0},
        "drain": {"mult18x18d": 44, "dp16kd": 10, "distributed_ram_lut4": 300},
    },
    fmax_mhz={"grade 6": 70.5, "grade 8": 81.25},
    target_mhz=85.0,
    critical_start="a.Q",
    critical_end="b.D",
    seed=1,
    tools={},
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose synthesis has an answer at once."""

    def synthesise(*_: Any, **__: Any) -> SynthesisReport:
        return FOUND

    monkeypatch.setattr("jpnet.area.find_verilog", lambda workspace: tmp_path)
    monkeypatch.setattr("jpnet_hw.synthesis.synthesise", synthesise)
    return Workspace(build=tmp_path / "build", model="mlp3", config="edge16")


@pytest.mark.parametrize("folder", [None, "results"])
def test_figures_are_kept_in_the_workspace_and_in_a_folder_of_results(
    folder: str | None, workspace: Workspace, tmp_path: Path
) -> None:
    results = None if folder is None else tmp_path / folder
    content = measure_area(workspace, target_mhz=85, results=results, console=Console(quiet=True))
    kept = json.loads(workspace.synthesis_file.read_text())
    assert kept["comb"] == content["comb"] == FOUND.comb
    copies = list(tmp_path.glob("results/*"))
    assert [path.name for path in copies] == ([] if folder is None else ["synthesis-edge16.json"])
    assert all(json.loads(path.read_text()) == kept for path in copies)


def test_all_figures_are_printed(workspace: Workspace) -> None:
    console = Console(record=True, width=120, file=StringIO())
    content = measure_area(workspace, target_mhz=85, results=None, console=console)
    print_area(content, console)
    text = console.export_text()
    for figure in ("21,234", "20,000", "10,000", "80", "60", "70.5 MHz", "81.2 MHz", "a.Q", "b.D"):
        assert figure in text


def test_figures_are_put_into_a_page(workspace: Workspace) -> None:
    content = measure_area(workspace, target_mhz=85, results=None, console=Console(quiet=True))
    page = "text\n<!-- jpnet synth docs/results -->\nold\n<!-- end of area -->\nmore\n"
    text = insert_areas(page, [content])
    assert "| highest clock, speed grade 8 | 81.2 MHz |" in text
    assert "| in lanes / drain | 16 / 44 |" in text
    assert "old" not in text
    assert text.startswith("text\n")
    assert text.endswith("more\n")
    assert insert_areas(text, [content]) == text
    with pytest.raises(ValueError, match="end of area"):
        insert_areas("text", [content])


def test_all_configurations_of_a_folder_stand_side_by_side(
    workspace: Workspace, tmp_path: Path
) -> None:
    for name in ("edge16", "tiny"):
        measure_area(
            replace(workspace, config=name),
            target_mhz=85,
            results=tmp_path / "results",
            console=Console(quiet=True),
        )
    page = "<!-- jpnet synth docs/results -->\n<!-- end of area -->\n"
    text = insert_areas(page, read_areas(tmp_path / "results"))
    assert f"| on an {DEVICE} | `tiny` | `edge16` |\n| --- | ---: | ---: |\n" in text
    assert "| MAC units | 4 | 16 |" in text
    assert "| block RAMs (DP16KD) | 80 | 80 |" in text
