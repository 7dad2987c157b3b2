"""Benches of single components on their generated Verilog."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.lib import wiring

from jpnet_cosim.bench_runner import run_benches
from jpnet_cosim.components import emit_component
from jpnet_cosim.samples import SMALL
from jpnet_cosim.verilator_build import lint
from jpnet_hw.lane import Lane
from jpnet_hw.requantiser import Requantiser
from jpnet_hw.threshold import ThresholdCounter
from jpnet_spec.config import AcceleratorConfig

COMPONENTS: dict[str, Callable[[AcceleratorConfig], wiring.Component]] = {
    "lane": Lane,
    "requantiser": Requantiser,
    "threshold": ThresholdCounter,
}
"""Bench name to what it runs on."""

CONFIG = replace(SMALL, lanes=4, acc_width=18)
"""Odd beside what the tests of the same parts in Amaranth's simulator use."""


@pytest.mark.parametrize("name", list(COMPONENTS))
def test_component_passes_its_benches(cache_dir: Path, tmp_path: Path, name: str) -> None:
    emit_component(COMPONENTS[name](CONFIG), tmp_path / "verilog", top=name)
    lint(tmp_path / "verilog", top=name)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.as_dict()))
    ran = run_benches(
        tmp_path / "verilog",
        top=name,
        module=f"jpnet_cosim.benches.{name}_bench",
        cache_dir=cache_dir,
        work_dir=tmp_path,
        options={"config": str(tmp_path / "config.json")},
    )
    assert ran > 0
