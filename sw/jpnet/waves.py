"""Waveforms of one image, and a view of them for GTKWave."""

from pathlib import Path

from jpnet.compilation import load_compiled
from jpnet.emission import find_verilog
from jpnet.images import load_test_images
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.runner import run_native
from jpnet_spec.artefact import atomic_path

__all__ = ["record_waves", "view_file"]

_GROUPS = {
    "host": ("clk", "rst", "irq", "s_axil_awvalid", "s_axil_awaddr[11:0]", "s_axil_wdata[31:0]"),
    "memory reads": ("m_axi_arvalid", "m_axi_arready", "m_axi_rvalid", "m_axi_rready"),
    "memory writes": ("m_axi_awvalid", "m_axi_wvalid", "m_axi_wready", "m_axi_bvalid"),
    "rows drained": (
        "trace_row_valid",
        "trace_row_image[31:0]",
        "trace_row_layer[9:0]",
        "trace_row_index[15:0]",
        "trace_row_data[{row_bit}:0]",
    ),
    "thresholds": (
        "trace_theta_valid",
        "trace_theta_image[31:0]",
        "trace_theta_layer[9:0]",
        "trace_theta_value[6:0]",
    ),
}


def view_file(waves: Path, *, lanes: int) -> str:
    """Return the text of a GTKWave save file that shows bus, drained rows and thresholds."""
    lines = [f'[dumpfile] "{waves.name}"', "[timestart] 0", "[sst_expanded] 1"]
    for title, signals in _GROUPS.items():
        lines += ["@200", f"-{title}"]
        for signal in signals:
            name = signal.format(row_bit=8 * lanes - 1)
            lines += ["@22" if "[" in name else "@28", f"TOP.{name}"]
    return "\n".join(lines) + "\n"


def record_waves(workspace: Workspace, *, image: int, data_root: Path | None) -> list[Path]:
    """Run one test image and return the waveform file and its view file.

    Raises
    ------
    ValueError
        If there is no such image, or schedule or Verilog are missing or damaged.
    """
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    verilog = find_verilog(workspace)
    data = load_test_images(network, data_root=data_root)
    if image >= len(data.images):
        raise ValueError(f"--image must be below {len(data.images)}, not {image!r}")
    view = workspace.waves_file.with_suffix(".gtkw")
    with atomic_path(workspace.waves_file) as temporary:
        run_native(
            verilog,
            schedule=schedule,
            images=data.images[image : image + 1],
            cache_dir=workspace.cache_folder,
            waves=temporary,
        )
    with atomic_path(view) as temporary:
        temporary.write_text(view_file(workspace.waves_file, lanes=schedule.config.lanes))
    return [workspace.waves_file, view]
