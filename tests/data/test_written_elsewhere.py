"""`windows.csv`, `config.yaml` and `clip.json` as other tools, editors and spreadsheets write them, or damage them."""

import json
import time

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import white_rate
from spikevrt.data.spikes.exposures import read_exposure_table
from spikevrt.data.spikes.geometry import geometry_for, read_recording_config
from spikevrt.errors import UserError
from tests.data.test_damaged_files import damaged

TABLE = "stem,start,length\n000001,0,8\nb 2,8,16\n"
WANTED = {"000001": slice(0, 8), "b 2": slice(8, 24)}
TABLES = {
    "byte order mark": b"\xef\xbb\xbf" + TABLE.encode(),
    "UTF-16": TABLE.encode("utf-16"),
    "UTF-16, high byte first": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "UTF-16 without mark": TABLE.encode("utf-16-le"),
    "UTF-16 without mark, high byte first": TABLE.encode("utf-16-be"),
    "CRLF": TABLE.replace("\n", "\r\n").encode(),
    "CR": TABLE.replace("\n", "\r").encode(),
    "blanks": TABLE.replace(",", " , ").encode(),
    "blank before a quote": b'stem, start, length\n"000001", 0, 8\n"b 2", 8, 16\n',
    "empty last line": TABLE.encode() + b"\n",
    "empty lines": TABLE.replace("\n", "\n\n").encode(),
    "lines of commas": TABLE.encode() + b",,\n,,,,\n",
    "a comma at the end": TABLE.replace("\n", ",\n").encode(),
    "no newline at the end": TABLE.strip().encode(),
    "semicolons": TABLE.replace(",", ";").encode(),
    "semicolons in UTF-16": TABLE.replace(",", ";").encode("utf-16"),
    "tabs": TABLE.replace(",", "\t").encode(),
    "quotes": b'"stem","start","length"\n"000001","0","8"\n"b 2","8","16"\n',
    "capitals": TABLE.replace("stem,start,length", "Stem,START,Length").encode(),
    "decimals": b"stem,start,length\n000001,0.0,8.0\nb 2,8.,16.00\n",
}
REFUSED_TABLES = {
    "empty": b"",
    "another head": b"frame,start,length\n1,0,8\n",
    "huge": b"stem,start,length\n1," + b"9" * 5000 + b",8\n",
    "infinite": b"stem,start,length\n1,0,inf\n",
    "negative": b"stem,start,length\n1,-1,8\n",
    "underscore": b"stem,start,length\n1,1_0,8\n",
    "fraction": b"stem,start,length\n1,0.5,8\n",
    "European decimals": b"stem;start;length\n1;0;8,5\n",
    "thousands": b"stem,start,length\n1,1,000,8\n",
    "no stem": b"stem,start,length\n,0,8\n",
    "twice": b"stem,start,length\n1,0,8\n1,8,8\n",
    "digits without end": b"stem,start,length\n" + b"1" * 5000 + b",0,8\n",
    "length 0": b"stem,start,length\n1,0,0\n",
    "long": b"stem,start,length\n" + b"x" * 5000 + b"\n",
    "field beyond all": b"stem,start,length\n" + b"x" * 200_000 + b",1,1\n",
    "open quote": b'stem,start,length\n"1,0,8\n2,8,8\n',
    "terminal codes": b"stem,start,length\n\x1b[2J,a,8\n",
}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert len(message) <= 400
    assert message.isprintable()
    return message


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_read_as_its_owner_means_it(tmp_path, case):
    (tmp_path / "windows.csv").write_bytes(TABLES[case])
    assert read_exposure_table(tmp_path / "windows.csv") == WANTED


@pytest.mark.parametrize("case", REFUSED_TABLES)
def test_a_table_that_says_something_else_is_refused_in_one_line(tmp_path, case):
    (tmp_path / "windows.csv").write_bytes(REFUSED_TABLES[case])
    with pytest.raises(UserError, match=r"windows\.csv: ") as caught:
        read_exposure_table(tmp_path / "windows.csv")
    one_line(caught)


def stated(content: bytes) -> list[list[str]]:
    """The lines of a table by the plainest reading of it."""
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip(", \t")]


@pytest.mark.parametrize("block", range(10))
def test_damaged_tables(tmp_path, block):
    content = ("stem,start,length\n" + "".join(f"{i:06},{8 * i},8\n" for i in range(12))).encode()
    refused: list[str] = []
    for seed in range(20 * block, 20 * block + 20):
        random = np.random.default_rng(seed)
        changed = bytearray(content if seed % 4 else damaged(content, random))
        for _ in range(int(random.integers(0, 3)) if changed else 0):
            changed[random.integers(len(changed))] = random.choice(list(b'0123456789,;. \n"-ab\x00\xff'))
        (tmp_path / "windows.csv").write_bytes(bytes(changed))
        try:
            found = read_exposure_table(tmp_path / "windows.csv")
        except UserError as error:
            refused.append(str(error))
            continue
        rows = stated(bytes(changed))[1:]
        wanted = {row[0]: (int(row[1].split(".")[0]), int(row[2].split(".")[0])) for row in rows}
        assert {stem: (s.start, s.stop - s.start) for stem, s in found.items()} == wanted, seed
    assert len(refused) < 19
    assert all(len(message) <= 400 and message.isprintable() for message in refused)


LAUGHS = "".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
DESCRIPTIONS = {
    "GBK": "filename: 录像.dat\n".encode("gbk") + b"spike_h: 250\nspike_w: 400\n",
    "latin-1": "filename: prêt à é\n".encode("latin-1") + b"spike_h: 250\nspike_w: 400\n",
    "byte order mark": b"\xef\xbb\xbfspike_h: 250\nspike_w: 400\n",
    "UTF-16": "filename: 录\nspike_h: 250\nspike_w: 400\n".encode("utf-16"),
    "UTF-16 without mark": "spike_h: 250\nspike_w: 400\n".encode("utf-16-be"),
    "CRLF": b"spike_h: 250\r\nspike_w: 400\r\n",
    "decimals": b"spike_h: 250.0\nspike_w: 400.\n",
    "text": b"spike_h: \"250\"\nspike_w: '400'\n",
    "capitals": b"SPIKE_H: 250\nSpike_W: 400\n",
    "leading zero": b"spike_h: 0250\nspike_w: 0400\n",
    "one value twice": b"spike_h: 250\nspike_w: 400\nspike_h: 250\n",
    "dates and tags elsewhere": b"day: 2024-02-30\nx: !!python/object:os.system {}\nspike_h: 250\nspike_w: 400\n",
    "one line": b"{spike_h: 250, spike_w: 400}",
    "laughs elsewhere": b"spike_h: 250\nspike_w: 400\nx0: &x0 {a: 1}\n" + LAUGHS.encode(),
}
REFUSED_DESCRIPTIONS = {
    "empty": b"",
    "binary": bytes(range(256)),
    "NUL": b"spike_h: 250\0\nspike_w: 400\n",
    "list": b"- 250\n- 400\n",
    "infinite": b"spike_h: .inf\nspike_w: 400\n",
    "not a number": b"spike_h: .nan\nspike_w: 400\n",
    "date": b"spike_h: 2024-01-01\nspike_w: 400\n",
    "truth": b"spike_h: true\nspike_w: 400\n",
    "fraction": b"spike_h: 250.5\nspike_w: 400\n",
    "negative": b"spike_h: -250\nspike_w: 400\n",
    "clock": b"spike_h: 4:10\nspike_w: 400\n",
    "list of one": b"spike_h: [250]\nspike_w: 400\n",
    "huge": b"spike_h: " + b"9" * 5000 + b"\nspike_w: 400\n",
    "two values": b"spike_h: 250\nspike_w: 400\nspike_h: 260\n",
    "nesting": b"spike_h: " + b"[" * 20_000,
    "nesting of mappings": b"{a: " * 10_000,
    "long": b"# " + b"x" * 200_000 + b"\nspike_h: 250\nspike_w: 400\n",
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_is_read_as_its_owner_means_it(tmp_path, case):
    (tmp_path / "config.yaml").write_bytes(DESCRIPTIONS[case])
    began = time.monotonic()
    assert read_recording_config(tmp_path / "config.yaml") == (250, 400)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("case", REFUSED_DESCRIPTIONS)
def test_a_description_that_says_something_else_is_refused_in_one_line(tmp_path, case):
    (tmp_path / "config.yaml").write_bytes(REFUSED_DESCRIPTIONS[case])
    with pytest.raises(UserError, match=r"config\.yaml: must hold spike_h and spike_w") as caught:
        geometry_for(tmp_path, DataConfig())
    one_line(caught)


@pytest.mark.parametrize("theta", ["2", 0, -1, 0.5, float("inf"), float("nan"), True, [2], {}, 10**400, 1e300])
def test_a_threshold_that_is_none_is_named(tmp_path, theta):
    (tmp_path / "clip.json").write_text(json.dumps({"theta": theta}))
    with pytest.raises(UserError, match=r"clip\.json: theta = .* must be a number of at least 1") as caught:
        white_rate(tmp_path)
    one_line(caught)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"[" * 100_000, b"\xff\xfe{", b""], ids=range(5))
def test_notes_that_cannot_be_read_are_named(tmp_path, content):
    (tmp_path / "clip.json").write_bytes(content)
    with pytest.warns(UserWarning, match=r"clip\.json: cannot be read as notes"):
        assert white_rate(tmp_path) == 0.6


def test_notes_with_a_byte_order_mark(tmp_path):
    (tmp_path / "clip.json").write_bytes(b'\xef\xbb\xbf{"theta": 2}')
    assert white_rate(tmp_path) == 0.5
