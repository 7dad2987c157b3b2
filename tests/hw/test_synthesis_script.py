import subprocess
import sys

import pytest

from jpnet_hw.synthesis_script import ADDERS_FILE, SHORT_ADDERS, synthesis_script

pytest.importorskip("pyosys", reason="pyosys is not installed")

SUMS = """module sums (input [5:0] a, b, input signed [3:0] c, input signed [5:0] d,
             output [5:0] plus, minus, output signed [5:0] mixed, output below, least);
  assign plus = a + b;
  assign minus = a - b;
  assign mixed = c + d;
  assign below = a < b;
  assign least = c <= d;
endmodule
"""

PROOF = f"""read_verilog sums.v
proc
alumacc
opt
copy sums mapped
cd mapped
techmap -map {ADDERS_FILE}
select -assert-none t:$alu
cd
miter -equiv -flatten -make_assert sums mapped proof
sat -verify -prove-asserts proof
"""


WITHOUT_TERM = """module sums (input [5:0] a, output [23:0] negated);
  assign negated = -{18'b0, a};
endmodule
"""


def yosys(folder, script):
    (folder / "run.ys").write_text(script)
    program = "from pyosys import libyosys; libyosys.run_pass('script run.ys')"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("broken", [False, True])
def test_short_sums_are_what_they_replace(broken, tmp_path):
    adders = SHORT_ADDERS.replace("(a[place] | b[place])", "a[place]") if broken else SHORT_ADDERS
    (tmp_path / ADDERS_FILE).write_text(adders)
    (tmp_path / "sums.v").write_text(SUMS)
    result = yosys(tmp_path, PROOF)
    assert (result.returncode == 0) is not broken, result.stdout[-2000:] + result.stderr[-2000:]


def test_a_short_sum_takes_no_carry_chain(tmp_path):
    (tmp_path / ADDERS_FILE).write_text(SHORT_ADDERS)
    (tmp_path / "sums.v").write_text(SUMS)
    script = synthesis_script(["sums.v"], top="sums", netlist="netlist.json")
    result = yosys(tmp_path, f"{script}select -assert-none t:CCU2C\nselect -assert-any t:LUT4\n")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (tmp_path / "netlist.json").is_file()


def test_a_long_sum_with_an_empty_term_is_left_alone(tmp_path):
    (tmp_path / ADDERS_FILE).write_text(SHORT_ADDERS)
    (tmp_path / "sums.v").write_text(WITHOUT_TERM)
    script = synthesis_script(["sums.v"], top="sums", netlist="netlist.json")
    result = yosys(tmp_path, f"{script}select -assert-any t:CCU2C\n")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


EQUAL_PARTS = """module part (input clk, d, input [3:0] a, output [3:0] y);
  {attribute} reg q;
  always @(posedge clk) q <= d;
  assign y = a ^ {{4{{q}}}};
endmodule
module parts (input clk, d, input [3:0] a, b, output [3:0] y, z);
  part one (clk, d, a, y);
  part two (clk, d, b, z);
endmodule
"""


@pytest.mark.parametrize(("attribute", "left"), [("(* keep = 1 *)", 2), ("", 1)])
def test_registers_that_are_kept_are_not_merged(attribute, left, tmp_path):
    (tmp_path / ADDERS_FILE).write_text(SHORT_ADDERS)
    (tmp_path / "parts.v").write_text(EQUAL_PARTS.format(attribute=attribute))
    script = synthesis_script(["parts.v"], top="parts", netlist="netlist.json")
    result = yosys(tmp_path, f"{script}select -assert-count {left} t:TRELLIS_FF\n")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
