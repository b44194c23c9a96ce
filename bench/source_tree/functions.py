"""The functions of a source file, and the pairs of them that repeat lines."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

KERNEL_DECORATORS = ("triton.jit", "numba.njit", "compiled")
"""Decorators of kernels."""
SHARED = 6
"""Equal lines in a row that make a pair."""


@dataclass(frozen=True)
class Function:
    """A function or method, with what is counted of it."""

    name: str
    place: str
    lines: tuple[str, ...]
    """Without blank lines and indentation."""
    size: int
    """Lines from `def` to the end."""
    parameters: int
    """Without `self` and `cls`."""
    kernel: bool
    nested: bool
    typed: bool
    """Every parameter and the result have a type."""
    documented: bool


def functions(path: Path, root: Path) -> Iterator[Function]:
    """All functions of a file, nested ones too."""
    lines = path.read_text().splitlines()

    def visit(parent: ast.AST, nested: bool) -> Iterator[Function]:
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(node, nested)
                continue
            a, end = node.args, node.end_lineno or node.lineno
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            every = [one for one in every if one.arg not in ("self", "cls")]
            yield Function(
                name=node.name,
                place=f"{path.relative_to(root)}:{node.lineno}",
                lines=tuple(filter(None, (" ".join(line.split()) for line in lines[node.lineno - 1 : end]))),
                size=end - node.lineno + 1,
                parameters=len(every),
                kernel=any(ast.unparse(one).split("(")[0] in KERNEL_DECORATORS for one in node.decorator_list),
                nested=nested,
                typed=node.returns is not None and all(one.annotation for one in every),
                documented=ast.get_docstring(node) is not None,
            )
            yield from visit(node, True)

    yield from visit(ast.parse("\n".join(lines)), False)


def shared_pairs(found: Sequence[Function]) -> list[tuple[int, Function, Function]]:
    """Pairs of functions that are not nested, with their longest run of equal lines, longest first."""
    runs: dict[tuple[str, ...], set[int]] = {}
    for i, function in enumerate(found):
        if function.nested:
            continue
        for start in range(len(function.lines) - SHARED + 1):
            runs.setdefault(function.lines[start : start + SHARED], set()).add(i)
    pairs = {pair for members in runs.values() for pair in combinations(sorted(members), 2)}
    texts = ((found[i], found[k]) for i, k in sorted(pairs))
    sized = [(SequenceMatcher(None, a.lines, b.lines, False).find_longest_match().size, a, b) for a, b in texts]
    return sorted(sized, key=lambda one: -one[0])
