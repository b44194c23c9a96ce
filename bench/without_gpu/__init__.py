"""Facts about kernels that are found without a GPU."""
