"""Signal tracks: their levels against the values themselves, and files that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyBigWig
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import LEVELS, MOST_TRACKS, TRACK_REACH, SignalScale
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.model.input_tracks import TRACKS
from tests.genome.bigwigs import write_bigwig

NUMBERS = st.floats(-1e6, 1e6, width=32)


@st.composite
def scales(draw: st.DrawFn) -> SignalScale:
    low = draw(st.floats(-20, 19))
    return SignalScale(
        name="dnase",
        number=0,
        spread=draw(st.floats(1e-3, 1e3)),
        low=low,
        high=low + draw(st.floats(0.1, 20)),
        mean=draw(st.floats(-5, 5)),
        sd=draw(st.floats(0.1, 5)),
    )


@given(scales(), st.lists(NUMBERS | st.just(float("nan")), min_size=1, max_size=50))
def test_a_level_is_within_half_a_step_of_the_value(
    scale: SignalScale, given_: list[float]
) -> None:
    values = np.array(given_, np.float32)
    levels = scale.encode(values)
    known = ~np.isnan(values)
    assert np.array_equal(levels > 0, known)
    back = scale.standardise(levels.astype(np.float64)) * scale.sd + scale.mean
    compressed = np.clip(np.arcsinh(values[known] / scale.spread), scale.low, scale.high)
    np.testing.assert_allclose(back[known], compressed, atol=scale.step * 0.5001, rtol=0)
    assert (scale.standardise(levels.astype(np.float64))[~known] == 0).all()


def test_a_scale_goes_from_the_lowest_to_the_highest_level() -> None:
    scale = SignalScale(name="a", number=0, spread=1.0, low=-1.0, high=1.0, mean=0.0, sd=1.0)
    assert scale.encode(np.array([-9.0, 0.0, 9.0])).tolist() == [1, 128, LEVELS]


def test_a_scale_is_that_of_the_values_of_the_contigs_that_train(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(20_000), rng.gamma(0.7, 3, 20_000), -rng.random(500)])
    values = rng.permutation(values).astype(np.float32)
    values[rng.random(len(values)) < 0.2] = np.nan
    path = write_bigwig(tmp_path / "a.bw", {"train": values, "test": values * 1e6})
    with SignalFile("dnase", path) as file:
        scale = file.measure(["train"], number=3)
    known = values[~np.isnan(values)].astype(np.float64)
    spread = np.median(np.abs(known[known != 0]))
    compressed = np.arcsinh(known / scale.spread)
    assert (scale.name, scale.number) == ("dnase", 3)
    assert scale.spread == pytest.approx(spread, rel=0.01)
    assert scale.low == pytest.approx(np.quantile(compressed, 0.001), abs=0.02)
    assert scale.high == pytest.approx(np.quantile(compressed, 0.999), abs=0.05)
    standardised = scale.standardise(scale.encode(known).astype(np.float64))
    assert standardised.mean() == pytest.approx(0, abs=0.01)
    assert standardised.std() == pytest.approx(1, abs=0.01)


def test_a_track_of_rare_marks_keeps_them_apart(tmp_path: Path) -> None:
    values = np.zeros(100_000)
    values[500:510] = 7
    path = write_bigwig(tmp_path / "a.bw", {"a": values})
    with SignalFile("peaks", path) as file:
        scale = file.measure(["a"], 0)
    assert scale.encode(np.array([0.0, 7.0])).tolist() == [1, LEVELS]


class Opened(NamedTuple):
    """Two tracks with numbers 0 and 2, open, and what they hold."""

    reader: SignalReader
    values: dict[int, NDArray[np.float32]]
    scales: dict[int, SignalScale]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder, rng = tmp_path_factory.mktemp("tracks"), np.random.default_rng(1)
    tracks, held = [], {}
    for number in (0, 2):
        held[number] = rng.normal(size=300).astype(np.float32)
        held[number][rng.random(300) < 0.3] = np.nan
        path = write_bigwig(folder / f"{number}.bw", {"a": held[number]})
        with SignalFile(f"t{number}", path) as file:
            tracks.append(SignalTrack(path, file.sha256, file.measure(["a"], number)))
    with SignalReader(tracks) as reader:
        yield Opened(reader, held, {track.scale.number: track.scale for track in tracks})


@given(st.data())
def test_levels_are_those_of_the_bases_of_every_track(opened: Opened, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 299))
    end = data.draw(st.integers(start, 300))
    found = opened.reader.levels("a", 300, start, end)
    assert found.shape == (end - start, 3)
    assert not found[:, 1].any()
    for number, values in opened.values.items():
        one = opened.scales[number].encode
        expected = [0 if np.isnan(value) else int(one(np.array([value]))[0]) for value in values]
        assert found[:, number].tolist() == expected[start:end]


def refused(path: Path, contigs: tuple[str, ...] = ("a",), length: int | None = None) -> str:
    with pytest.raises(InputError) as error, SignalFile("dnase", path) as file:
        for contig in contigs:
            file.check_contig(contig, length)
        file.measure(contigs, 0)
    assert len(error.value.lines) == 1
    return str(error.value)


def test_a_track_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good = write_bigwig(tmp_path / "good.bw", {"a": rng.random(50), "chr2": np.full(50, np.nan)})
    assert "has no contig b" in refused(good, ("b",))
    assert "it calls it chr2" in refused(good, ("2",))
    assert "50 bases in it, and 60 in the genome" in refused(good, ("a",), 60)
    assert "has no value" in refused(good, ("chr2",))
    constant = write_bigwig(tmp_path / "constant.bw", {"a": np.full(50, 3.0)})
    assert "is about 3 everywhere" in refused(constant)
    assert "no such file" in refused(tmp_path / "missing.bw")
    (tmp_path / "text.bw").write_text("chr1\t0\t5\t1.0\n")
    assert "called bigWig" in refused(tmp_path / "text.bw")
    (tmp_path / "text.txt").write_text("chr1\t0\t5\t1.0\n")
    assert "not bigWig" in refused(tmp_path / "text.txt")
    whole = good.read_bytes()
    (tmp_path / "cut.bw").write_bytes(whole[: len(whole) // 3])
    assert "damaged bigWig" in refused(tmp_path / "cut.bw")


def test_a_file_with_many_contigs_is_read(tmp_path: Path) -> None:
    values = {f"c{number}": [number, number + 1] for number in range(1000)}
    with SignalFile("dnase", write_bigwig(tmp_path / "a.bw", values)) as file:
        assert len(file.lengths) == 1000
        assert file.values("c777", 0, 2).tolist() == [777, 778]


def test_a_damaged_header_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    good = write_bigwig(tmp_path / "good.bw", {"a": np.random.default_rng(0).random(50)})
    tree = int.from_bytes(good.read_bytes()[8:16], "little")
    # Signature, zoom levels, where contigs, index and summary are, and number of the contig.
    for at, value in ((0, 1), (7, 26), (9, 200), (25, 200), (46, 200), (tree + 38, 9)):
        damaged = bytearray(good.read_bytes())
        damaged[at] = value
        (tmp_path / "damaged").write_bytes(damaged)
        assert "bigWig" in refused(tmp_path / "damaged")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    path = tmp_path / "a.bw"
    file = pyBigWig.open(str(path), "w")
    file.addHeader([("a", 100)])
    file.addEntries(["a", "a"], [0, 10], ends=[5, 20], values=[1.0, value])
    file.close()
    assert "NaN or infinite" in refused(path)


def test_a_track_is_a_name_and_a_file(tmp_path: Path) -> None:
    path = write_bigwig(tmp_path / "a=b.bw", {"a": [1, 2]})
    assert parse_tracks([f"dnase={path}", f"pol2={path}"]) == {"dnase": path, "pol2": path}
    for texts in (
        ["dnase"],
        ["dnase="],
        [f"={path}"],
        [f"DNase={path}"],
        [f"2dnase={path}"],
        [f"dnase={path}", f"dnase={path}"],
        *([f"{name}={path}"] for name in TRACK_REACH),
        ["dnase=https://example.org/signal.bw"],
        [f"dnase={tmp_path}"],
        [f"t{number}={path}" for number in range(MOST_TRACKS + 1)],
    ):
        with pytest.raises(InputError) as error:
            parse_tracks(texts)
        assert len(error.value.lines) == 1


def test_the_names_of_measured_tracks_are_those_that_are_measured() -> None:
    assert tuple(TRACK_REACH) == tuple(TRACKS)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = write_bigwig(tmp_path / "a.bw", {"a": [1, 2, 3]})
    with SignalFile("dnase", path) as file:
        track = SignalTrack(path, file.sha256, file.measure(["a"], 0))
    write_bigwig(path, {"a": [1, 2, 4]})
    with pytest.raises(InputError, match="changed"), SignalReader([track]):
        pass
