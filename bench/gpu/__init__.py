"""The report of a GPU: its parts, each a process, and the board that runs them."""
