"""Figures of the code's structure, for a toy tree that breaks every rule."""

import json

import pytest

from bench.source_tree.functions import functions, shared_pairs
from bench.source_tree.layers import circular_arrows, parts_without_layer, upward_imports
from bench.structure import main
from spikevrt.errors import UserError

REPEATED = """
def first(a: int, b: int) -> int:
    \"\"\"A sum, the long way.\"\"\"
    total = 0
    total += a

    total += b
    total += 1
    total += 2
    return total
"""
TREE = {
    "spikevrt/errors.py": "from spikevrt.data.clips import third\n",
    "spikevrt/data/clips.py": REPEATED + REPEATED.replace("first", "second").replace("    ", "        ")
    + "def third(a, *, b): pass  # why\n",
    "spikevrt/data/__init__.py": "import spikevrt.errors  # noqa\n",
    "spikevrt/novelty.py": "class A:\n  def method(self, x: int) -> int:\n    def inner(): pass\n    return x\n",
    "kernels/spikevrt_kernels/core.py": "@triton.jit\ndef kernel(a, b, c, d, e, f, g):\n    pass\n",
    "bench/tune.py": "",
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def figures(capsys, tree):
    assert main([str(tree), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_of_a_package(capsys, tree):
    found = figures(capsys, tree)["figures"]
    assert {name: column["files"] for name, column in found.items()} == {
        "spikevrt": 4, "spikevrt_kernels": 1, "bench": 1, "all": 6,
    }  # fmt: skip
    spikevrt = found["spikevrt"]
    assert spikevrt["lines"] == 1 + 10 + 10 + 1 + 1 + 4
    assert spikevrt["files per 1,000 lines"] == round(4000 / 27, 1)
    assert spikevrt["lines of a host function"] == [3, 9, 9], "1, 1, 3, 9 and 9"
    assert spikevrt["typed host functions, %"] == 60.0, "all but `third` and `inner`"
    assert spikevrt["public functions with docstring, %"] == 50.0, "`inner` is nobody else's"
    assert spikevrt["comment lines, %"] == round(100 / 27, 1), "a comment for tools is none"
    assert found["spikevrt_kernels"]["lines of a kernel"] == [2, 2, 2]
    assert found["bench"]["lines of a kernel"] == []


def test_parameters_of_kernels_are_apart(capsys, tree):
    longest = figures(capsys, tree)["longest parameter lists"]
    assert [one["parameters"] for one in longest] == [2, 2, 2, 1, 0]
    assert longest[0] == {"parameters": 2, "name": "first", "place": "spikevrt/data/clips.py:2"}


def test_a_pair_shares_six_lines_whatever_their_indentation(tree):
    path = tree / "spikevrt/data/clips.py"
    ((size, a, b),) = shared_pairs(list(functions(path, tree)))
    assert (size, a.name, b.name) == (7, "first", "second"), "without the signature and the blank line"
    path.write_text(path.read_text().replace("total += 1", "total += 3", 1))
    assert shared_pairs(list(functions(path, tree))) == []


def test_arrows_upwards_and_in_circles(tree):
    assert upward_imports(tree, "spikevrt") == ["spikevrt/errors.py -> spikevrt.data"]
    assert circular_arrows(tree, "spikevrt") == ["spikevrt: data -> errors", "spikevrt: errors -> data"]
    assert parts_without_layer(tree, "spikevrt") == {"novelty"}


def test_the_text_lists_pairs_where_they_are_asked_for(capsys, tree):
    assert main([str(tree)]) == 0
    assert "clips.py:2 first  " not in capsys.readouterr().out
    assert main([str(tree), "--pairs"]) == 0
    assert "7 spikevrt/data/clips.py:2 first  spikevrt/data/clips.py:12 second" in capsys.readouterr().out


def test_a_folder_that_is_no_checkout_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no folder spikevrt/ here; give the top folder of a checkout"):
        main([str(tmp_path)])
