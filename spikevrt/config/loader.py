"""Builds a `Config` from YAML and `KEY=VALUE` options, and writes it back as YAML."""

import difflib
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from spikevrt.config.keys import about
from spikevrt.config.schema import Config, Values, add_derived
from spikevrt.config.written import Scalar, Tree, literal, parse_option, parse_yaml, read_text
from spikevrt.errors import UserError, quoted, shown

ALIASES = {"DATA.NUM_VOXEL_BINS": "DATA.K"}
"""Old name -> current name of a key; a file that has both must give them the same value."""
FLAGS = {"TRAIN.MIXED_PRECISION": ("none", "auto")}
"""Keys that once were true or false: the words that now stand for false and for true."""
SAME_PRESETS = {"vrt_dvd": "vrt_gopro", "vrt_reds": "vrt_gopro"}
"""Preset -> the preset whose file it shares: the published models for deblurring differ in their weights alone."""
NOTHING = "none"
"""How files and options write that a key has no value; YAML's own null does, too."""


def preset_names() -> list[str]:
    """Names of the configurations that are part of the package."""
    return sorted([*distinct_presets(), *SAME_PRESETS])


def distinct_presets() -> list[str]:
    """The presets that differ: those with a file of their own."""
    folder = resources.files("spikevrt.config") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """What the file of a preset says."""
    file = f"{SAME_PRESETS.get(name, name)}.yaml"
    return (resources.files("spikevrt.config") / "presets" / file).read_text("utf-8")


def load_config(name_or_path: str, options: Sequence[str] = ()) -> Config:
    """Load a preset by name or a YAML file by path, then apply options such as `TRAIN.LR=5e-5`.

    Raises:
        UserError: unknown preset, unreadable file, unknown key (names the nearest), wrong type or value.
    """
    tree = read_yaml(name_or_path)
    for option in options:
        apply_option(tree, option)
    return config_from_tree(tree)


def read_yaml(name_or_path: str) -> Tree:
    """Read a preset or a file as a tree of upper-case keys; values are not checked."""
    label = f"configuration {shown(name_or_path)}"
    if name_or_path in preset_names():
        text = preset_text(name_or_path)
    else:
        try:
            text = read_text(Path(name_or_path).expanduser(), label)
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{label}: neither a preset ({', '.join(preset_names())}) nor a readable YAML file ({reason})"
            ) from None
    return tree_of(text, label)


def tree_of(text: str, label: str) -> Tree:
    """Parse a configuration; `label` names it in error messages."""
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise UserError(f"{label}: {where}{problem}; correct the YAML there") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{label}: holds no sections; write for example 'TRAIN:' and below it '  LR: 0.0001'")
    return tree


def apply_option(tree: Tree, option: str) -> None:
    """Set `SECTION.KEY=VALUE` in `tree`.

    The value of a text key is what stands behind the equals sign; other values are YAML (numbers, lists, none).
    """
    label = f"--opts {shown(option)}"
    key, equals, text = option.partition("=")
    if key.endswith(" "):
        # KEY = VALUE: the blanks belong to the equals sign.
        text = text.strip()
    path = key.strip().split(".")
    if not equals or not all(path):
        raise UserError(f"{label}: write SECTION.KEY=VALUE, for example TRAIN.LR=5e-5")
    full = ".".join(path)
    try:
        value = literal(text) if full in text_keys() else parse_option(text)
    except yaml.YAMLError:
        raise UserError(f"{label}: the value is not YAML; quote it") from None
    node = tree
    for part in path[:-1]:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise UserError(f"{label}: {shown(part)} is a value, not a section")
        node = child
    for alias, name in ALIASES.items():
        # An option replaces the value of the file, whichever of the two names the file uses.
        if full in (alias, name):
            node.pop(alias.rpartition(".")[2], None)
            node.pop(name.rpartition(".")[2], None)
    node[path[-1]] = value


def config_from_tree(tree: Mapping[str, Any]) -> Config:
    """Build and validate a `Config` from nested upper-case keys."""
    values = typed_values(Config, resolve_aliases(tree), "")
    add_derived(values)
    return build(Config, values)


def resolve_aliases(tree: Mapping[str, Any]) -> Tree:
    """A copy of `tree` with old key names replaced by the current ones."""
    result = dict(tree)
    for alias, name in ALIASES.items():
        section, _, old = alias.partition(".")
        new = name.partition(".")[2]
        node = result.get(section)
        if not isinstance(node, Mapping) or old not in node:
            continue
        node = dict(node)
        value = node.pop(old)
        if node.setdefault(new, value) != value:
            raise UserError(
                f"{alias} = {shown(value)} and {name} = {shown(node[new])} are the same setting: give one value"
            )
        result[section] = node
    return result


def typed_values(cls: type, tree: Mapping[str, Any], prefix: str) -> Values:
    """The values that `tree` holds for the dataclass `cls`, by field name and with the field's type.

    Nested dataclasses are sections; keys whose value is derived from others are left out where they have none.
    """
    hints = typing.get_type_hints(cls)
    known = {own.name.upper(): own for own in fields(cls)}
    values: Values = {}
    for name, value in tree.items():
        full = f"{prefix}{name}"
        if name not in known:
            raise UserError(unknown_key(full))
        own, hint = known[name], hints[known[name].name]
        if is_dataclass(hint):
            if is_nothing(value):
                continue
            if not isinstance(value, Mapping):
                raise UserError(f"{full} = {shown(value)}: is a section; nest its keys below it")
            values[own.name] = typed_values(typing.cast(type, hint), value, f"{full}.")
        elif not is_nothing(value) or not about(own).derived:
            converted = convert(full, current_word(full, value), hint)
            expanded = about(own).path and isinstance(converted, str)
            values[own.name] = os.path.expanduser(converted) if expanded else converted
    return values


def current_word(key: str, value: Any) -> Any:
    """The word for true or false, as YAML writes them, of a key in `FLAGS`; any other value as it is."""
    word = str(value) if isinstance(value, bool) else str_of(value) or ""
    flag = yaml.SafeLoader.bool_values.get(word.lower()) if key in FLAGS else None
    return value if flag is None else FLAGS[key][flag]


def build(cls: type, values: Values) -> Any:
    """Build the dataclass `cls` from `values`; its nested sections are built first."""
    hints = typing.get_type_hints(cls)
    sections = {own.name: hints[own.name] for own in fields(cls) if is_dataclass(hints[own.name])}
    built = {name: build(section, values.get(name, {})) for name, section in sections.items()}
    return cls(**(values | built))


def all_keys() -> list[str]:
    """Dotted names of all keys of a configuration."""
    return [name for name, _ in walk(Config)]


def free_keys() -> frozenset[str]:
    """Dotted names of the keys that may change when a run resumes."""
    return frozenset(name for name, own in walk(Config) if about(own).free)


def walk(cls: type, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Dotted name and field of every key of a section and of the sections inside it."""
    hints = typing.get_type_hints(cls)
    for own in fields(cls):
        name = f"{prefix}{own.name.upper()}"
        if is_dataclass(hints[own.name]):
            yield from walk(hints[own.name], f"{name}.")
        else:
            yield name, own


def text_keys() -> frozenset[str]:
    """Dotted names of the keys whose values are text."""
    return frozenset(name for name, own in walk(Config) if own.type in (str, str | None))


def unknown_key(key: str) -> str:
    """The error message for an unknown key; it names the most similar existing key."""
    key = shown(key)
    sections = {k.rpartition(".")[0] for k in all_keys()} - {""}
    candidates = [*all_keys(), *sections, *ALIASES]
    # All names are capitals: `data.root` is compared as DATA.ROOT.
    nearest = difflib.get_close_matches(key.upper(), candidates, n=1, cutoff=0.0)[0]
    # The right name in the wrong section is a better guess than a name with similar letters.
    leaf = key.upper().rpartition(".")[2]
    same_leaf = [c for c in candidates if c.rpartition(".")[2] == leaf]
    return f"{key}: unknown configuration key; did you mean {same_leaf[0] if same_leaf else nearest}?"


def is_nothing(value: Any) -> bool:
    """Whether a file or an option says with `value` that a key has no value."""
    return (value.value if isinstance(value, Scalar) else value) is None or str_of(value) == NOTHING


def str_of(value: Any) -> str | None:
    """A text, or a word of a file as it was written; None for other values."""
    if isinstance(value, Scalar):
        return value.text
    return value if isinstance(value, str) else None


def convert(key: str, value: Any, hint: Any) -> Any:
    """Convert `value` to the type `hint` (bool, int, float, str, tuple of int, or one of them or None)."""
    if isinstance(hint, types.UnionType):
        if is_nothing(value):
            return None
        hint = next(h for h in typing.get_args(hint) if h is not types.NoneType)
    if hint is str and str_of(value) is not None:
        return str_of(value)
    if isinstance(value, Scalar):
        value = value.value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{key} = {shown(value)}: must be a list, for example [2, 2, 2]")
        item = typing.get_args(hint)[0]
        return tuple(convert(key, v, item) for v in value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and not isinstance(value, bool):
        try:
            # Adding 0 makes -0.0 an ordinary zero.
            return float(value) + 0.0
        except (TypeError, ValueError, OverflowError):
            pass
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text (in quotes)"}
    raise UserError(f"{key} = {quoted(value)}: must be {names[hint]}")


def config_to_tree(config: Any) -> Tree:
    """The configuration as nested upper-case keys of plain YAML values."""
    tree: Tree = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            tree[f.name.upper()] = config_to_tree(value)
        else:
            tree[f.name.upper()] = list(value) if isinstance(value, tuple) else value
    return tree


def config_to_yaml(config: Config) -> str:
    """The configuration as YAML that `load_config` reads back to an equal `Config`."""
    return yaml.safe_dump(config_to_tree(config), sort_keys=False, default_flow_style=None)
