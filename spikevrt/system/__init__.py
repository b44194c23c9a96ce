"""The machine: devices, memory, processes."""
