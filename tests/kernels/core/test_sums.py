"""How sums of weights' gradients are divided among programs: nothing is left out, and little is read again."""

import pytest

from spikevrt_kernels.core import sums
from spikevrt_kernels.core.sums import SUM_TILES, divided, programs_over

WIDTHS = (1, 7, 16, 33, 48, 96, 120, 144, 180, 360, 480, 1080)


@pytest.mark.parametrize("K", WIDTHS)
def test_a_division_covers_all_sums_and_fits_the_registers(K):
    for N in WIDTHS:
        one = divided(N, K)
        most = {columns: tiles for _, columns, tiles in SUM_TILES}
        assert one.nn * one.nk <= max(most.values())
        assert one.sn * one.sk * one.nn * one.nk <= 64 * 128 * 5
        for size, tile, tiles, parts in ((N, one.sn, one.nn, one.n_parts), (K, one.sk, one.nk, one.k_parts)):
            assert (parts - 1) * tile * tiles < size <= parts * tile * tiles


@pytest.mark.parametrize("C", [48, 96, 120, 144, 180])
@pytest.mark.parametrize(("groups", "most"), [(3, 7), (6, 13)])
def test_a_projection_of_a_norm_reads_few_units(C, groups, most):
    assert divided(groups * C, C).moved(1, groups) <= most


@pytest.mark.parametrize("C", [48, 96, 120, 144, 180])
@pytest.mark.parametrize(("inputs", "most"), [(1, 3), (2, 4)])
def test_a_projection_to_a_residual_reads_few_units(C, inputs, most):
    assert divided(C, inputs * C).moved(inputs, 1) <= most


def test_all_programs_together_have_about_as_many_rows_of_sums(monkeypatch):
    monkeypatch.setattr(sums, "PROGRAMS", 12)
    assert [programs_over(100, parts) for parts in (1, 3, 7, 40)] == [12, 4, 1, 1]
    assert programs_over(2) == 2
