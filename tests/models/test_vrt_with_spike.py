"""The spike branch and the whole model against plain loops, in cases without reference numbers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikevrt.errors import UserError
from spikevrt.models import (
    VRT,
    MultiScaleTemporalCrossAttnFuse,
    SpikeEncoder3D,
    SpikeTemporalSA,
    VRTWithSpike,
)
from spikevrt_kernels.temporal_block import Chunking

BACKENDS = ("naive", "sdpa")
WIDTHS = (8, 12, 8, 16)


def small_vrt(widths=(8, 8, 8, 8), backend="sdpa", **kwargs) -> VRT:
    mirrored = [*widths, *widths[2::-1]]
    return VRT(
        upscale=1,
        img_size=(3, 40, 40),
        window_size=(3, 4, 4),
        depths=[2] * 7 + [1, 1],
        indep_reconsts=[8],
        embed_dims=[*mirrored, widths[0], widths[0]],
        num_heads=[2] * 9,
        deformable_groups=4,
        attn_backend=backend,
        **kwargs,
    )


def randomise(model: nn.Module, std: float = 0.1) -> nn.Module:
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model.double().eval()


def loop_conv3d(x, conv):
    """Conv3d as a sum over its taps."""
    B, _, T, H, W = x.shape
    st, sh, sw = conv.stride
    padded = F.pad(x, (1,) * 6)
    sizes = [-(-n // s) for n, s in zip((T, H, W), (st, sh, sw), strict=True)]
    out = conv.bias.view(1, -1, 1, 1, 1).expand(B, -1, *sizes).clone()
    for dt in range(3):
        for dh in range(3):
            for dw in range(3):
                part = padded[:, :, dt : dt + T : st, dh : dh + H : sh, dw : dw + W : sw]
                out = out + torch.einsum("bithw,oi->bothw", part, conv.weight[:, :, dt, dh, dw])
    return out


@pytest.mark.parametrize(
    ("t_strides", "s_strides", "shapes"),
    [
        ((1, 1, 1), (2, 2, 2), [(5, 13, 10), (5, 7, 5), (5, 4, 3), (5, 2, 2)]),
        ((2, 1, 2), (2, 1, 3), [(5, 13, 10), (3, 7, 5), (3, 7, 5), (2, 3, 2)]),
    ],
    ids=["default", "time-and-space"],
)
def test_encoder_equals_a_loop_over_taps(t_strides, s_strides, shapes):
    encoder = randomise(SpikeEncoder3D(6, WIDTHS, t_strides, s_strides))
    vox = torch.randn(2, 5, 6, 13, 10, dtype=torch.float64)
    features = encoder(vox)
    assert [tuple(f.shape) for f in features] == [(2, c, *s) for c, s in zip(WIDTHS, shapes, strict=True)]

    def residual(x, pair):
        for block in pair:
            x = (x + loop_conv3d(loop_conv3d(x, block.conv1).relu(), block.conv2)).relu()
        return x

    x = residual(loop_conv3d(vox.transpose(1, 2), encoder.in_proj).relu(), encoder.res0)
    assert (features[0] - x).abs().max() < 1e-12
    for i in range(3):
        x = residual(loop_conv3d(x, encoder.downs[i]).relu(), encoder.residuals[i])
        assert (features[i + 1] - x).abs().max() < 1e-12


def mha(weights, heads):
    attention = nn.MultiheadAttention(weights.out_proj.in_features, heads, batch_first=True).double()
    attention.load_state_dict(weights.state_dict())
    return attention


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("T", "T_spk", "size"), [(5, 3, (6, 7)), (2, 7, (3, 3)), (3, 3, (9, 11))])
def test_fusion_with_other_times_and_sizes(T, T_spk, size, backend):
    fusion = randomise(MultiScaleTemporalCrossAttnFuse(WIDTHS, 2, attn_backend=backend, chunk=Chunking(20)))
    rgb = torch.randn(2, 12, T, 6, 7, dtype=torch.float64)
    spikes = torch.randn(2, 12, T_spk, *size, dtype=torch.float64)
    out = fusion(rgb, spikes, 1)
    frames = [F.interpolate(spikes[:, :, t], (6, 7), mode="bilinear", align_corners=False) for t in range(T_spk)]
    resized = torch.stack(frames, 2)
    block = fusion.fuse_blocks[1]
    attention = mha(block.attn.attn, 2)
    for h in range(6):
        for w in range(7):
            tokens = rgb[..., h, w].transpose(1, 2)
            keys = block.ln_kv(resized[..., h, w].transpose(1, 2))
            y = tokens + attention(block.ln_q(tokens), keys, keys, need_weights=False)[0]
            expected = (y + block.ffn(block.ln_ffn(y))).transpose(1, 2)
            assert (out[..., h, w] - expected).abs().max() < 1e-12


def test_self_attention_works_scale_by_scale():
    module = randomise(SpikeTemporalSA(WIDTHS, 2, chunk=Chunking(10)))
    features = [torch.randn(1, c, 3, 9 - i, 5, dtype=torch.float64) for i, c in enumerate(WIDTHS)]
    for out, feature, block in zip(module(features), features, module.blocks, strict=True):
        attention = mha(block.attn, 2)
        tokens = feature.permute(0, 3, 4, 2, 1).flatten(0, 2)
        normed = block.ln1(tokens)
        y = tokens + attention(normed, normed, normed, need_weights=False)[0]
        expected = y + block.mlp(block.ln2(y))
        assert (out.permute(0, 3, 4, 2, 1).flatten(0, 2) - expected).abs().max() < 1e-12


def plain_forward(model: VRTWithSpike, rgb, vox):
    """The data flow of the whole model written out, without a hook."""
    vrt = model.vrt
    spikes = model.spike_temporal_sa(model.spike_encoder(vox))
    backward, forward = vrt.flows(rgb)
    T = rgb.shape[1]
    zero = torch.zeros_like(rgb[:, 0]).repeat(1, 4, 1, 1)
    from spikevrt_kernels.flow_warp import flow_warp

    frames = []
    for t in range(T):
        later = flow_warp(rgb[:, t + 1], backward[0][:, t], "nearest4") if t < T - 1 else zero
        earlier = flow_warp(rgb[:, t - 1], forward[0][:, t - 1], "nearest4") if t else zero
        frames.append(torch.cat((rgb[:, t], later, earlier), 1))
    first = vrt.conv_first(torch.stack(frames, 2))
    x, fused = first, []
    for i in range(4):
        x = getattr(vrt, f"stage{i + 1}")(x, backward[i], forward[i])
        x = model.cross_attn_fuse(x, spikes[i], i)
        fused.append(x)
    x = vrt.stage5(x, backward[2], forward[2])
    x = vrt.stage6(x + fused[2], backward[1], forward[1])
    x = vrt.stage7(x + fused[1], backward[0], forward[0]) + fused[0]
    for group in vrt.stage8:
        x = group(x)
    x = vrt.conv_after_body(vrt.norm(x.movedim(1, -1))).movedim(-1, 1)
    return vrt.conv_last(first + x).transpose(1, 2) + rgb


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("strides", "spike_size"), [((1, 1, 1), 40), ((2, 1, 1), 20), ((1, 1, 2), 25)], ids=str)
def test_whole_model_equals_its_data_flow(strides, spike_size, backend):
    model = randomise(
        VRTWithSpike(
            small_vrt(backend=backend),
            6,
            (8, 8, 8, 8),
            temporal_strides=strides,
            tsa_heads=2,
            fuse_heads=2,
            attn_backend=backend,
            fuse_chunk=Chunking(300),
        )
    )
    rgb = torch.rand(1, 3, 3, 40, 48, dtype=torch.float64)
    vox = torch.rand(1, 3, 6, spike_size, spike_size, dtype=torch.float64)
    with torch.no_grad():
        out = model(rgb, vox)
        assert (out - plain_forward(model, rgb, vox)).abs().max() < 1e-12
        assert (out - model(rgb, torch.zeros_like(vox))).abs().max() > 1e-6, "the spikes reach the output"


def test_every_parameter_learns_and_checkpointing_changes_nothing():
    torch.manual_seed(0)
    rgb, vox = torch.rand(1, 3, 3, 40, 40), torch.rand(1, 3, 6, 20, 20)
    gradients = []
    for checkpointing in (False, True):
        vrt = small_vrt(use_checkpoint_attn=checkpointing, use_checkpoint_ffn=checkpointing, drop_path_rate=0.3)
        model = VRTWithSpike(vrt, 6, (8, 8, 8, 8), tsa_heads=2, fuse_heads=2, tsa_dropout=0.1)
        randomise(model).train()
        torch.manual_seed(2)
        model(rgb.double(), vox.double()).square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    assert all(g is not None and torch.isfinite(g).all() for g in gradients[0].values())
    assert all((gradients[0][n] - gradients[1][n]).abs().max() < 1e-12 for n in gradients[0])


def test_half_precision_keeps_flow_in_fp32():
    torch.manual_seed(0)
    model = VRTWithSpike(small_vrt(), 6, (8, 8, 8, 8), tsa_heads=2, fuse_heads=2).eval()
    rgb, vox = torch.rand(1, 2, 3, 40, 40), torch.rand(1, 2, 6, 20, 20)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        backward, _ = model.vrt.flows(rgb)
        out = model(rgb, vox)
    with torch.no_grad():
        exact, _ = model.vrt.flows(rgb)
        reference = model(rgb, vox)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(backward, exact, strict=True))
    assert torch.isfinite(out).all()
    # bfloat16 rounds to 2^-9; some forty layers deep that is a few per cent.
    assert (out - reference).norm() < 0.05 * reference.norm()


BAD_INPUT = {
    "T1": ((1, 1, 3, 40, 40), r"T = 1 frames: needs at least 2"),
    "odd": ((1, 2, 3, 44, 40), r"H = 44: must be a multiple of 8"),
    "small": ((1, 2, 3, 40, 32), r"W = 32: must be a multiple of 8, above 32"),
    "grey": ((1, 2, 1, 40, 40), r"must be \(B,T,3,H,W\)"),
}


@pytest.mark.parametrize(("shape", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_sizes_that_cannot_work(shape, message):
    with pytest.raises(UserError, match=message):
        small_vrt()(torch.zeros(shape))


def test_voxels_that_do_not_belong():
    model = VRTWithSpike(small_vrt(), 6, (8, 8, 8, 8), tsa_heads=2, fuse_heads=2)
    with pytest.raises(UserError, match=r"spike voxels of shape .* must be \(1, T, 6, h, w\)"):
        model(torch.rand(1, 2, 3, 40, 40), torch.rand(1, 2, 5, 20, 20))


@pytest.mark.parametrize("argument", [{"upscale": 4}, {"pa_frames": 4}, {"nonblind_denoising": True}], ids=str)
def test_variants_that_are_not_deblurring(argument):
    with pytest.raises(UserError, match=next(iter(argument))):
        VRT(**({"upscale": 1} | argument))
