"""Signal tracks in prepared data: the level of every base, against the file, base by base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hyena_ray.dataset.genome_scan import GenomeScan
from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows, table_from_windows, windows_from_table
from hyena_ray.dataset.shuffled_windows import ShuffledWindows
from hyena_ray.dataset.stretches import cut_windows
from hyena_ray.dataset.tokens import ids_of, level_of, with_levels
from hyena_ray.errors import InputError
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.signal_tracks import SignalTrack
from hyena_ray.training.held_out import StretchSource
from tests.dataset.small_genome import Inputs, assert_same_windows
from tests.genome.bigwigs import write_bigwig

Values = dict[str, NDArray[np.float32]]


def some_values(inputs: Inputs, seed: int) -> Values:
    rng, values = np.random.default_rng(seed), {}
    for name, bases in inputs.contigs.items():
        values[name] = rng.gamma(0.5, 2, len(bases)).astype(np.float32)
        values[name][rng.random(len(bases)) < 0.2] = np.nan
    return values


class Tracked:
    """Data of a small genome with two tracks, and without any."""

    def __init__(self, folder: Path) -> None:
        self.inputs = Inputs(folder)
        self.values = {"dnase": some_values(self.inputs, 1), "pol2": some_values(self.inputs, 2)}
        self.files = {
            name: write_bigwig(folder / f"{name}.bw", values)
            for name, values in self.values.items()
        }
        given = [f"{name}={path}" for name, path in self.files.items()]
        self.data = self.prepared(folder / "data", track=given)
        self.plain = self.prepared(folder / "plain")

    def prepared(self, folder: Path, **changes: object) -> PreparedData:
        prepare(self.inputs.settings(held_out_negatives="random:1", **changes), folder)
        return PreparedData.open(folder)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    return Tracked(tmp_path_factory.mktemp("tracked"))


def assert_levels(tracked: Tracked, windows: Windows, flank: int) -> None:
    """Compare the levels of windows with those of the file, one base after the other."""
    for scale in tracked.data.manifest.scales:
        values = tracked.values[scale.name]
        for contig, start, row in zip(
            windows.contig.tolist(),
            windows.start.tolist(),
            level_of(windows.tokens, scale.number),
            strict=True,
        ):
            for level, base in zip(row.tolist(), range(start - flank, start + 9999), strict=False):
                inside = 0 <= base < len(values[contig])
                value = values[contig][base] if inside else np.nan
                assert level == scale.encode(np.array([value]))[0]


def test_the_level_of_every_base_is_that_of_the_file(tracked: Tracked) -> None:
    data, at_ends = tracked.data, 0
    for length, split in ((20, "train"), (33, "train"), (50, "val"), (50, "test")):
        windows = data.read(length, split)
        assert windows.tokens.shape == (len(windows.start), length + 14, 3)
        assert_levels(tracked, windows, 7)
        at_ends += int((windows.start < 7).sum())
    assert at_ends


def test_letters_and_labels_are_those_without_tracks(tracked: Tracked) -> None:
    for length, split in ((20, "train"), (33, "train"), (50, "val"), (20, "test")):
        with_them, without = (d.read(length, split) for d in (tracked.data, tracked.plain))
        letters = with_them._replace(tokens=ids_of(with_them.tokens))
        assert_same_windows(letters, without)


def test_a_folder_without_tracks_is_as_it_was(tracked: Tracked) -> None:
    manifest = json.loads((tracked.plain.folder / "manifest.json").read_text())
    assert "tracks" not in manifest
    assert tracked.plain.read(20, "train").tokens.ndim == 2


def test_a_window_of_a_stretch_has_its_levels(tracked: Tracked) -> None:
    stretches = tracked.data.read_held_out("test")
    windows = cut_windows(stretches, 20)
    assert_levels(tracked, windows, 7)
    source = StretchSource(stretches, 20)
    batches = [batch.tokens().numpy() for batch in source.batches(7, epoch=None, seed=0)]
    np.testing.assert_array_equal(np.concatenate(batches), windows.tokens)


def test_a_stream_and_a_table_have_the_same_windows(tracked: Tracked) -> None:
    windows = tracked.data.read(20, "train")
    assert_same_windows(windows_from_table(table_from_windows(windows)), windows)
    streamed = ShuffledWindows.of(tracked.data, 20, "train")
    rows = streamed.order(0, streamed.count, epoch=None, seed=0)
    np.testing.assert_array_equal(streamed.read(rows)[0], windows.tokens)


def test_a_scan_has_the_levels_of_prepared_stretches(tracked: Tracked) -> None:
    inputs, manifest = tracked.inputs, tracked.data.manifest
    tracks = [
        SignalTrack(tracked.files[track.scale.name], track.sha256, track.scale)
        for track in manifest.tracks
    ]
    regions = read_regions(inputs.bed)
    scan = GenomeScan.survey(inputs.genome, regions, stretch=50, tracks=tracks).only(["d"])
    assert_levels(tracked, next(scan.read(7)), 7)


def test_the_manifest_tells_how_many_bases_have_a_value(tracked: Tracked) -> None:
    for track in tracked.data.manifest.tracks:
        windows = {
            "train": [tracked.data.read(length, "train") for length in (20, 33)],
            **{split: [tracked.data.read_held_out(split)] for split in ("val", "test")},
        }
        for split, some in windows.items():
            inner = [level_of(w.tokens, track.scale.number)[:, 7:-7].ravel() for w in some]
            share = (np.concatenate(inner) > 0).mean()
            assert track.known[split] == pytest.approx(share, abs=1e-6)
            assert f"{split} {share:.1%}" in tracked.data.manifest.table()


def test_the_scale_is_that_of_the_training_contigs(tracked: Tracked, tmp_path: Path) -> None:
    values = tracked.values["dnase"]
    others = {name: v if name in "ab" else v * 100 for name, v in values.items()}
    file = write_bigwig(tmp_path / "dnase.bw", others)
    data = tracked.prepared(tmp_path / "data", track=[f"dnase={file}"])
    assert data.manifest.scales[0] == tracked.data.manifest.scales[0]


def test_name_and_content_of_a_track_decide_the_fingerprint(
    tracked: Tracked, tmp_path: Path
) -> None:
    values = tracked.values["dnase"]
    changed = {name: v.copy() for name, v in values.items()}
    changed["d"][5] = 123.0  # not on a training contig, so that the scale is the same
    file, other = tracked.files["dnase"], write_bigwig(tmp_path / "other.bw", changed)

    def fingerprint(name: str, path: Path) -> str:
        settings = tracked.inputs.settings(held_out_negatives="random:1", track=[f"{name}={path}"])
        return settings.write(None).fingerprint

    found = [fingerprint("dnase", file), fingerprint("dnase", other), fingerprint("pol2", file)]
    found.append(tracked.plain.manifest.fingerprint)
    assert len(set(found)) == 4


def test_a_dry_run_reads_all_that_a_preparation_does(tracked: Tracked) -> None:
    given = [f"{name}={path}" for name, path in tracked.files.items()]
    settings = tracked.inputs.settings(held_out_negatives="random:1", track=given)
    dry = settings.write(None)
    assert dry.tracks == tracked.data.manifest.tracks
    assert dry.fingerprint == tracked.data.manifest.fingerprint


@pytest.mark.parametrize("split", ["kfold:3", "stratified:0.6/0.2/0.2"])
def test_tracks_of_contigs_that_are_split_in_stretches(
    tracked: Tracked, split: str, tmp_path: Path
) -> None:
    given = [f"dnase={tracked.files['dnase']}"]
    prepare(
        tracked.inputs.settings(
            split=split, track=given, held_out_negatives="random:1", negatives="0.5"
        ),
        tmp_path / "data",
    )
    data = PreparedData.open(tmp_path / "data")
    (track,) = data.manifest.tracks
    assert set(track.known) == set(data.manifest.splits)
    view = data.for_fold(0) if data.manifest.folds else data
    windows = view.read(20, "train")
    expected = track.scale.encode(tracked.values["dnase"][str(windows.contig[5])])
    first = int(windows.start[5])
    np.testing.assert_array_equal(
        level_of(windows.tokens, 0)[5, 7:-7], expected[first : first + 20]
    )


def test_a_damaged_list_of_tracks_is_refused(tracked: Tracked, tmp_path: Path) -> None:
    whole = tracked.data.manifest.model_dump(mode="json")
    first = whole["tracks"][0]
    for tracks in (
        [first, first],
        [whole["tracks"][1]],
        [first | {"scale": first["scale"] | {"sd": 0}}],
        [first | {"scale": first["scale"] | {"low": 5, "high": 4}}],
        [first | {"scale": first["scale"] | {"name": "../x"}}],
        [first] * 17,
    ):
        with pytest.raises(InputError, match="tracks"):
            Manifest.parse(whole | {"tracks": tracks}, "manifest.json")


def test_a_track_that_lacks_what_the_data_need_leaves_nothing(
    tracked: Tracked, tmp_path: Path
) -> None:
    values = tracked.values["dnase"]
    for name, given, problem in (
        ("less", {n: v for n, v in values.items() if n != "d"}, "has no contig d"),
        ("longer", values | {"d": np.append(values["d"], 1)}, "in the genome"),
        ("train", values | {"a": np.append(values["a"], 1)}, "in the genome"),
        ("empty", values | dict.fromkeys("ab", np.full(5, np.nan)), "has no value"),
    ):
        path = write_bigwig(tmp_path / f"{name}.bw", given)
        for folder in (tmp_path / "data", None):
            settings = tracked.inputs.settings(
                held_out_negatives="random:1", track=[f"dnase={path}"]
            )
            with pytest.raises(InputError, match=problem) as error:
                settings.write(None) if folder is None else prepare(settings, folder)
            assert len(error.value.lines) == 1
            assert not (tmp_path / "data").exists()


def test_a_track_needs_no_contig_that_no_split_has(tracked: Tracked, tmp_path: Path) -> None:
    values = {name: v for name, v in tracked.values["dnase"].items() if name != "b"}
    path = write_bigwig(tmp_path / "dnase.bw", values)
    data = tracked.prepared(
        tmp_path / "data", track=[f"dnase={path}"], split="contig:train=a;val=c;test=d"
    )
    assert data.manifest.tracks


def test_levels_are_put_behind_ids() -> None:
    tokens, levels = np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros((2, 3, 2), np.uint8)
    levels[1, 2] = 4, 5
    together = with_levels(tokens, levels)
    np.testing.assert_array_equal(ids_of(together), tokens)
    assert level_of(together, 1)[1, 2] == 5
    assert with_levels(tokens, levels[..., :0]) is tokens
    for windows in (tokens, together):
        with pytest.raises(InputError, match="lack a track"):
            level_of(windows, 2)
