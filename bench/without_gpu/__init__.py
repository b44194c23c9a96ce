"""What can be said about kernels without a GPU."""
