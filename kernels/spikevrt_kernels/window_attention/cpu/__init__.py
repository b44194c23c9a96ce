"""Window attention in float32 on the CPU: threads, kernels, and the vector passes that they use."""
