"""The clips of a data set, and training samples cut from them."""
