"""A module with four pins around an accelerator, which has more ports than a device has pins."""

import re

from jpnet_hw.verilog import TOP

__all__ = ["WRAPPER", "wrapped_in_pins"]

WRAPPER = "jpnet_pins"
"""Name of the module."""


def _ports(verilog: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return inputs and outputs of the top module, clock and reset left out, as (name, bits)."""
    start = verilog.index(f"module {TOP}(")
    module = verilog[start : verilog.index("endmodule", start)]
    found: dict[str, list[tuple[str, int]]] = {"input": [], "output": []}
    for kind, high, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", module, re.MULTILINE
    ):
        if name not in ("clk", "rst"):
            found[kind].append((name, int(high or 0) + 1))
    return found["input"], found["output"]


def wrapped_in_pins(verilog: str) -> str:
    """Return Verilog of a top module: inputs are shifted in, outputs are folded together.

    Parameters
    ----------
    verilog
        Of the accelerator.
    """
    inputs, outputs = _ports(verilog)
    in_width = sum(width for _, width in inputs)
    out_width = -(-sum(width for _, width in outputs) // 64) * 64
    ports, place = [], 0
    for name, width in inputs:
        ports.append(f"    .{name}(in_q[{place} +: {width}])")
        place += width
    place = 0
    for name, width in outputs:
        ports.append(f"    .{name}(out[{place} +: {width}])")
        place += width
    padding = f"assign out[{out_width - 1}:{place}] = 0;" if place < out_width else ""
    connections = ",\n".join(ports)
    return f"""module {WRAPPER}(input clk, input rst, input serial_in, output reg serial_out);
  reg [{in_width - 1}:0] in_q;
  wire [{out_width - 1}:0] out;
  reg [{out_width - 1}:0] out_q;
  reg [{out_width // 8 - 1}:0] fold_q;
  reg [{out_width // 64 - 1}:0] fold_qq;
  {padding}
  integer i;
  always @(posedge clk) begin
    in_q <= {{in_q, serial_in}};
    out_q <= out;
    for (i = 0; i < {out_width // 8}; i = i + 1) fold_q[i] <= ^out_q[8 * i +: 8];
    for (i = 0; i < {out_width // 64}; i = i + 1) fold_qq[i] <= ^fold_q[8 * i +: 8];
    serial_out <= ^fold_qq;
  end
  {TOP} dut (
    .clk(clk),
    .rst(rst),
{connections}
  );
endmodule
"""
