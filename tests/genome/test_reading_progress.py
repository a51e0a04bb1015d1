"""How far the reading of a genome is comes from the file itself."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from hyena_ray import progress
from hyena_ray.genome.contigs import Fasta, with_progress

GENOME = "".join(f">chr{number}\n{'ACGTACGTAC' * 100_000}\n" for number in range(1, 9))


@pytest.mark.parametrize("packed", [False, True])
def test_the_fraction_read_rises_to_one(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(gzip.compress(GENOME.encode(), 0) if packed else GENOME.encode())
    genome = Fasta(path)
    shares = [genome.fraction_read, *(genome.fraction_read for _ in genome)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    # By blocks of a megabyte, some of them ahead.
    assert all(abs(share - n / 8) < 0.45 for n, share in enumerate(shares))
    assert len(set(shares)) > 2
    assert shares[-1] == 1


def test_progress_names_the_contig_and_changes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "genome.fa").write_text(GENOME)
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.01)
    with caplog.at_level(logging.INFO):
        names = []
        for contig in with_progress(Fasta(tmp_path / "genome.fa")):
            names.append(contig.name)
            while len(names) == 3 and "at work: chr3" not in caplog.text:
                progress.time.sleep(0.01)
    assert names == [f"chr{number}" for number in range(1, 9)]
    assert caplog.messages[-1].startswith("genome: 100 of 100 % in ")
