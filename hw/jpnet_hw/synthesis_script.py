"""The Yosys script that maps an accelerator to an ECP5."""

__all__ = ["ADDERS_FILE", "SHORT_ADDERS", "synthesis_script"]

_DELAY_PS = 2500
"""What logic may take between registers, wires as ABC9 guesses them; the rest goes to routing.

Without it, ABC9 makes every path as short as the longest one and pays for that in area.
"""

_CHAIN_WIDTH = 7
"""Bits of the shortest sum with a carry chain; each chain has an entry and an exit that cost."""

_FLIP_FLOPS = (
    "dfflegalize -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r -cell $_SDFF_?P?_ r -cell $_DFFE_??_ 01 "
    "-cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r -mince 4 -minsrst 16"
)
"""Flip-flops of the device, without enables and resets that only a few share.

The eight flip-flops of a tile have one reset, the two of a slice one enable: a small group of them
leaves the rest of its tile or slice empty, and look-up tables do the same.
"""

_LOCAL_REGISTERS = "setattr -set keep 1 a:keep %ci1 t:$dff %i"
"""Keeps the registers of signals that are to be kept, which Yosys would merge with equal ones."""

ADDERS_FILE = "short_adders.v"
"""File that the script reads `SHORT_ADDERS` from."""

SHORT_ADDERS = f"""(* techmap_celltype = "$alu" *)
module short_adder (A, B, CI, BI, X, Y, CO);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  input CI, BI;
  output [Y_WIDTH-1:0] X, Y, CO;
  localparam MAPPED = Y_WIDTH < {_CHAIN_WIDTH} && A_WIDTH > 0 && B_WIDTH > 0;
  wire _TECHMAP_FAIL_ = !MAPPED;
  genvar place;
  generate if (MAPPED) begin
    wire [Y_WIDTH-1:0] a, b_wide;
    \\$pos #(.A_SIGNED(A_SIGNED), .A_WIDTH(A_WIDTH), .Y_WIDTH(Y_WIDTH)) a_pos (.A(A), .Y(a));
    \\$pos #(.A_SIGNED(B_SIGNED), .A_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) b_pos (.A(B), .Y(b_wide));
    wire [Y_WIDTH-1:0] b = b_wide ^ {{Y_WIDTH{{BI}}}};
    wire [Y_WIDTH:0] carry;
    assign carry[0] = CI;
    for (place = 0; place < Y_WIDTH; place = place + 1) begin
      assign carry[place + 1] = (a[place] & b[place]) | (carry[place] & (a[place] | b[place]));
    end
    assign X = a ^ b;
    assign Y = X ^ carry[Y_WIDTH-1:0];
    assign CO = carry[Y_WIDTH:1];
  end endgenerate
endmodule
"""
"""How short sums are mapped: from look-up tables alone, which merge with the logic around."""


def synthesis_script(sources: list[str], *, top: str, netlist: str) -> str:
    """Return the script that maps Verilog files to a netlist in JSON.

    Parameters
    ----------
    sources
        The files, `SHORT_ADDERS` not among them.
    top
        The top module.
    netlist
        The file to write.
    """
    synth = f"synth_lattice -family ecp5 -top {top}"
    return "\n".join(
        (
            *(f"read_verilog {source}" for source in sources),
            "proc",
            _LOCAL_REGISTERS,
            f"scratchpad -set abc9.D {_DELAY_PS}",
            f"{synth} -run begin:map_gates",
            f"techmap -map {ADDERS_FILE}",
            "opt -fast",
            f"{synth} -run map_gates:map_ffs",
            "opt_clean",
            _FLIP_FLOPS,
            f"{synth} -run map_ffs:edif",
            f"write_json {netlist}",
            "",
        )
    )
