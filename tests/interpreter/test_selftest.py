"""The self-test on a machine without a GPU, with kernels in the interpreter."""

from spikevrt.selftest import main


def test_kernels_are_tried_in_small(capsys):
    assert main(["--op", "temporal_attention", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines() if " triton " in line and line.startswith("temporal_attention")]
    assert {line[2] for line in lines} == {"float64", "float32", "float16"}
    assert all(line[-1] == "right" for line in lines)
    assert all(line[-3] == "-" for line in lines), "the interpreter's speed says nothing"
    assert "not tested here: bfloat16, large shapes and the speed of Triton kernels" in out
