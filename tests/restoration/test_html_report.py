"""The HTML report: whole in one file, safe with any name, and driven in a headless browser where there is one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from spikevrt.restoration.html_report import Album, write_html
from spikevrt.restoration.report import Report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPT = '</script><script>alert("x")</script>'
EVIL = SCRIPT + "\udcff"


def scores(value):
    return dict.fromkeys(("psnr", "ssim", "psnr_grey", "ssim_grey"), value)


@pytest.fixture
def page(tmp_path):
    """A report on two clips, one of a name that would break a careless page."""
    report = Report({"root": EVIL, "models": {"ours": {"path": "best.pt", "step": 7}}})
    album = Album("ours", ("a", "2"))
    for clip, count in (("a", 4), (EVIL, 2)):
        for i in range(count):
            pictures = {name: torch.rand(3, 24, 40) for name in ("blurred", "ours", "sharp")}
            found = {"blurred": scores(20.0 + i), "ours": scores(30.0 - i), "TFP": scores(None) | {"psnr_grey": 9.0}}
            report.add(clip, str(i), found)
            album.offer(clip, str(i), pictures, found)
    write_html(tmp_path / "report.html", report, album)
    return tmp_path / "report.html"


def test_everything_is_in_the_file(page):
    text = page.read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    assert [one["title"] for one in data["pictures"]] == ["a/2 (chosen)", "a/3 (worst)", "a/0 (best)"]
    assert data["main"] == "ours"
    assert data["frames"]["a"]["ours"]["psnr"] == [30, 29, 28, 27]
    assert not re.search(r"(src|href)=[\"']?(http|//|/|\.)", text)
    assert SCRIPT not in text
    assert SCRIPT + r"\udcff" in data["frames"]
    assert text.count("<script") == 2
    assert "$" not in re.sub(r"\s", "", text.split("<body>")[0])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_it_and_slider_and_zoom_move_the_pictures(page):
    drive = """<script>
    const told = [];
    window.addEventListener("error", event => told.push("error: " + event.message));
    window.addEventListener("load", () => {
      const set = (id, value, kind) => { at(id).value = value; at(id).dispatchEvent(new Event(kind)); };
      set("slider", 25, "input");
      const width = at("stage").clientWidth;
      told.push("clip " + (parseFloat(at("left-picture").style.clipPath.split(" ")[1]) / width).toFixed(2));
      set("zoom", 4, "input");
      told.push(at("left-picture").style.transform.replace(/.*scale/, "scale"));
      at("stage").dispatchEvent(new WheelEvent("wheel", {deltaY: 10000, clientX: 5, clientY: 5}));
      told.push("zoom " + view.zoom);
      at("frame").selectedIndex = 1; at("frame").dispatchEvent(new Event("change"));
      set("right", "sharp", "change");
      told.push(at("right-name").textContent);
      at("right-picture").decode().then(() => {
        told.push(at("right-picture").naturalWidth + "x" + at("right-picture").naturalHeight);
        set("metric", "psnr_grey", "change");
        told.push(document.querySelectorAll("polyline").length + " curves");
        document.title = told.join("; ");
      });
    });
    </script></head>"""
    page.write_text(page.read_text().replace("</head>", drive))
    line = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    out = subprocess.run([*line, page.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search("<title>(.*?)</title>", out).group(1)
    assert title == "clip 0.75; scale(4); zoom 1; sharp; 40x24; 6 curves"


def test_a_failed_write_leaves_the_old_file(page, monkeypatch):
    before = page.read_bytes()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_html(page, *reported())
    assert page.read_bytes() == before


def reported():
    report, album = Report({}), Album("ours", ("a", "0"))
    report.add("a", "0", {"ours": scores(1.0)})
    album.offer("a", "0", {"ours": torch.rand(3, 8, 8)}, {"ours": scores(1.0)})
    return report, album
