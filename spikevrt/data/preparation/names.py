"""What the command line offers, for parsers that import nothing heavy."""

DATASET_NAMES = ("spk-gopro", "spk-x4k", "sreds", "s-sdm")
"""Keys of `downloads.DATASETS`."""
