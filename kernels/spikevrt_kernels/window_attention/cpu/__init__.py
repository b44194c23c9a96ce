"""Window attention for float32 on the CPU: vector passes, kernels, threads."""
