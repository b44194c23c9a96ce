"""The configuration: all keys, presets, options, and one-line errors."""

import dataclasses

import pytest
import yaml

from spikevrt.config import (
    Config,
    DataConfig,
    ModelConfig,
    config_from_tree,
    config_to_yaml,
    distinct_presets,
    load_config,
    preset_names,
)
from spikevrt.config.loader import all_keys
from spikevrt.errors import UserError

PLAIN = ("vrt_dvd", "vrt_gopro", "vrt_reds")
PRESETS = ("default", "demo", "fast", "finetune_gopro", "high_quality", "low_memory", *PLAIN)


def test_presets_by_name():
    assert preset_names() == sorted(PRESETS)
    assert distinct_presets() == sorted({*PRESETS} - {"vrt_dvd", "vrt_reds"})


def test_the_published_models_are_one_without_spikes_and_the_recipe_starts_from_it():
    plain, *others = map(load_config, PLAIN)
    assert others == [plain, plain]
    assert not plain.model.use_spike
    assert load_config("vrt_gopro", ["DATA.CLIP_LEN=12"]).model == plain.model
    recipe = load_config("finetune_gopro", ["MODEL.VRT.PRETRAINED=none", "MODEL.USE_SPIKE=false"])
    assert (recipe.data, recipe.model) == (plain.data, plain.model)
    assert (recipe.train.freeze_flow_steps, recipe.train.flow_lr_scale) == (20000, 1 / 8)


@pytest.mark.parametrize("name", PRESETS)
def test_resolved_yaml_reads_back_to_the_same_configuration(name, tmp_path):
    config = load_config(name, ["TRAIN.LR=5e-5", "DATA.ROOT=/data"])
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert load_config(str(path)) == config
    assert config.train.lr == 5e-5


def test_defaults_of_the_table():
    config = load_config("default")
    assert (config.data.clip_len, config.data.crop_size, config.data.k) == (5, 256, 32)
    assert config.model.window_size == (5, 8, 8)
    assert config.model.vrt.embed_dims == (96,) * 13
    assert config.model.vrt.num_heads == (6,) * 13
    assert config.model.vrt.indep_reconsts == (11, 12)
    assert (config.train.lr, config.train.ema_decay, config.train.warmup_steps) == (1e-4, 0.999, 500)
    assert len(set(all_keys())) == len(list(all_keys()))


SCENARIOS = {
    "high_quality": """
DATA: {CLIP_LEN: 7, CROP_SIZE: 384}
TRAIN: {BATCH_SIZE: 4, MIXED_PRECISION: true}
MODEL:
  VRT: {USE_CHECKPOINT_ATTN: false, USE_CHECKPOINT_FFN: false}
  SPIKE_TSA: {ADAPTIVE_CHUNK: false}
  FUSE: {ADAPTIVE_CHUNK: false}
""",
    "low_memory": """
DATA: {CLIP_LEN: 3, CROP_SIZE: 128}
TRAIN: {BATCH_SIZE: 1, ACCUMULATE_GRAD: 4, MIXED_PRECISION: true}
MODEL:
  VRT: {USE_CHECKPOINT_ATTN: true, USE_CHECKPOINT_FFN: true}
  SPIKE_TSA: {ADAPTIVE_CHUNK: true, MAX_BATCH_TOKENS: 24576, CHUNK_SIZE: 32}
  FUSE: {ADAPTIVE_CHUNK: true, MAX_BATCH_TOKENS: 24576, CHUNK_SIZE: 32}
""",
    "fast": """
DATA: {CLIP_LEN: 5, CROP_SIZE: 256}
TRAIN: {BATCH_SIZE: 2, NUM_WORKERS: 8, MIXED_PRECISION: true}
MODEL:
  CHANNELS_PER_SCALE: [64, 64, 64, 64]
  SPIKE_TSA: {HEADS: 2, MLP_RATIO: 1}
  FUSE: {HEADS: 2, MLP_RATIO: 1}
""",
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_documents_scenarios_load_as_written(name, tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIOS[name])
    assert load_config(str(path)) == load_config(name)


def test_derived_widths_and_heads():
    config = config_from_tree({"MODEL": {"CHANNELS_PER_SCALE": [64, 96, 128, 160], "SPIKE_TSA": {"HEADS": 4}}})
    assert config.model.vrt.embed_dims == (64, 96, 128, 160, 128, 96, 64, *[64] * 6)
    assert config.model.vrt.num_heads == (4, 6, 4, 5, 4, 6, 4, *[4] * 6)


def test_none_stands_for_what_follows_from_other_keys():
    keys = ("MODEL.WINDOW_SIZE", "MODEL.VRT.EMBED_DIMS", "MODEL.VRT.NUM_HEADS", "MODEL.VRT.INDEP_RECONSTS")
    derived = load_config("fast", [f"{key}=none" for key in (*keys, "TEST.CLIP_OVERLAP")])
    assert derived == load_config("fast")
    assert load_config("default", ["MODEL.VRT.INDEP_RECONSTS=[]"]).model.vrt.indep_reconsts == ()


def test_the_defaults_of_the_dataclasses_are_those_that_files_get():
    assert Config() == config_from_tree({})


def test_official_backbone_is_expressible():
    tree = {
        "DATA": {"CLIP_LEN": 6},
        "MODEL": {"VRT": {"DEPTHS": [8] * 7 + [4] * 4, "EMBED_DIMS": [96] * 7 + [120] * 4, "NUM_HEADS": [6] * 11}},
    }
    config = config_from_tree(tree)
    assert config.model.window_size == (6, 8, 8)
    assert config.model.vrt.indep_reconsts == (9, 10)


def test_bins_have_two_names():
    assert config_from_tree({"DATA": {"NUM_VOXEL_BINS": 16}}).data.k == 16
    assert config_from_tree({"DATA": {"NUM_VOXEL_BINS": 16, "K": 16}}).data.k == 16
    with pytest.raises(UserError, match=r"DATA.NUM_VOXEL_BINS = 16 and DATA.K = 8"):
        config_from_tree({"DATA": {"NUM_VOXEL_BINS": 16, "K": 8}})
    assert load_config("default", ["DATA.NUM_VOXEL_BINS=16"]).data.k == 16


def test_windows_of_two_frames_overlap_by_one_unless_told_otherwise():
    assert load_config("default").test.clip_overlap == 2
    assert load_config("default", ["DATA.CLIP_LEN=2"]).test.clip_overlap == 1
    assert load_config("default", ["DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=0"]).test.clip_overlap == 0


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.lr = 1.0  # type: ignore[misc]


BAD = {
    "TRAIN.LRR=1": r"TRAIN.LRR: unknown configuration key; did you mean TRAIN.LR\?",
    "TRIAN.LR=1": r"TRIAN: unknown configuration key; did you mean TRAIN",
    "data.root=x": r"data: unknown configuration key; did you mean DATA\?",
    "DATA.root=x": r"DATA.root: unknown configuration key; did you mean DATA\.ROOT\?",
    "TRAIN.lrr=1": r"did you mean TRAIN\.LR\?",
    "DATA.HEADS=1": r"did you mean MODEL.SPIKE_TSA.HEADS\?",
    "TRAIN.LR=fast": r"TRAIN.LR = 'fast': must be a number",
    "TRAIN.LR=-1": r"TRAIN.LR = -1.0: must be a positive",
    "TRAIN.BATCH_SIZE=1.5": r"TRAIN.BATCH_SIZE = 1.5: must be an integer",
    "TRAIN.EPOCHS=0": r"TRAIN.EPOCHS = 0: must be at least 1",
    "MODEL=3": r"MODEL = 3: is a section",
    "MODEL.USE_SPIKE=2": r"MODEL.USE_SPIKE = 2: must be true or false",
    "MODEL.CHANNELS_PER_SCALE=[96,96]": r"SCALE = \[96, 96\]: must be a list of exactly 4 values",
    "MODEL.CHANNELS_PER_SCALE=[90,96,96,96]": r"SCALE\[0\] = 90: must be divisible by",
    "MODEL.CHANNELS_PER_SCALE=[72,96,96,96]": r"SCALE\[0\] = 72: must be divisible by.*DEFORM_GROUPS",
    "MODEL.SPIKE_TSA.HEADS=5": r"SCALE\[0\] = 96: must be divisible by MODEL.SPIKE_TSA.HEADS = 5",
    "MODEL.FUSE.TYPE=Concat": r"MODEL.FUSE.TYPE = Concat: must be one of TemporalCrossAttn",
    "MODEL.VRT.EMBED_DIMS=[96,96,96,96,96,64,96,96,96,96,96,96,96]": r"stages 6 and 2, whose",
    "MODEL.VRT.EMBED_DIMS=[64,96,96,96,96,96,64,96,96,96,96,96,96]": r"equal to MODEL.CHANNELS_PER_SCALE",
    "DATA.CROP_SIZE=100": r"DATA.CROP_SIZE = 100: must be a multiple of 8 above 32",
    "DATA.CROP_SIZE=32": r"DATA.CROP_SIZE = 32: must be a multiple of 8 above 32",
    "DATA.CROP_SIZE=56": r"DATA.CROP_SIZE = 56: must be at least 64: 8 windows",
    "DATA.CLIP_LEN=1": r"DATA.CLIP_LEN = 1: must be at least 2",
    "DATA.SPIKE_HEIGHT=250": r"DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH .* given together",
    "TEST.CLIP_OVERLAP=5": r"TEST.CLIP_OVERLAP = 5: must be below DATA.CLIP_LEN = 5",
    "LR": r"--opts LR: write SECTION.KEY=VALUE",
}


@pytest.mark.parametrize("option", BAD)
def test_bad_options_are_one_line_that_names_key_value_and_remedy(option):
    with pytest.raises(UserError, match=BAD[option]) as caught:
        load_config("default", [option])
    assert "\n" not in str(caught.value)


def test_files_that_are_not_configurations(tmp_path):
    with pytest.raises(UserError, match="neither a preset"):
        load_config(str(tmp_path / "missing.yaml"))
    path = tmp_path / "bad.yaml"
    path.write_text("TRAIN:\n  LR: [1\n")
    with pytest.raises(UserError, match=r"bad.yaml: line \d"):
        load_config(str(path))
    path.write_text("DATA:\n  K: 16\nTRAIN:\n  LR: 0.1\nDATA:\n  CLIP_LEN: 7\n")
    with pytest.raises(UserError, match=r"bad.yaml: line 5: DATA stands twice"):
        load_config(str(path))
    path.write_text("- 1\n")
    with pytest.raises(UserError, match="holds no sections"):
        load_config(str(path))


def test_python_construction_validates_too():
    with pytest.raises(UserError, match=r"DATA.K"):
        DataConfig(k=0)
    with pytest.raises(UserError, match="exactly 4"):
        ModelConfig(channels_per_scale=(96,))


def test_yaml_holds_plain_values_only():
    assert yaml.safe_load(config_to_yaml(Config()))["MODEL"]["WINDOW_SIZE"] == [5, 8, 8]
