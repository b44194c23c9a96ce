"""What people write: names that look like numbers, files of other encodings, YAML of every kind."""

import codecs
from pathlib import Path

import pytest
import yaml

from spikevrt.config import config_to_yaml, load_config
from spikevrt.errors import UserError

NAMES = ("2024", "007", "no", "1e5", "12:30:00", "2024-01-01", "0x10", "1_000", ".inf", "true", "/d/set#2")
"""Names that YAML reads as numbers, dates or truth."""
SIGNS = ("/d/set #2", "@x", "null", "[a]", "{a: b}", "a: b", "*x", "&x", "!x", "%x", "- x", "'tis", '"a" and "b"', "`x")
"""Names that are no YAML, or another one."""


@pytest.mark.parametrize("name", [*NAMES, *SIGNS, "/d/with blank "])
def test_an_option_of_a_text_key_is_taken_as_it_stands(name):
    config = load_config("default", [f"DATA.ROOT={name}", f"DATA.TRAIN_SPLIT={name}"])
    assert (config.data.root, config.data.train_split) == (name, name)


@pytest.mark.parametrize(
    ("option", "root"),
    [
        ('DATA.ROOT="/d/set #2"', "/d/set #2"),
        ("DATA.ROOT='it''s'", "it's"),
        ("DATA.ROOT = /d/a b ", "/d/a b"),
        ("DATA.ROOT=none", None),
        ("DATA.ROOT=", None),
    ],
)
def test_quotes_blanks_and_none_in_an_option(option, root):
    assert load_config("default", ["DATA.ROOT=/before", option]).data.root == root


def loaded(folder: Path, content: str | bytes):
    path = folder / "own.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_config(str(path))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_file_is_the_text_that_stands_there(name, tmp_path):
    config = loaded(tmp_path, f"DATA: {{ROOT: {name}, VAL_SPLIT: {name}}}\nTRAIN:\n  OUTPUT_DIR: {name}\n")
    assert (config.data.root, config.data.val_split, config.train.output_dir) == (name, name, name)


@pytest.mark.parametrize("nothing", ["null", "~", "none", ""])
def test_a_file_says_that_a_text_key_has_no_value(nothing, tmp_path):
    assert loaded(tmp_path, f"DATA:\n  ROOT: {nothing}\n").data.root is None


@pytest.mark.parametrize("name", ["2024", "no", "~x", "é 数", "a\x1bb", "x\udcff", "a: b", "it's", "#", "none."])
def test_names_survive_a_written_configuration(name, tmp_path):
    config = load_config("default", [f"DATA.ROOT={name}", f"TRAIN.OUTPUT_DIR={name}"])
    assert loaded(tmp_path, config_to_yaml(config)) == config


def test_home_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "own.yaml").write_text("DATA: {ROOT: ~/set}\nMODEL: {VRT: {PRETRAINED: '~/vrt.pth'}}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config("~/own.yaml", ["TRAIN.OUTPUT_DIR=~/runs/~a", "DATA.TRAIN_SPLIT=~"])
    assert (config.data.root, config.model.vrt.pretrained) == (f"{tmp_path}/set", f"{tmp_path}/vrt.pth")
    assert (config.train.output_dir, config.data.train_split) == (f"{tmp_path}/runs/~a", "~")


TEXT = "# Größe 数\nDATA:\n  ROOT: /é\n"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_encodings_that_are_certain_are_read(mark, encoding, tmp_path):
    assert loaded(tmp_path, mark + TEXT.encode(encoding)).data.root == "/é"


@pytest.mark.parametrize(
    "content",
    [
        "DATA:\n  ROOT: /大小\n".encode("gbk"),
        "DATA:\n  ROOT: /é\n".encode("latin-1"),
        b"DATA: {}\n".decode().encode("utf-16-le"),
        codecs.BOM_UTF16_LE + b"DATA",
        codecs.BOM_UTF16_LE + b"DATA!",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"DATA: {}\0",
    ],
)
def test_other_encodings_and_files_are_one_line_with_the_remedy(content, tmp_path):
    with pytest.raises(
        UserError, match=r"own\.yaml: (line \d+ is not UTF|holds NUL bytes|holds no sections)"
    ) as caught:
        loaded(tmp_path, content)
    assert "UTF-8 in an editor" in str(caught.value) or "write for example" in str(caught.value)


def test_files_that_are_no_configurations_are_not_read_to_their_end(tmp_path):
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(10**9)
    for path in (large, Path("/dev/zero")):
        with pytest.raises(UserError, match="too many for a configuration; name the right file"):
            load_config(str(path))
    with pytest.raises(UserError, match=r"neither a preset .* nor a readable YAML file \(Is a directory\)"):
        load_config(str(tmp_path))
    with pytest.raises(UserError, match="embedded null byte"):
        load_config("a\0b")
    assert loaded(tmp_path, b"") == load_config("default")


LAUGHS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
MERGES = "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
STRANGE = {
    "TRAIN:\n  LR: 2024-01-01": r"TRAIN.LR = '2024-01-01': must be a number",
    "TRAIN:\n  LR: 2024-13-45": r"TRAIN.LR = '2024-13-45': must be a number",
    "TRAIN: !!python/object/apply:os.system [ls]": r"line 1: the tag tag:yaml.org,2002:python.* is not allowed here",
    "TRAIN: {EPOCHS: !!int ''}": r"TRAIN.EPOCHS = '': must be an integer",
    "TRAIN: {LR: !!timestamp x}": r"the tag|TRAIN.LR = 'x'",
    f"TRAIN: {{LR: 1{'0' * 400}}}": r"TRAIN.LR = an integer of 1329 bits: must be a number",
    f"TRAIN: {{EPOCHS: 1{'0' * 400}}}": r"an integer of 1329 bits: must be at least 1 and at most 1,000,000,000,000",
    f"TRAIN: {{EPOCHS: 1{'0' * 9000}}}": r"must be an integer",
    "TRAIN: {LR: 1e999}": r"TRAIN.LR = inf: must be a positive finite number",
    "TRAIN: {WEIGHT_DECAY: .inf}": r"TRAIN.WEIGHT_DECAY = inf: must be 0 or more, and finite",
    "DATA: {NORM: {MEAN: .nan}}": r"DATA.NORM.MEAN = nan: must be between",
    "TRAIN: " + "[" * 10000: r"too many levels inside each other",
    "TRAIN: " + "{a: " * 9000: r"too many levels inside each other",
    "TRAIN: &a [*a]": r"too many levels inside each other",
    "a: &a [x]\n" + LAUGHS + "MODEL: {WINDOW_SIZE: *i}": r"a: unknown configuration key",
    f"MODEL: {{WINDOW_SIZE: *i, SUB: &a [x]}}\n{LAUGHS}": r"undefined alias",
    "x: &a {K: 3}\n" + MERGES + "DATA: *i": r"x: unknown configuration key",
    "DATA: {<<: 3}": r"<< needs sections",
    "DATA: {K: 1, K: 2}": r"line 1: K stands twice",
    "? [a, b]\n: c": r"a list or a section is no name",
    "[a]: b": r"a list or a section is no name",
    "DATA:\n\tK: 1": r"line 2: found character",
    "---\nDATA: {}\n---\nDATA: {}": r"found another document",
    '"\\UFFFFFFFF": 1': r"an escape sequence stands for no character",
    "\x1b: 2": r"special characters are not allowed",
    'DATA: {"\\e[31mK": 1}': r"DATA.\\x1b\[31mK: unknown configuration key",
    'DATA: {K: "\\e\\r\\n\\u202e"}': r"DATA.K = '\\x1b\\r\\n\\u202e': must be an integer",
    "DATA: {K: 0x10}": r"DATA.K = '0x10': must be an integer",
    "DATA: {K: 1:30}": r"DATA.K = '1:30': must be an integer",
    "DATA: {ROOT: [1]}": r"DATA.ROOT = \[1\]: must be text",
    "DATA: {VAL_SPLIT: ''}": r"DATA.VAL_SPLIT = '': must be the name of a folder",
    'DATA: {ROOT: "a\\0b"}': r"DATA.ROOT = a\\x00b: must be a path",
    f"MODEL: {{VRT: {{DEPTHS: [{'8, ' * 9999}8]}}}}": r"MODEL.VRT.DEPTHS = .* must be .* with a sum of at most 512",
    f"MODEL: {{FUSE: {{TYPE: {'x' * 9999}}}}}": r"must be one of TemporalCrossAttn",
}


@pytest.mark.parametrize("content", STRANGE, ids=lambda text: repr(text[:40]))
def test_strange_yaml_is_one_short_line(content, tmp_path):
    with pytest.raises(UserError, match=STRANGE[content]) as caught:
        loaded(tmp_path, content)
    message = str(caught.value)
    assert len(message) < 400
    assert message.isprintable()


def test_what_yaml_offers_and_people_use(tmp_path):
    config = loaded(tmp_path, "MODEL:\n  SPIKE_TSA: &own {HEADS: 2, MLP_RATIO: 1}\n  FUSE: {<<: *own, HEADS: 3}\n")
    assert (config.model.fuse.heads, config.model.fuse.mlp_ratio) == (3, 1)
    assert loaded(tmp_path, "DATA: {K: 010}").data.k == 10
    assert (
        loaded(tmp_path, "TRAIN: {LR: 1e-4, MIXED_PRECISION: off, WEIGHT_DECAY: -0.0}\n...\n").train.weight_decay == 0
    )
    assert str(load_config("default", ["TRAIN.WEIGHT_DECAY=-0.0"]).train.weight_decay) == "0.0"


@pytest.mark.parametrize(
    "option",
    [
        f"TRAIN.LR={'[' * 10000}",
        "TRAIN.LR=2024-13-45",
        "TRAIN.LR=!!python/object/apply:os.system [ls]",
        "TRAIN.LR=&a [*a]",
        f"TRAIN.EPOCHS={'9' * 5000}",
        f"{'A' * 10**5}=1",
        f"MODEL.VRT.DEPTHS=[{'8,' * 10**6}8]",
        "\x1b]0;x\x07=1",
        "TRAIN.LR.X=1",
        "TRAIN.LR=\x1b",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_strange_options_are_one_short_line(option):
    with pytest.raises(UserError) as caught:
        load_config("default", [option])
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "option",
    [
        "TRAIN.NUM_WORKERS=100000000",
        "TRAIN.BATCH_SIZE=1000000000",
        f"TRAIN.MAX_STEPS={10**30}",
        f"TRAIN.SEED={2**64}",
        "TRAIN.SEED=-1",
        "DATA.RAM_CACHE_GB=1e9",
        f"DATA.CLIP_LEN={10**9}",
        f"DATA.CROP_SIZE={8 * 10**9}",
        "DATA.RECORDING.LENGTH=1000000000000",
        "DATA.NORM.STD=1e-30",
        "MODEL.CHANNELS_PER_SCALE=[1000000000,96,96,96]",
        "MODEL.WINDOW_SIZE=[5,512,512]",
        "MODEL.VRT.DEPTHS=[512,8,8,8,8,8,8,4]",
        "MODEL.VRT.MLP_RATIO=1e9",
        "MODEL.VRT.MLP_RATIO=1e-9",
        "MODEL.FUSE.MLP_RATIO=0.001",
        "MODEL.SPIKE_ENCODER.SPATIAL_STRIDES=[1000,2,2]",
        "TRAIN.CHARBONNIER_EPS=1e-30",
    ],
)
def test_counts_that_no_machine_has_are_refused_with_the_bound(option):
    with pytest.raises(UserError, match=r"must be (at least|a list|above|between|a multiple|positive)"):
        load_config("default", [option])


def test_presets_are_plain_yaml_too(tmp_path):
    tree = yaml.safe_load(config_to_yaml(load_config("fast")))
    assert tree["TRAIN"]["NUM_WORKERS"] == 8
