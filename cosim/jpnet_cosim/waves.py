"""View files for waveforms."""

from pathlib import Path

from jpnet_spec.artefact import atomic_path
from jpnet_spec.config import AcceleratorConfig

__all__ = ["write_view"]


def _signals(config: AcceleratorConfig) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return the signals by group, each with its width in bits."""
    data, address = config.axi_data_width, config.axi_addr_width
    context = max(1, (config.contexts - 1).bit_length())
    return {
        "Core": (("clk", 1), ("rst", 1), ("irq", 1)),
        "Registers": (
            ("s_axil_awvalid", 1),
            ("s_axil_awaddr", 12),
            ("s_axil_wdata", 32),
            ("s_axil_arvalid", 1),
            ("s_axil_araddr", 12),
            ("s_axil_rvalid", 1),
            ("s_axil_rdata", 32),
        ),
        "Memory reads": (
            ("m_axi_arvalid", 1),
            ("m_axi_arready", 1),
            ("m_axi_araddr", address),
            ("m_axi_arlen", 8),
            ("m_axi_rvalid", 1),
            ("m_axi_rready", 1),
            ("m_axi_rdata", data),
        ),
        "Memory writes": (
            ("m_axi_awvalid", 1),
            ("m_axi_awready", 1),
            ("m_axi_awaddr", address),
            ("m_axi_wvalid", 1),
            ("m_axi_wready", 1),
            ("m_axi_wdata", data),
        ),
        "Drained rows": (
            ("trace_row_valid", 1),
            ("trace_row_context", context),
            ("trace_row_image", 32),
            ("trace_row_layer", 10),
            ("trace_row_banks", config.clusters),
            ("trace_row_address", config.act_addr_width),
            ("trace_row_column", max(1, (config.act_columns - 1).bit_length())),
            ("trace_row_data", 8 * config.lanes * config.clusters),
        ),
        "Thresholds": (
            ("trace_theta_valid", 1),
            ("trace_theta_context", context),
            ("trace_theta_image", 32),
            ("trace_theta_layer", 10),
            ("trace_theta_value", 7),
        ),
    }


def write_view(waveform: Path, config: AcceleratorConfig) -> Path:
    """Write a GTKWave view file beside a waveform and return its path.

    It shows both buses, the drained rows and the thresholds; Surfer opens it too.

    Parameters
    ----------
    waveform
        Waveform written by `jpnet_cosim.runner.run_native`.
    config
        The simulated accelerator.
    """
    lines = [f'[dumpfile] "{waveform.name}"', "[timestart] 0"]
    for title, signals in _signals(config).items():
        lines += ["@200", f"-{title}"]
        for name, width in signals:
            lines.append("@28" if width == 1 else "@22")
            lines.append(
                f"TOP.jpnet_native.core.{name}" + (f"[{width - 1}:0]" if width > 1 else "")
            )
    view = waveform.with_suffix(".gtkw")
    with atomic_path(view) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    return view
