"""TRAIN.MEMORY_BUDGET_GB: runs are the same whatever is computed again, and the prediction is that of a whole step."""

import json

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.models.planning import count, model_without_storage
from spikevrt.models.segments import Plan, Way
from spikevrt.training import memory_budget
from spikevrt.training.distributed import Processes
from spikevrt.training.memory_budget import GB, choose_ways, step_memory, too_small
from spikevrt.training.step_cost import CPU, make_step
from spikevrt.training.trainer import Trainer
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.proof.memory import predicted_peak
from tests.small_data import small_config
from tests.training.stopping import stop_after

HERE = Processes(0, 1, CPU)
RUN = ("TRAIN.MAX_STEPS=3", "TRAIN.VAL_EVERY=100", "TRAIN.LOG_EVERY=1", "MODEL.VRT.DROP_PATH=0.2")
HALF = torch.bfloat16
SHALLOW = "MODEL.VRT.DEPTHS=[3,1,1,1,1,1,1,1,1]"


@pytest.fixture(scope="module")
def memory(tree):
    return step_memory(
        small_config(tree, SHALLOW, "TRAIN.MEMORY_BUDGET_GB=1"), Backends.of("sdpa"), None, for_cuda=False
    )


@pytest.fixture
def traced(memory, monkeypatch):
    """The same trace serves every test."""
    monkeypatch.setattr(memory_budget, "step_memory", lambda *_, **__: memory)


def whole_peak(config, backend, plan, half, for_cuda):
    """The peak of a whole step on tensors without storage."""
    with planning(for_cuda), torch.device("meta"):
        model = build_model(config, False, Backends.of(backend))

    def setup():
        return make_step(model.to_empty(device="cpu"), config, CPU, half, plan)

    return predicted_peak(setup, for_cuda=for_cuda)


def test_gradients_of_micro_batches_before_are_there_all_along(tree, memory):
    more = step_memory(
        small_config(tree, SHALLOW, "TRAIN.ACCUMULATE_GRAD=4"), Backends.of("sdpa"), None, False, ways=[Way.KEEP]
    )
    weights = 4 * count(model_without_storage(small_config(tree, SHALLOW)))
    assert 0.9 * weights < more.fixed - memory.fixed <= weights


def test_a_rough_look_is_near(tree, memory):
    config = small_config(tree, SHALLOW, "TRAIN.MEMORY_BUDGET_GB=1")
    rough = step_memory(config, Backends.of("sdpa"), None, for_cuda=False, ways=None)
    two = memory._replace(
        segments=tuple(
            one._replace(costs=tuple(cost for cost in one.costs if cost.way in (Way.KEEP, Way.AGAIN)))
            for one in memory.segments
        )
    )
    assert rough.peak(rough.most()) == two.peak(two.most())
    assert 0.98 < rough.peak(rough.least()) / two.peak(two.least()) < 1.1
    assert 0.98 < rough.least().again / two.least().again < 1.1
    assert rough.forward == memory.forward


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_segments_add_up_to_the_whole_step(tree, memory, share):
    least, most = memory.peak(memory.least()), memory.peak(memory.most())
    budget = int(least + share * (most - least))
    choice = memory.within(budget)
    assert memory.peak(choice) <= budget
    config = small_config(tree, SHALLOW, "TRAIN.MEMORY_BUDGET_GB=1")
    whole = whole_peak(config, "sdpa", Plan(choice.ways), None, for_cuda=False)
    assert whole <= memory.peak(choice) <= 1.1 * whole


def test_the_kernels_of_a_small_clip_on_a_gpu(tree):
    config = small_config(tree, SHALLOW, "TRAIN.MEMORY_BUDGET_GB=1", "TRAIN.BATCH_SIZE=4")
    memory = step_memory(config, Backends.of("triton"), HALF)
    choice = memory.least()
    whole = whole_peak(config, "triton", Plan(choice.ways), HALF, for_cuda=True)
    assert 0.99 * whole <= memory.peak(choice) <= 1.1 * whole


def rows(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines if line["kind"] == "train"]


def test_a_run_within_any_budget_and_its_resumption_have_the_same_losses(tree, tmp_path, memory, traced, capsys):
    def start(name, *options, resume=None):
        config = small_config(tree, SHALLOW, f"TRAIN.OUTPUT_DIR={tmp_path / name}", *RUN, *options)
        return Trainer(config, HERE, resume)

    assert start("plain").run()
    first = start("planned", f"TRAIN.MEMORY_BUDGET_GB={memory.peak(memory.least()) / GB + 0.0001:.4f}")
    stop_after(first, 2)
    assert not first.run()
    assert start("planned", "TRAIN.MEMORY_BUDGET_GB=auto", resume=tmp_path / "planned" / "last.pt").run()
    assert rows(tmp_path / "planned") == rows(tmp_path / "plain")
    said = capsys.readouterr().out
    assert said.count("predicted peak") == 2
    assert "computed again: 0.00 of a forward pass" in said


def test_what_cannot_fit_is_refused_with_what_would(tree, memory, traced):
    config, least = small_config(tree, SHALLOW, "TRAIN.BATCH_SIZE=2"), memory.peak(memory.least())
    for share, said in (
        (0.99, r"needs at least 0.* GB; about this fits: TRAIN.BATCH_SIZE=1"),
        (0.1, "a smaller model"),
    ):
        with pytest.raises(UserError, match=said):
            raise UserError(too_small(config, memory, "0.1", int(share * least)))
    config = small_config(tree, SHALLOW, "TRAIN.MEMORY_BUDGET_GB=0.0001")
    with pytest.raises(UserError, match=r"TRAIN.MEMORY_BUDGET_GB = 0.0001: a step needs at least"):
        choose_ways(config, Backends.of("sdpa"), None, CPU)


@pytest.mark.parametrize("value", ["0", "-1", "all", "nan", "inf"])
def test_a_budget_is_a_number_or_auto(value):
    with pytest.raises(UserError, match=r"TRAIN.MEMORY_BUDGET_GB = .*must be auto or a number of GB above 0"):
        load_config("demo", [f"TRAIN.MEMORY_BUDGET_GB={value}"])
