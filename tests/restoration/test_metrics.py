"""PSNR and SSIM against scikit-image."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from spikevrt.errors import UserError
from spikevrt.restoration.metrics import psnr, require_window, ssim


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_figures_are_those_of_scikit_image(channels, noise):
    torch.manual_seed(0)
    a = torch.rand(4, channels, 25, 31, dtype=torch.float64)
    b = (a + noise * torch.randn_like(a)).clamp(0, 1)
    for i in range(4):
        x, y = a[i].numpy(), b[i].numpy()
        assert float(psnr(a, b)[i]) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1), abs=1e-10)
        wanted = structural_similarity(
            x,
            y,
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            win_size=11,
        )
        # scikit-image averages over the picture without a border of half a window, as we do.
        assert float(ssim(a, b)[i]) == pytest.approx(wanted, abs=1e-10)


def test_equal_pictures():
    a = torch.rand(3, 16, 16)
    assert math.isinf(psnr(a, a))
    assert float(ssim(a, a)) == pytest.approx(1)


def test_pictures_below_the_window_of_ssim_are_refused():
    a = torch.rand(3, 11, 11)
    assert float(ssim(a, a)) == pytest.approx(1)
    with pytest.raises(
        UserError, match=r"frames of 10x40 pixels cannot be scored, as SSIM .* 11x11; use larger frames"
    ):
        ssim(torch.rand(3, 10, 40), torch.rand(3, 10, 40))
    with pytest.raises(UserError, match="data/val/a: frames of 40x10 pixels"):
        require_window((40, 10), "data/val/a")
