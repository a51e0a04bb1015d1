"""A track is read back by pyBigWig, value by value and summed up, whatever its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.genome import bigwig
from hyena_ray.genome.bigwig import create_bigwig

LEVELS = (0.0, 0.25, 0.5, np.nan)


def written(path: Path, contigs: dict[str, NDArray[np.float64]], cut: int) -> None:
    sizes = [(name, len(values)) for name, values in contigs.items()]
    with create_bigwig(path, sizes) as track:
        for name, values in contigs.items():
            for start in range(0, len(values), cut):
                part = values[start : start + cut]
                track.add_spans([(name, start, len(part))], part)


def assert_read(path: Path, contigs: dict[str, NDArray[np.float64]]) -> None:
    """Compare every value, the sums, and the summaries that a browser draws."""
    with pyBigWig.open(str(path)) as track:
        assert track.isBigWig()
        assert track.chroms() == {name: len(values) for name, values in contigs.items()}
        known = np.concatenate([v[np.isfinite(v)] for v in contigs.values()])
        header = track.header()
        assert header["nBasesCovered"] == len(known)
        assert header["sumData"] == pytest.approx(known.sum(), abs=1)
        for name, values in contigs.items():
            np.testing.assert_array_equal(track.values(name, 0, len(values)), values)
            if not np.isfinite(values).any():
                continue
            assert track.stats(name, type="max", exact=True) == [np.nanmax(values)]
            (mean,) = track.stats(name, type="mean")
            assert mean == pytest.approx(np.nanmean(values), abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(LEVELS), min_size=1, max_size=60), min_size=1, max_size=9),
    st.integers(1, 70),
    st.integers(1, 6),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[float]], cut: int, node: int
) -> None:
    contigs = {f"c{number}": np.array(of) for number, of in enumerate(values)}
    path = tmp_path_factory.mktemp("bigwig") / "x.bw"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigwig, "NODE", node + 1)
        patch.setattr(bigwig, "SECTION", 5)
        patch.setattr(bigwig, "PENDING", 30)
        patch.setattr(bigwig, "ZOOM_BASES", 8)
        patch.setattr(bigwig, "ZOOM_SECTION", 3)
        written(path, contigs, cut)
    assert_read(path, contigs)


def test_a_long_contig_and_many_short_ones_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contigs = {"big": np.repeat(rng.random(40_000).astype(np.float32), 25).astype(np.float64)}
    contigs |= {f"c{n:05d}": rng.integers(0, 9, 20) / 8 for n in range(3_000)}
    written(tmp_path / "x.bw", contigs, 250_000)
    with pyBigWig.open(str(tmp_path / "x.bw")) as track:
        assert track.header()["nLevels"] > 1
        for name in ("big", "c00000", "c01234", "c02999"):
            np.testing.assert_array_equal(track.values(name, 0, len(contigs[name])), contigs[name])
        means = track.stats("big", 0, 1_000_000, nBins=10)
        np.testing.assert_allclose(means, contigs["big"].reshape(10, -1).mean(1), atol=1e-2)


def test_a_track_without_a_value_is_read(tmp_path: Path) -> None:
    with create_bigwig(tmp_path / "x.bw", [("chr1", 10)]):
        pass
    with pyBigWig.open(str(tmp_path / "x.bw")) as track:
        assert track.chroms() == {"chr1": 10}
        assert track.intervals("chr1") is None
