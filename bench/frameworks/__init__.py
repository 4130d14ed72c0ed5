"""The library against what else computes the same: workloads times contenders, on a GPU or on the CPU."""
