"""Runs generated Verilog in Verilator, natively and under cocotb."""
