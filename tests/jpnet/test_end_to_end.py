"""A small network through every command but training, on the generated Verilog."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jpnet import cli
from jpnet.estimation import ESTIMATE_KIND
from jpnet.report import read_report
from jpnet.workspace import Workspace
from jpnet_cosim.samples import GEOMETRIES
from jpnet_spec.counters import STALL_COUNTERS
from jpnet_spec.model_file import save_network
from jpnet_spec.network import IntegerNetwork

IMAGES = 12

REPORT_KEYS = {
    *("model", "dataset", "config", "seed", "commit", "images"),
    *("accuracy_dense", "accuracy_jp", "accuracy_int8", "accuracy_rtl"),
    *("weight_density", "activation_density", "macs_dense", "macs_weight_only", "macs_effective"),
    *("mac_percent_effective", "mac_percent_product", "mac_units"),
    *("cycles_total", "cycles_latency", "cycles_cold", "cycles_bound", "fraction_of_bound"),
    *("cycles_dense", "speedup_over_dense", "mismatches", "layers"),
    *("cycles_weight_only", "speedup_over_weight_only"),
}
"""The report's fixed keys."""


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, small_model: Path
) -> Workspace:
    """A workspace in which the small network was compiled, generated and simulated."""
    folder = tmp_path_factory.mktemp("end_to_end")
    config = folder / "small.json"
    config.write_text(json.dumps(GEOMETRIES["single"].as_dict()))
    workspace = Workspace(build=folder / "build", model=str(small_model), config=str(config))
    assert pytestconfig.cache is not None
    workspace.build.mkdir()
    workspace.cache_folder.symlink_to(pytestconfig.cache.mkdir("verilator"))
    for command in ("compile", "rtl"):
        assert cli.run([command, *options(workspace)]) == 0
    assert cli.run(["simulate", *options(workspace), "--images", str(IMAGES)]) == 0
    return workspace


def options(workspace: Workspace) -> list[str]:
    return [
        *("--model", workspace.model),
        *("--config", workspace.config),
        *("--build", str(workspace.build)),
    ]


@pytest.fixture
def report(built: Workspace) -> dict[str, object]:
    assert cli.run(["report", *options(built)]) == 0
    return read_report(built)


def test_report_has_every_fixed_key(report: dict[str, object]) -> None:
    assert set(report) >= REPORT_KEYS
    assert report["images"] == IMAGES
    assert report["mismatches"] == 0
    assert report["accuracy_rtl"] == report["accuracy_int8"]


def test_estimate_predicts_what_the_simulation_measured(
    built: Workspace, report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["estimate", *options(built), "--images", str(IMAGES)]) == 0
    assert "back to back" in capsys.readouterr().out
    found = json.loads(built.estimate_file.read_text())
    assert found["kind"] == ESTIMATE_KIND
    assert found["cycles_total"] == pytest.approx(report["cycles_total"], rel=0.01)
    assert found["cycles_latency"] == pytest.approx(report["cycles_latency"])
    measured = {layer["name"]: layer["cycles"] for layer in report["layers"]}
    assert {layer["name"]: layer["cycles"] for layer in found["layers"]} == pytest.approx(measured)


def test_every_number_says_how_it_was_made(report: dict[str, object]) -> None:
    made = report["provenance"]
    assert isinstance(made, dict)
    identity = {"kind", "format_version", "provenance", "model", "dataset", "config", "commit"}
    for key in set(report) - identity - {"accuracy_dense", "accuracy_jp"}:
        assert set(made[key]) == {"command", "seed", "data", "commit", "device", "tools"}, key
        assert made[key]["data"] == "digits"
        assert made[key]["seed"] == 7


def test_layers_account_for_every_lane_cycle(report: dict[str, object]) -> None:
    layers, units = report["layers"], report["mac_units"]
    assert isinstance(layers, list)
    assert isinstance(units, int)
    measured = 0.0
    for layer in layers:
        lanes = sum(layer["stalls"][counter.name] for counter in STALL_COUNTERS)
        measured += layer["cycles"]
        assert min(layer["stalls"].values()) >= 0
        assert lanes <= layer["cycles"] * units
    busy = sum(layer["cycles"] * units - sum(layer["stalls"].values()) for layer in layers)
    assert busy == pytest.approx(busy_cycles(report), rel=0.2)
    assert measured == pytest.approx(report["cycles_latency"], rel=0.1)


def busy_cycles(report: dict[str, object]) -> float:
    value = report["macs_effective"]
    assert isinstance(value, float)
    return value


def test_figures_are_pictures(report: dict[str, object], built: Workspace) -> None:
    for name in ("cycles.png", "macs.png"):
        assert (built.folder / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_commands_leave_no_other_files(report: dict[str, object], built: Workspace) -> None:
    assert {path.name for path in built.folder.iterdir()} - {
        *("waves.fst", "waves.gtkw", "estimate.json"),
    } == {
        *("schedule.safetensors", "rtl", "simulation.json", "report.json"),
        *("cycles.png", "macs.png"),
    }


def test_tables_fit_a_terminal_of_80_columns(
    built: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", *options(built)]) == 0
    output = capsys.readouterr().out
    assert "…" not in output
    assert "values that differ" in output


def test_altered_verilog_is_refused(built: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = built.rtl_folder / "jpnet_accelerator.v"
    text = path.read_text()
    path.write_text(text.replace("8'h00", "8'h01", 1))
    assert cli.run(["simulate", *options(built), "--images", "1"]) == 2
    path.write_text(text)
    assert "altered since it was generated" in capsys.readouterr().err


def test_report_of_another_network_is_refused(
    built: Workspace,
    small_network: IntegerNetwork,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    layer = small_network.layers[0]
    other = replace(small_network, layers=(replace(layer, shift=3), *small_network.layers[1:]))
    save_network(other, tmp_path / f"{built.model_name}.safetensors")
    changed = replace(built, model=str(tmp_path / f"{built.model_name}.safetensors"))
    assert cli.run(["report", *options(changed)]) == 2
    assert "measured on another" in capsys.readouterr().err


@pytest.mark.slow
def test_waves_has_the_signals_of_its_view(built: Workspace) -> None:
    assert cli.run(["waves", *options(built)]) == 0
    assert built.waves_file.stat().st_size > 1000
    verilog = (built.rtl_folder / "jpnet_accelerator.v").read_text()
    view = built.waves_file.with_suffix(".gtkw").read_text()
    for line in view.splitlines():
        if line.startswith("TOP."):
            name, _, width = line.removeprefix("TOP.jpnet_native.core.").partition("[")
            declared = f"[{width} {name};" if width else f"put {name};"
            assert declared in verilog, line


def test_waves_of_a_missing_image_is_refused(
    built: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["waves", *options(built), "--image", "359"]) == 2
    assert "--image must be below 359, not 359" in capsys.readouterr().err


def test_cosim_runs_its_benches(built: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["cosim", *options(built), "--images", "2"]) == 0
    assert "4 benches passed" in capfd.readouterr().out
