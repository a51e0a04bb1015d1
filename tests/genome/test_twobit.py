"""2bit: the bases of FASTA, and no crash of the library that decodes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import py2bit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import Fasta, TwoBit, open_genome
from hyena_ray.genome.intervals import gather_windows
from hyena_ray.storage import S3Path
from tests.binary_files import twobit_bytes, write_twobit

CONTIGS = [("one", "NNACGTacgtNnnACGTG" * 3), ("zwei", "T"), ("3", "ACGTA"), ("n", "NNNN")]
STORED = twobit_bytes(CONTIGS)


def codes(text: str) -> list[int]:
    return ["ACGT".find(letter) % 5 for letter in text.upper()]


def read(path: Path) -> dict[str, list[int]]:
    return {contig.name: contig.codes.tolist() for contig in TwoBit(path)}


@pytest.mark.parametrize("version", [0, 1])
def test_every_base_is_read_whatever_its_mask(tmp_path: Path, version: int) -> None:
    path = tmp_path / "x.2bit"
    path.write_bytes(twobit_bytes(CONTIGS, version=version))
    assert read(path) == {name: codes(text) for name, text in CONTIGS}
    assert TwoBit(path).lengths == {name: len(text) for name, text in CONTIGS}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.sampled_from(["A", "c", "gtTA", "NNN", "n", "acgt" * 9]), min_size=1).map(
            "".join
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    contigs = [(f"c{number}", text) for number, text in enumerate(texts)]
    path = write_twobit(tmp_path_factory.mktemp("twobit") / "x.2bit", contigs)
    assert read(path) == {name: codes(text) for name, text in contigs}


def test_the_tests_writer_agrees_with_the_library(tmp_path: Path) -> None:
    path = write_twobit(tmp_path / "x.2bit", CONTIGS)
    with py2bit.open(str(path), True) as stored:
        found = {name: stored.sequence(name) for name in stored.chroms()}
    # It writes every N in upper case.
    assert found == {name: text.replace("n", "N") for name, text in CONTIGS}


def test_the_hash_is_that_of_the_stored_bytes(tmp_path: Path) -> None:
    genome = TwoBit(write_twobit(tmp_path / "x.2bit", CONTIGS))
    with pytest.raises(RuntimeError, match="has not been read to its end"):
        _ = genome.sha256
    assert [contig.codes.flags.writeable for contig in genome] == [False] * 4
    assert genome.sha256 == hashlib.sha256(STORED).hexdigest()


def test_which_bases_are_in_lower_case_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write_twobit(tmp_path / "x.2bit", CONTIGS)
    masked = {contig.name: contig.soft_masked for contig in TwoBit(path, masks=True)}
    # py2bit gives every N in upper case.
    expected = {name: [base.islower() for base in text.replace("n", "N")] for name, text in CONTIGS}
    assert {name: found.tolist() for name, found in masked.items() if found is not None} == expected
    assert any(any(found) for found in expected.values())
    assert [contig.soft_masked for contig in TwoBit(path)] == [None] * len(CONTIGS)


def test_a_genome_is_opened_by_its_content(tmp_path: Path) -> None:
    """Whatever it is called."""
    (tmp_path / "a").write_bytes(STORED)
    (tmp_path / "b.2bit").write_bytes(b">one\nACGT\n")
    assert isinstance(open_genome(tmp_path / "a"), TwoBit)
    assert isinstance(open_genome(tmp_path / "b.2bit"), Fasta)


def test_it_is_read_from_s3(bucket: S3Path) -> None:
    (bucket / "x.2bit").write_bytes(STORED)
    genome = open_genome(bucket / "x.2bit")
    assert [contig.codes.tolist() for contig in genome] == [codes(text) for _, text in CONTIGS]
    assert genome.sha256 == hashlib.sha256(STORED).hexdigest()


def test_windows_of_the_real_genome_are_those_of_its_fasta(tmp_path: Path, shared: Path) -> None:
    """Pieces of two million bases with N at their edges, and windows that reach past the ends."""
    letters = np.frombuffer(b"ACGTN", np.uint8)
    plain = [
        contig._replace(codes=contig.codes[:2_000_000])
        for contig in Fasta(shared / "data" / "hg19_part" / "genome.fa.gz")
    ]
    texts = [(contig.name, letters[contig.codes].tobytes().decode()) for contig in plain]
    genome = TwoBit(write_twobit(tmp_path / "x.2bit", texts))
    rng = np.random.default_rng(0)
    for ours, theirs in zip(genome, plain, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        start = rng.integers(-500, len(ours.codes) + 500, 200)
        width = int(rng.integers(1, 400))
        np.testing.assert_array_equal(
            gather_windows(ours.codes, start, width, 4),
            gather_windows(theirs.codes, start, width, 4),
        )


def changed(at: int, *values: int) -> bytes:
    return STORED[:at] + bytes(values) + STORED[at + len(values) :]


ONE = 16 + 4 * (1 + 4) + len("onezwei3n")
"""Where the record of the first contig begins: its length, and its count of N blocks."""
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "x.2bit: damaged 2bit (it ends inside its header)"),
    "header": (STORED[:9], "x.2bit: damaged 2bit (it ends inside its header)"),
    "index": (STORED[:21], "x.2bit: damaged 2bit (it ends inside the name of contig 1 of 4)"),
    "record": (STORED[: ONE + 20], "x.2bit: damaged 2bit (it ends inside one)"),
    "bases": (STORED[:-1], "x.2bit: damaged 2bit (it ends inside n)"),
    "other order": (
        twobit_bytes(CONTIGS, order=">"),
        "x.2bit: a 2bit file of another byte order or version",
    ),
    "version": (changed(4, 2), "x.2bit: a 2bit file of another byte order or version"),
    "more contigs": (changed(8, 9), "x.2bit: damaged 2bit (the name of contig 5 is not printable)"),
    "no contig": (twobit_bytes([]), "x.2bit: the file has no contig; give --genome a FASTA or "),
    "no base": (twobit_bytes([("a", "")]), "x.2bit: a: the contig has no sequence; leave it out"),
    "no name": (twobit_bytes([("", "A")]), "x.2bit: the name of contig 1 is empty or has blanks"),
    "blank": (twobit_bytes([("a b", "A")]), "x.2bit: a b: the name of contig 1 is empty or has "),
    "not UTF-8": (changed(17, 0xFF), "x.2bit: damaged 2bit (the name of contig 1 is not UTF-8)"),
    "two of one name": (
        twobit_bytes([("a", "A"), ("a", "C")]),
        "x.2bit: a: two contigs have this name; give every contig its own",
    ),
    "longer": (changed(ONE + 2, 1), "x.2bit: damaged 2bit ("),
    "fewer N blocks": (changed(ONE + 4, 2), "x.2bit: damaged 2bit ("),
    "many N blocks": (changed(ONE + 4, 0xFF, 0xFF, 0xFF, 0xFF), "x.2bit: damaged 2bit (it ends "),
    "N past the end": (
        changed(ONE + 11, 0x7F),
        "x.2bit: damaged 2bit (the N blocks of one overlap or end past its 54 bases)",
    ),
    "N twice": (
        changed(ONE + 12, 0),
        "x.2bit: damaged 2bit (the N blocks of one overlap or end past its 54 bases)",
    ),
    "other than zero after the blocks": (
        changed(ONE + 8 + 6 * 8 + 4 + 6 * 8, 1),
        "x.2bit: damaged 2bit (no zero is before the bases of one)",
    ),
    "one record twice": (
        changed(ONE - 4, *ONE.to_bytes(4, "little")),
        "x.2bit: damaged 2bit (n begins inside what is before it)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_refused_before_it_is_decoded(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content, message = BAD[case]
    path = tmp_path / "x.2bit"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


@settings(deadline=None, max_examples=300)
@given(st.integers(0, ONE + 60), st.integers(1, 255))
def test_no_changed_byte_crashes(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    """A changed byte may name or place something else; it is read as such, or refused."""
    path = tmp_path_factory.mktemp("flipped") / "x.2bit"
    path.write_bytes(changed(at, STORED[at] ^ flip))
    try:
        found = read(path)
    except InputError:
        return
    assert [len(found_codes) for found_codes in found.values()] == [
        len(text) for _, text in CONTIGS
    ]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.2bit: there is no such file; give --genome a FASTA"):
        read(tmp_path / "x.2bit")
    with pytest.raises(InputError, match="is a folder, not a file; give --genome a FASTA or 2bit"):
        read(tmp_path)
