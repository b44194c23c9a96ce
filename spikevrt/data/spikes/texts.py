"""Reads the small texts beside recordings, in whatever encoding an editor or a spreadsheet gave them."""

import codecs
import re
from pathlib import Path

import yaml

from spikevrt.errors import UserError

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks and the encodings that they announce."""
ENCODINGS = ("utf-8", "gb18030")
"""Encodings without a mark, in the order in which they are tried; one that does not fit is noticed."""
LARGEST_DESCRIPTION = 1 << 16
"""Bytes of a `config.yaml`; a real one has some hundred."""
KEYS = ("spike_h", "spike_w")
LENGTH = re.compile(r"\+?([0-9]{1,6})(\.0*)?")
"""A number of pixels: 250, or 250.0 as some tools write it."""


def decoded(content: bytes) -> str:
    """The text of a file: by its byte order mark, else UTF-16, UTF-8 or GB 18030, whichever fits.

    In any other encoding, characters outside ASCII become U+FFFD, and the rest stays readable.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\0" in content:
        # ASCII in UTF-16: every other byte is 0, the second of each pair where the low byte comes first.
        low_first = content[1::2].count(0) >= content[::2].count(0)
        return content.decode("utf-16-le" if low_first else "utf-16-be", "replace")
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("ascii", "replace")


def shown(value: object, most: int = 60) -> str:
    """A value for a message: in quotes, without control characters, at most some `most` characters long."""
    text = ascii(value)
    return text if len(text) <= most else f"{text[:most]}..."


def read_recording_config(path: Path) -> tuple[int, int] | None:
    """(height, width) from SpikeCV's `config.yaml` (spike_h, spike_w), or None where there is no such file.

    Raises:
        UserError: it does not state both as whole numbers of 1 to 999999, or states one of them twice.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    found: dict[str, list[str]] = {key: [] for key in KEYS}
    for key, value in top_level(content) if len(content) <= LARGEST_DESCRIPTION else ():
        found.get(key.strip().lower(), []).append(value)
    matches = [LENGTH.fullmatch(values[0].strip()) if len(set(values)) == 1 else None for values in found.values()]
    sides = [int(match[1]) if match else 0 for match in matches]
    if min(sides) < 1:
        stated = ", ".join(f"{key}: {shown(' and '.join(values))}" for key, values in found.items() if values)
        raise UserError(
            f"{path}: must hold spike_h and spike_w as whole numbers of pixels, once each"
            f"{f' (it holds {stated})' if stated else ''}; correct it, or python -m spikevrt.identify finds the size"
        )
    return sides[0], sides[1]


def top_level(content: bytes) -> list[tuple[str, str]]:
    """Key and value of every plain entry of a YAML mapping, as they are written; nothing if it is no such text.

    The text is only parsed: no value is built, so no tag, reference or date in it has an effect.
    """
    try:
        root = yaml.compose(decoded(content), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    scalar = yaml.ScalarNode
    return [(str(k.value), str(v.value)) for k, v in pairs if isinstance(k, scalar) and isinstance(v, scalar)]
