"""cocotb benches, one for each kind of unit; run by `oleaster.sim.rtl.cosim`."""
