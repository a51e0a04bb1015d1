"""FASTA: every valid spelling of a genome reads alike, every broken one is named by its line."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.errors import InputError
from hyena_ray.genome import contigs, source
from hyena_ray.genome.contigs import Contig, Fasta
from hyena_ray.genome.source import BGZF_EOF

PLAIN = b">one first contig\nACGTAC\nGTNNAC\nGT\n>two\nTTTT\n"
CODES = {"one": [0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 0, 1, 2, 3], "two": [3, 3, 3, 3]}


def bgzip(content: bytes, block: int = 9) -> bytes:
    """Blocks with their size in the extra field, and the closing block, as bgzip writes them."""
    blocks = []
    for first in range(0, len(content), block):
        chunk = content[first : first + block]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(chunk) + packer.flush()
        header = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\0BC\x02\0"
        size = struct.pack("<H", len(header) + 2 + len(packed) + 8 - 1)
        blocks.append(header + size + packed + struct.pack("<II", zlib.crc32(chunk), len(chunk)))
    return b"".join(blocks) + BGZF_EOF


def read(path: Path) -> dict[str, list[int]]:
    return {contig.name: contig.codes.tolist() for contig in Fasta(path)}


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.lower().replace(b">ONE", b">one"),
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b"contig\n", b"contig\r"),
        PLAIN.rstrip(b"\n"),
        PLAIN.replace(b"\n", b"\r\n").rstrip(b"\n"),
        PLAIN + b"\n\n",
        PLAIN.replace(b"GT\n>", b"GT\n\n>"),
        PLAIN.replace(b"NN", b"rY"),
        b"\xef\xbb\xbf" + PLAIN,
        b">one a>b\nACGTACGTNNACGT\n>two\nT\nT\nT\nT",
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]),
        bgzip(PLAIN),
    ],
)
def test_every_valid_spelling_reads_as_the_same_bases(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "genome"
    path.write_bytes(content)
    assert read(path) == CODES


@settings(deadline=None, max_examples=60)
@given(
    sequences=st.lists(st.text("ACGTNacgtnRYKM", min_size=1, max_size=90), min_size=1, max_size=4),
    width=st.integers(1, 40),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(18, 60),  # bgzip is recognised by its first 18 bytes
    compress=st.sampled_from([bytes, gzip.compress, bgzip]),
)
def test_what_was_written_is_read_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    sequences: list[str],
    width: int,
    newline: str,
    block: int,
    compress: Callable[[bytes], bytes],
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "genome"
    text = ""
    for number, sequence in enumerate(sequences):
        lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
        text += newline.join([f">c{number} > {number}", *lines]) + newline
    path.write_bytes(compress(text.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK", block)
        found = read(path)
    assert found == {
        f"c{number}": ["ACGT".find(base) % 5 for base in sequence.upper()]
        for number, sequence in enumerate(sequences)
    }


BAD = {
    "leading blank line": (b"\n>a\nACGT\n", "genome:1: "),
    "bed": (b"chr1\t1\t5\n", "genome:1: chr1\\t1\\t5: a FASTA"),
    "high byte": (b">a\nAC\xc3\xa9\n", "genome:2: '\\xc3': not a DNA letter"),
    "blank before name": (b">a\nA\n> b\nACGT\n", "genome:3: > b: the contig has no name"),
    "name not UTF-8": (b">\xff\nACGT\n", "genome:1: the header is not UTF-8"),
    "empty last record": (b">a\nA\n>b\n", "genome:3: b: the contig has no sequence"),
    "header alone": (b">a", "genome:1: a: the contig has no sequence"),
    "long line": (
        b">a\nACG\nACGTACG\nAC\n",
        "genome:3: 7 letters: the lines of this contig have 3",
    ),
    "long last line": (b">a\nACG\nACGT\n", "genome:3: 4 letters: "),
    "ragged, second contig": (b">z\nA\n>a\nACGT\nAC\nACGT\n", "genome:5: 2 letters: "),
    "blank first line": (b">a\n\nACGT\n", "genome:2: a blank line inside a sequence"),
    "protein": (b">a\nACGT\nMKVL\n", "genome:3: 'L': not a DNA letter"),
    "gap": (b">a\nAC-T\n", "genome:2: '-': not a DNA letter"),
    "stop": (b">a\nACGT\nACG*\n", "genome:3: '*': not a DNA letter"),
    "inner blank": (b">a\nAC GT\n", "genome:2: ' ': not a DNA letter"),
    "sign inside": (b">a\nACGT\nA>GT\n", "genome:3: '>': not a DNA letter"),
    "carriage return": (b">a\rACGT\rAC\rACGT\r", "genome:3: 2 letters: the lines of this contig"),
    "changed gzip": (gzip.compress(PLAIN)[:-8] + b"\0" * 8, "genome: damaged gzip (CRC check"),
    "gzip and rubbish": (gzip.compress(PLAIN) + b"rubbish", "genome: damaged gzip ("),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / "genome"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(path)
    text = str(refusal.value)
    assert text.startswith(f"{tmp_path}/{message}")
    assert "\n" not in text
    assert "; " in text


def test_the_hash_is_that_of_the_stored_bytes(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(bgzip(PLAIN))
    genome = Fasta(path)
    for _ in genome:
        pass
    assert genome.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_contigs_come_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A genome may be larger than memory: nothing beyond the next header is read."""
    path = tmp_path / "genome.fa"
    path.write_bytes(b"".join(b">c%d\n%s\n" % (i, b"ACGT" * 100) for i in range(50)))
    monkeypatch.setattr(source, "BLOCK", 512)
    read_so_far: list[int] = []
    blocks = source.Source.blocks

    def counted(self: source.Source) -> object:
        for block in blocks(self):
            read_so_far.append(len(block))
            yield block

    monkeypatch.setattr(contigs.Source, "blocks", counted)
    for number, contig in enumerate(Fasta(path), 1):
        assert len(contig.codes) == 400
        assert sum(read_so_far) <= number * 410 + 512


def test_the_header_is_split_into_name_and_description(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(b">chr1\tprimary  assembly\nAC\n")
    (contig,) = Fasta(path)
    assert contig[::2] == ("chr1", "primary  assembly")
    assert isinstance(contig, Contig)
    np.testing.assert_array_equal(contig.codes, np.array([0, 1], np.uint8))


def test_which_bases_are_in_lower_case_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    path.write_text(">a\nACgt\nnNaC\n>b\nTTTT\n")
    first, second = Fasta(path, masks=True)
    assert first.soft_masked is not None
    assert first.soft_masked.tolist() == [letter.islower() for letter in "ACgtnNaC"]
    assert second.soft_masked is not None
    assert not second.soft_masked.any()
    assert [contig.codes.tolist() for contig in Fasta(path)] == [
        first.codes.tolist(),
        second.codes.tolist(),
    ]
    assert [contig.soft_masked for contig in Fasta(path)] == [None, None]
