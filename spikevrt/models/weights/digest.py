"""A digest at the end of a checkpoint, which tells every flipped, missing or foreign byte.

`torch.save` writes a ZIP archive, whose last field is a comment. It holds the SHA-256 of all bytes before it, so
that any reader of such archives, `torch.load` too, takes the file as it is. Archives without it are held to the CRC-32
of their members, which `torch.load` does not compare.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import BinaryIO

from spikevrt.errors import UserError

TAG = b"spikevrt sha256 "
HEX_BYTES = 64
COMMENT_BYTES = len(TAG) + HEX_BYTES
ZIP_START = b"PK\x03\x04"
ZIP_END = b"PK\x05\x06"
ZIP_END_BYTES = 22
"""Size of an archive's end record without a comment; its last two bytes are the comment's length."""
CHUNK = 2**20


class DamagedFileError(UserError):
    """A file that is there but is not what was written: cut short, changed, or without entries that it needs."""


def seal(path: Path) -> None:
    """Append the digest to a file that `torch.save` has just written."""
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(COMMENT_BYTES.to_bytes(2, "little") + TAG)
        size = file.tell()
        file.write(content_digest(file, size))


def check_content(path: Path) -> None:
    """Compare a file with its digest, or an archive without one with the checksums of its members.

    Raises:
        DamagedFileError: the content differs, or the end of an archive is missing.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_START)) == ZIP_START
        size = file.seek(0, 2)
        file.seek(max(size - ZIP_END_BYTES - COMMENT_BYTES, 0))
        tail = file.read()
        if tail[ZIP_END_BYTES:].startswith(TAG):
            if content_digest(file, size - HEX_BYTES) != tail[-HEX_BYTES:]:
                raise DamagedFileError(f"checkpoint {path}: damaged: its content differs from its checksum; {AGAIN}")
        elif is_zip and not tail[-ZIP_END_BYTES:].startswith(ZIP_END):
            raise DamagedFileError(
                f"checkpoint {path}: damaged: its end is missing ({size:,} bytes are there); {AGAIN}"
            )
        elif is_zip:
            check_members(path, size)


AGAIN = "copy or download it again, or use another checkpoint"


def content_digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first `size` bytes as hexadecimal digits; the file then stands behind them."""
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()


def check_members(path: Path, size: int) -> None:
    """Compare the members of an archive with their CRC-32; one that was written without them is not compared."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # Before anything is unpacked: `torch.save` compresses nothing, so the members are smaller than the file.
            if sum(member.file_size for member in members) > size:
                raise zipfile.BadZipFile("members larger than the file")
            wrong = archive.testzip() if any(member.CRC for member in members) else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise DamagedFileError(f"checkpoint {path}: damaged: no readable archive ({error}); {AGAIN}") from None
    if wrong is not None:
        raise DamagedFileError(f"checkpoint {path}: damaged: {wrong} differs from its checksum; {AGAIN}")
