"""The assembler for sm_90: the newest available one unless the user names one; it is part of a kept binary's key."""

import os
import stat
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend

from spikevrt_kernels.core import assembler, bound
from spikevrt_kernels.core import launch as launches
from spikevrt_kernels.core.assembler import TAKEN, TRITONS_PATH, in_use, known_faults, use_newest_assembler
from tests.toy_kernels import product

DEFAULT = assembler.WHEEL / "ptxas"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Triton's own choice, before each test and after it."""
    for name in (TRITONS_PATH, TAKEN, assembler.OPTION):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(assembler.shutil, "which", lambda name: None)
    yield
    # What a test has set belongs to it, and is taken back before the variables are.
    assembler.point_triton_at(None)


def ptxas(folder, version, architectures=(80, 90), name="ptxas"):
    """A program that answers as an assembler does."""
    listed = ",".join(f"'sm_{a}{'a' * (a >= 90)}'" for a in architectures)
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        f"case $1 in --version) echo 'Cuda compilation tools, release {'.'.join(version.split('.')[:2])}, V{version}';;"
        f' --help) echo "{listed}";; esac\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_sm_90_takes_the_newest_that_triton_brings():
    line = use_newest_assembler(90)
    used = in_use(90)
    assert used == assembler.at_hand()[0]
    assert used.version > assembler.ask(DEFAULT).version
    assert str(used) in line
    assert "newest at hand" in line


@pytest.mark.parametrize("architecture", [80, 86, 89, 100, 120])
def test_other_architectures_keep_tritons_default(architecture):
    before = in_use(architecture)
    use_newest_assembler(90)
    assert "default" in use_newest_assembler(architecture)
    assert in_use(architecture) == before
    assert TRITONS_PATH not in os.environ


def test_a_newer_one_on_the_path_is_taken(tmp_path, monkeypatch):
    newer = ptxas(tmp_path, "13.4.20")
    monkeypatch.setattr(assembler.shutil, "which", lambda name: str(newer))
    assert "13.4.20" in use_newest_assembler(90)
    assert in_use(90).path == newer


@pytest.mark.parametrize(
    ("version", "architectures", "release"),
    [("13.4.20", (80, 100), None), ("14.0.1", (80, 90), 13)],
    ids=["does not know sm_90a", "of a later release than the driver"],
)
def test_one_whose_binaries_could_not_be_loaded_is_left_alone(tmp_path, monkeypatch, version, architectures, release):
    other = ptxas(tmp_path, version, architectures)
    monkeypatch.setattr(assembler.shutil, "which", lambda name: str(other))
    monkeypatch.setattr(assembler, "driver_release", lambda: release)
    use_newest_assembler(90)
    assert in_use(90).path.parent == assembler.WHEEL


def test_a_file_that_does_not_answer_is_no_assembler(tmp_path, monkeypatch):
    broken = tmp_path / "ptxas"
    broken.write_text("not a program")
    monkeypatch.setattr(assembler.shutil, "which", lambda name: str(broken))
    assert broken not in [a.path for a in assembler.at_hand()]


def test_the_users_own_path_stays(tmp_path, monkeypatch):
    own = ptxas(tmp_path, "12.4.1")
    monkeypatch.setenv(TRITONS_PATH, str(own))
    assert f"12.4.1 (ptxas of {tmp_path}), as {TRITONS_PATH} says" in use_newest_assembler(90)
    assert os.environ[TRITONS_PATH] == str(own)
    assert TAKEN not in os.environ


def test_the_option_leaves_the_choice_to_triton(monkeypatch):
    monkeypatch.setenv(assembler.OPTION, "default")
    assert "as SPIKEVRT_PTXAS says" in use_newest_assembler(90)
    assert in_use(90).path == DEFAULT
    assert TRITONS_PATH not in os.environ


def test_a_child_process_takes_the_same_one():
    use_newest_assembler(90)
    code = "import triton; print(triton.knobs.nvidia.ptxas.path)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == str(in_use(90).path)


def test_the_first_launch_on_a_gpu_takes_it(monkeypatch):
    launches.assemble_for.cache_clear()
    monkeypatch.setattr(launches, "architecture", lambda device: 90)
    monkeypatch.setattr(launches, "on", lambda device: nullcontext())
    used = []
    monkeypatch.setattr(bound, "launch", lambda *launch: used.append(in_use(90)))
    with torch._subclasses.FakeTensorMode():
        x = torch.empty(2, 64, device="cuda")
    launches.Launch(None, (1,), {"x_ptr": x}, {}).run()
    launches.assemble_for.cache_clear()
    assert used == [assembler.at_hand()[0]]


def test_a_launch_on_the_cpu_changes_nothing(monkeypatch):
    monkeypatch.setattr(bound, "launch", lambda *launch: None)
    launches.Launch(None, (1,), {"x_ptr": torch.empty(1)}, {}).run()
    assert TRITONS_PATH not in os.environ


def test_kept_binaries_are_told_apart_by_their_assembler():
    backend = make_backend(GPUTarget("cuda", 90, 32))
    before = backend.hash()
    use_newest_assembler(90)
    assert assembler.dotted(in_use(90).version) in backend.hash()
    assert backend.hash() != before


def test_a_kernel_is_assembled_by_it(monkeypatch, tmp_path):
    from spikevrt_kernels.proof import compiler

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launch, target = product(), GPUTarget("cuda", 90, 32)
    code = {}
    for name in ("default", "newest"):
        monkeypatch.setenv(assembler.OPTION, name)
        use_newest_assembler(90)
        compiled, _ = compiler.build(launch, target, dict(launch.options))
        code[name] = compiled.asm["ptx"]
    versions = {name: next(x for x in text.splitlines() if x.startswith(".version")) for name, text in code.items()}
    assert versions["default"] != versions["newest"]


def test_pairs_that_are_known_to_be_wrong():
    assert len(known_faults("3.7.1", "12.8.93", 90)) == 3
    assert len(known_faults("3.6.0", "12.9.86", 90)) == 2
    assert known_faults("3.7.1", "13.4.0", 90) == [f for f in known_faults("3.7.1", "13.1.80", 90) if "reg" not in f]
    assert known_faults("3.9.0", "13.2.99", 90) != []
    assert known_faults("3.9.0+git1", "13.3", 90) == []
    assert known_faults("3.7.1", "12.8.93", 80) == []


class FakeDriver:
    def cuDriverGetVersion(self, version):  # noqa: N802 - its name in the driver
        version._obj.value = 13010
        return 0


def test_the_drivers_own_release_is_asked(monkeypatch):
    monkeypatch.setattr(assembler.ctypes, "CDLL", lambda name: FakeDriver())
    assert assembler.driver_release() == 13


def test_without_a_driver_no_release_binds(monkeypatch):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(assembler.ctypes, "CDLL", absent)
    assert assembler.driver_release() is None
