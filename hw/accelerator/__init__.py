"""The accelerator: a systolic array that runs lists of GEMM descriptors over AXI."""
