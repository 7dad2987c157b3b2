"""The accelerator in Amaranth, its Verilog and its synthesis; nothing here imports torch."""
