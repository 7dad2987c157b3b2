"""The view file names signals that the waveforms have."""

from pathlib import Path

from jpnet_cosim.samples import SMALL
from jpnet_cosim.waves import write_view


def test_view_names_both_buses_and_the_trace(tmp_path: Path) -> None:
    view = write_view(tmp_path / "image.fst", SMALL)
    assert view == tmp_path / "image.gtkw"
    lines = view.read_text().splitlines()
    assert lines[0] == '[dumpfile] "image.fst"'
    shown = [line.removeprefix("TOP.jpnet_native.core.") for line in lines if "TOP." in line]
    assert {"clk", "m_axi_rdata[63:0]", "s_axil_awaddr[11:0]"} <= set(shown)
    assert {"trace_row_data[31:0]", "trace_theta_value[6:0]"} <= set(shown)
