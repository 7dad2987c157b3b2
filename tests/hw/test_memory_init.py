from jpnet_hw.memory_init import fold_initial_values


def block(values: list[str], name: str = "rows") -> str:
    lines = [f"    {name}[{address}] = {value};\n" for address, value in enumerate(values)]
    return "".join(["  initial begin\n", *lines, "  end\n"])


def test_equal_entries_become_a_loop() -> None:
    entries = block(["8'h00"] * 4)
    text = f"  reg [7:0] rows [3:0];\n{entries}  assign a = b;\n"
    folded = fold_initial_values(text)
    assert "for (entry_rows = 0; entry_rows < 4; entry_rows = entry_rows + 1)\n" in folded
    assert "    rows[entry_rows] = 8'h00;\n" in folded
    assert folded.startswith("  reg [7:0] rows [3:0];\n")
    assert folded.endswith("  assign a = b;\n")
    assert "initial begin" not in folded


def test_unequal_entries_stay() -> None:
    text = block(["8'h00", "8'h01", "8'h00"])
    assert fold_initial_values(text) == text


def test_escaped_names_keep_their_space() -> None:
    folded = fold_initial_values(block(["4'hf"] * 2, name="\\a.b "))
    assert "\\a.b [entry_a_b] = 4'hf;" in folded


def test_each_memory_is_folded_by_itself() -> None:
    folded = fold_initial_values(block(["1'h0"] * 2) + block(["2'h1"] * 3, name="other"))
    assert "integer entry_rows;\n" in folded
    assert "rows[entry_rows] = 1'h0;" in folded
    assert "integer entry_other;\n" in folded
    assert "other[entry_other] = 2'h1;" in folded


def test_decimal_numbers_are_folded_too() -> None:
    assert "rows[entry_rows] = 32'd0;" in fold_initial_values(block(["32'd0"] * 3))
