"""Programs of a kernel in another order than the interpreter's own."""

import pytest
from triton.runtime import interpreter


def mirrored_programs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run the last program first from now on; the list receives the first index of each program as it was asked for."""
    builder = interpreter.interpreter_builder
    place, order = builder.set_grid_idx, []

    def mirrored(x: int, y: int, z: int) -> None:
        order.append(x)
        place(*(size - 1 - at for size, at in zip(builder.grid_dim, (x, y, z), strict=True)))

    monkeypatch.setattr(builder, "set_grid_idx", mirrored)
    return order
