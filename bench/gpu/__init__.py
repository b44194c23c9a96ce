"""The GPU report: its parts, which run in processes of their own, and the board that runs them."""
