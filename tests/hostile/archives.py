"""Archives that try something. Each is a valid data set but for one trick."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile

import zstandard

from tests.masktune_core.archives import picture, png, tar_bytes, two_classes, zip_bytes

ZEROS = bytes(80 * 2**20)


def refused() -> dict[str, tuple[bytes, str]]:
    """Name → (archive, the code it must be refused with)."""
    good = two_classes()
    plain = tar_bytes(good)
    corpus: dict[str, tuple[bytes, str]] = {}
    for name in ("../up.png", "a/../../up.png", "/etc/up.png", "C:\\up.png", "..\\up.png", "a\nb.png", "x" * 1100):
        for kind, pack in (("zip", zip_bytes), ("tar", tar_bytes)):
            corpus[f"path {name[:16]!r} in {kind}"] = (pack(good | {name: b""}), "unsafe_path")
    for flag in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S"):
        corpus[f"tar entry of type {flag.decode()!r}"] = (_tar_with(good, flag), "unsafe_entry")
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        corpus[f"zip entry of mode {mode:o}"] = (_zip_with(good, mode), "unsafe_entry")
    for other in ("train/0.PNG", "./train//0.png", "Train/0.png"):
        corpus[f"double {other}"] = (zip_bytes(good | {other: b""}), "duplicate_name")
    corpus |= {
        "encrypted": (_flagged(zip_bytes(good), 1), "encrypted_entry"),
        "strongly encrypted": (_flagged(zip_bytes(good), 0x40), "encrypted_entry"),
        "bzip2 inside zip": (zip_bytes(good, zipfile.ZIP_BZIP2), "unsafe_entry"),
        "zip bomb": (zip_bytes(good | {"z": ZEROS}), "too_large"),
        "gz bomb": (tar_bytes(good | {"z": ZEROS}, "w:gz"), "too_large"),
        "zst bomb": (tar_bytes(good | {"z": ZEROS}, "w:zst"), "too_large"),
        "gz bomb in a second member": (gzip.compress(plain) + gzip.compress(ZEROS), "too_large"),
        "zst bomb in a second frame": (_zst(plain) + _zst(ZEROS), "too_large"),
        "gz of gz": (gzip.compress(gzip.compress(plain)), "not_an_archive"),
        "zst of gz": (_zst(gzip.compress(plain)), "not_an_archive"),
        "gz of zip": (gzip.compress(zip_bytes(good)), "not_an_archive"),
        "gz with a lying length": (gzip.compress(plain)[:-4] + struct.pack("<I", 7), "archive_damaged"),
        "gz with a lying checksum": (gzip.compress(plain)[:-8] + bytes(8), "archive_damaged"),
        "gz with garbage behind": (gzip.compress(plain) + b"garbage", "archive_damaged"),
        "zip in front of which something stands": (b"#!/bin/sh\n" + zip_bytes(good), "not_an_archive"),
        "zip of a lying size": (_lying(zip_bytes(good), 24, -1), "archive_damaged"),
        "zip of a lying checksum": (_lying(zip_bytes(good), 16, 1), "archive_damaged"),
        "zip of a lying place": (_lying(zip_bytes(good), 42, 5), "archive_damaged"),
        "zip of other names inside": (zip_bytes(good).replace(b"train/1.png", b"train/9.png", 1), "archive_damaged"),
        "tar of a name that is no text": (_latin_tar(good), "unsafe_path"),
        "tar of an endless header": (_long_header(), "archive_damaged"),
        "tar of a negative size": (_negative(), "archive_damaged"),
        "no archive": (b"no archive", "not_an_archive"),
        "nothing": (b"", "not_an_archive"),
        "zeros, which are an empty tar": (bytes(4096), "archive_empty"),
        "bzip2": (b"BZh91AY" + bytes(600), "not_an_archive"),
        "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(600), "not_an_archive"),
        "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(600), "not_an_archive"),
        "an image": (png(picture()), "not_an_archive"),
        "zip with a second end in its comment": (_commented(good, b"PK\x05\x06" + b"?" * 99), "archive_damaged"),
        "empty zip": (zip_bytes({}), "archive_empty"),
        "empty tar": (tar_bytes({}), "archive_empty"),
    }
    packed: dict[str, bytes] = {
        "zip": zip_bytes(good),
        "tar": plain.rstrip(b"\0"),
        "tar.gz": gzip.compress(plain),
        "tar.zst": _zst(plain),
    }
    for kind_, content in packed.items():
        for share in (0.3, 0.6, 0.9):
            corpus[f"{kind_} cut at {share:.0%}"] = (content[: int(len(content) * share)], "archive_damaged")
    return corpus


def harmless() -> dict[str, bytes]:
    """Name → an archive that looks odd and is taken, without what is odd about it."""
    good = two_classes()
    plain = tar_bytes(good)
    inner, packed = zip_bytes({"z": ZEROS}), gzip.compress(ZEROS)
    return {
        "a bomb in a nested zip, never unpacked": zip_bytes(good | {"nested.zip": inner}, zipfile.ZIP_STORED),
        "a bomb in a nested gz, never unpacked": zip_bytes(good | {"nested.gz": packed}, zipfile.ZIP_STORED),
        "tar with garbage behind its end": plain + b"garbage" * 99,
        "gz with zeros behind": gzip.compress(plain) + bytes(512),
        "zip with a comment": _commented(good, b"made by hand"),
        "junk of operating systems": zip_bytes(good | {"__MACOSX/._a.png": b"x", ".DS_Store": b"x", "Thumbs.db": b"x"}),
        "a script that nothing runs": zip_bytes(good | {"setup.py": b"raise SystemExit", "run.sh": b"rm -rf /"}),
        "names in another code page": zip_bytes(good | {"caf\u00e9.txt": b"x", "\u65e5\u672c.txt": b"x"}),
    }


def _zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def _tar_with(files: dict[str, bytes], kind: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        entry = tarfile.TarInfo("train/link.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    return out.getvalue()


def _zip_with(files: dict[str, bytes], mode: int) -> bytes:
    out = io.BytesIO(zip_bytes(files))
    with zipfile.ZipFile(out, "a") as archive:
        info = zipfile.ZipInfo("train/link.png")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def _commented(files: dict[str, bytes], comment: bytes) -> bytes:
    out = io.BytesIO(zip_bytes(files))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = comment
    return out.getvalue()


def _last_entry(content: bytes | bytearray) -> int:
    return content.rfind(b"PK\x01\x02")


def _flagged(content: bytes, flag: int) -> bytes:
    changed = bytearray(content)
    changed[_last_entry(changed) + 8] |= flag
    return bytes(changed)


def _lying(content: bytes, field: int, by: int) -> bytes:
    changed = bytearray(content)
    at = _last_entry(changed) + field
    (value,) = struct.unpack_from("<I", changed, at)
    struct.pack_into("<I", changed, at, (value + by) & 0xFFFFFFFF)
    return bytes(changed)


def _latin_tar(files: dict[str, bytes]) -> bytes:
    info = tarfile.TarInfo("caf\u00e9.png")
    return info.tobuf(tarfile.GNU_FORMAT, "latin-1") + tar_bytes(files)


def _long_header() -> bytes:
    first, name = tarfile.TarInfo("a.png"), tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**30
    return first.tobuf() + name.tobuf() + bytes(3 * 2**20)


def _negative() -> bytes:
    header = bytearray(tarfile.TarInfo("b.png").tobuf())
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return tarfile.TarInfo("a.png").tobuf() + bytes(header) + bytes(1024)
