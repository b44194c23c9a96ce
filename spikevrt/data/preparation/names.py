"""Names for the command line, for parsers that must not import heavy modules."""

DATASET_NAMES = ("spk-gopro", "spk-x4k", "sreds", "s-sdm")
"""The keys of `downloads.DATASETS`."""
