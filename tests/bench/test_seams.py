"""Seams are found where they are, and only there."""

import numpy as np
import pytest

from bench.seams import across_seams, compared, main
from spikevrt.data.files.images import write_png
from spikevrt.errors import UserError


def test_a_step_at_a_seam_is_seen():
    random = np.random.default_rng(0)
    whole = random.normal(0.5, 0.01, (2, 3, 100, 120))
    tiled = whole.copy()
    tiled[..., 50:] += 0.1
    seams = compared(whole, tiled, [[40], [50]])
    assert seams.difference == pytest.approx(255 * 0.1 * 38 / 56, rel=1e-6)
    assert seams.whole == pytest.approx(1, abs=0.1)
    assert seams.tiled == pytest.approx((1 + 0.1 / 0.0113) / 2, rel=0.1)
    assert across_seams(tiled, [[40], [60]]) == pytest.approx(1, abs=0.15)


def test_tiles_of_the_small_model_hardly_show(tmp_path, capsys):
    random = np.random.default_rng(0)
    for number in range(2):
        picture = random.integers(100, 110, (120, 200, 3)).astype(np.uint8)
        write_png(tmp_path / "clip" / "blur" / f"{number}.png", picture)
    arguments = ["--weights", "tiny-rgb", "--tile", "128", "--out", str(tmp_path / "seams.png")]
    assert main([str(tmp_path / "clip"), *arguments]) == 0
    figures = capsys.readouterr().out.splitlines()[-1].split("|")[2:-1]
    difference, *_, ratio = map(float, figures)
    assert difference < 0.5
    assert ratio == pytest.approx(1, abs=0.1)
    assert (tmp_path / "seams.png").is_file()
    with pytest.raises(UserError, match="its frames are not larger than --tile 512; give a smaller one"):
        main([str(tmp_path / "clip"), "--weights", "tiny-rgb", "--tile", "512"])
