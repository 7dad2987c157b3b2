"""Names of the bus ports and what they are connected to."""

from collections.abc import Mapping

from amaranth.hdl import Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from jpnet_spec.config import AcceleratorConfig

__all__ = ["LITE", "READ", "WRITE", "connect_ports", "constant_ports", "part_ports", "unused_ports"]

LITE = {
    "s_axil_awaddr": "aw_address",
    "s_axil_awvalid": "aw_valid",
    "s_axil_awready": "aw_ready",
    "s_axil_wdata": "w_data",
    "s_axil_wstrb": "w_strobe",
    "s_axil_wvalid": "w_valid",
    "s_axil_wready": "w_ready",
    "s_axil_bresp": "b_resp",
    "s_axil_bvalid": "b_valid",
    "s_axil_bready": "b_ready",
    "s_axil_araddr": "ar_address",
    "s_axil_arvalid": "ar_valid",
    "s_axil_arready": "ar_ready",
    "s_axil_rdata": "r_data",
    "s_axil_rresp": "r_resp",
    "s_axil_rvalid": "r_valid",
    "s_axil_rready": "r_ready",
}
"""AXI4-Lite port to member of `jpnet_hw.registers_block.RegistersBlock`."""

READ = {
    "m_axi_araddr": "ar_address",
    "m_axi_arlen": "ar_length",
    "m_axi_arvalid": "ar_valid",
    "m_axi_arready": "ar_ready",
    "m_axi_rdata": "r_data",
    "m_axi_rresp": "r_resp",
    "m_axi_rvalid": "r_valid",
    "m_axi_rready": "r_ready",
}
"""AXI4 port to member of `jpnet_hw.axi_reader.AxiReader`."""

WRITE = {
    "m_axi_awaddr": "aw_address",
    "m_axi_awlen": "aw_length",
    "m_axi_awvalid": "aw_valid",
    "m_axi_awready": "aw_ready",
    "m_axi_wdata": "w_data",
    "m_axi_wstrb": "w_strobe",
    "m_axi_wlast": "w_last",
    "m_axi_wvalid": "w_valid",
    "m_axi_wready": "w_ready",
    "m_axi_bresp": "b_resp",
    "m_axi_bvalid": "b_valid",
    "m_axi_bready": "b_ready",
}
"""AXI4 port to member of `jpnet_hw.axi_writer.AxiWriter`."""

_INCREMENTING = 1
_BUFFERABLE_MODIFIABLE = 3


def part_ports(names: Mapping[str, str], part: wiring.Component) -> dict[str, wiring.Member]:
    """Return ports like the part's members."""
    return {port: part.signature.members[member] for port, member in names.items()}


def unused_ports() -> dict[str, wiring.Member]:
    """Return the inputs that the protocol has and the accelerator does not look at."""
    widths = {
        "s_axil_awprot": 3,
        "s_axil_arprot": 3,
        "m_axi_bid": 1,
        "m_axi_rid": 1,
        "m_axi_rlast": 1,
    }
    return {name: In(width) for name, width in widths.items()}


def constant_ports(config: AcceleratorConfig) -> dict[str, Const]:
    """Return the outputs that never change: one id, whole beats, rising addresses."""
    values = {
        "id": Const(0, 1),
        "size": Const(exact_log2(config.beat_bytes), 3),
        "burst": Const(_INCREMENTING, 2),
        "lock": Const(0, 1),
        "cache": Const(_BUFFERABLE_MODIFIABLE, 4),
        "prot": Const(0, 3),
    }
    return {
        f"m_axi_{channel}{name}": value
        for channel in ("aw", "ar")
        for name, value in values.items()
    }


def connect_ports(
    m: Module, names: Mapping[str, str], top: wiring.Component, part: wiring.Component
) -> None:
    """Connect the ports with the part's members."""
    for port, member in names.items():
        inner, outer = getattr(part, member), getattr(top, port)
        if part.signature.members[member].flow is wiring.In:
            m.d.comb += inner.eq(outer)
        else:
            m.d.comb += outer.eq(inner)
