#!/usr/bin/env python3
"""Makes the WebDataset shards in digits/ from digits/digits.csv.gz: an image, a caption and a label for each digit.

    python3 examples/data/make_digits.py [OUTPUT_FOLDER]

Needs the standard library only. The bytes it writes are the same everywhere: choices come from SHA-256, the PNG files are
stored, not deflated (zlib's output differs between its versions), and the archives carry no times and no owners.
"""

import csv
import gzip
import hashlib
import pathlib
import struct
import sys
import tarfile
import zlib
from io import BytesIO

SEED = "creel digits 1"
TEST_SAMPLES = 360
TRAIN_SHARDS = 4
SIDE = 8
LEVELS = 16  # a pixel is 0 (paper) to 16 (ink)

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEMPLATES = [
    "{}",
    "the number {}",
    "the digit {}",
    "a handwritten {}",
    "a photo of the number {}",
    "a scan of the digit {}",
    "somebody wrote a {}",
    "the digit {} written by hand",
    "a small grey picture of a {}",
    "this is a {}",
]


def draw(purpose: str, index: int) -> int:
    """A 64-bit number that depends on the seed, the purpose and the index alone."""
    digest = hashlib.sha256(f"{SEED}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def read_digits(path: pathlib.Path) -> list[tuple[list[int], int]]:
    with gzip.open(path, "rt", newline="") as file:
        rows = [[int(value) for value in row] for row in csv.reader(file)]
    return [(row[:-1], row[-1]) for row in rows]


def split(labels: list[int]) -> tuple[list[int], list[int]]:
    """Indices of (train, test): of each class the same share, in a mixed order."""
    by_class = [[i for i, label in enumerate(labels) if label == digit] for digit in range(10)]
    exact = [len(members) * TEST_SAMPLES / len(labels) for members in by_class]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(10), key=lambda digit: (counts[digit] - exact[digit], digit))
    for digit in by_remainder[: TEST_SAMPLES - sum(counts)]:
        counts[digit] += 1
    test = set()
    for members, count in zip(by_class, counts):
        test.update(sorted(members, key=lambda i: draw("split", i))[:count])
    order = sorted(range(len(labels)), key=lambda i: draw("order", i))
    return [i for i in order if i not in test], [i for i in order if i in test]


def caption(index: int, label: int) -> str:
    template = TEMPLATES[draw("template", index) % len(TEMPLATES)]
    return template.format(WORDS[label] if draw("spelling", index) % 2 == 0 else str(label))


def png(pixels: list[int]) -> bytes:
    """An 8-bit grey PNG file of 8 x 8 pixels, ink white on black paper."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    levels = [(value * 255 + LEVELS // 2) // LEVELS for value in pixels]
    lines = b"".join(b"\0" + bytes(levels[i : i + SIDE]) for i in range(0, SIDE * SIDE, SIDE))
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(lines), len(lines) ^ 0xFFFF) + lines
    stored += struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")


def write_shard(path: pathlib.Path, first: int, indices: list[int], digits: list[tuple[list[int], int]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, index in enumerate(indices, first):
            pixels, label = digits[index]
            for extension, content in (
                ("png", png(pixels)),
                ("txt", caption(index, label).encode()),
                ("cls", str(label).encode()),
            ):
                member = tarfile.TarInfo(f"{number:06d}.{extension}")  # mtime, owner and group are 0
                member.size = len(content)
                archive.addfile(member, BytesIO(content))


def main() -> None:
    source = pathlib.Path(__file__).resolve().parent / "digits" / "digits.csv.gz"
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else source.parent
    output.mkdir(parents=True, exist_ok=True)
    digits = read_digits(source)
    train, test = split([label for _, label in digits])
    size = -(-len(train) // TRAIN_SHARDS)
    for shard in range(TRAIN_SHARDS):
        part = train[shard * size : (shard + 1) * size]
        write_shard(output / f"train-{shard:05d}.tar", shard * size, part, digits)
    write_shard(output / "test-00000.tar", 0, test, digits)
    print(f"{len(train)} training and {len(test)} test samples in {output}")


if __name__ == "__main__":
    main()
