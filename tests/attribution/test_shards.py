"""The plan, its shards and their merge, on a small prepared folder."""

from __future__ import annotations

import json
import logging
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.attribution import consensus, shards
from hyena_ray.attribution.engine import Attributor, attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import (
    ShardPlan,
    merge_shards,
    missing_shards,
    read_shard,
    read_shard_table,
    run_shard,
    shard_is_complete,
    shard_path,
    suspect_window,
    tables_sha256,
)
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.errors import InputError
from hyena_ray.model.saved import model_sha256
from hyena_ray.runs.table_file import read_table, why_empty
from tests.attribution.small_model import FLANK, WINDOW, SmallModel

SETTINGS = AttributionSettings(k=3, steps=4, tolerance=None, samples=2, batch=256, min_count=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> PreparedData:
    """Three contigs of random bases, with labelled regions on each."""
    folder = tmp_path_factory.mktemp("attribution_data")
    rng = np.random.default_rng(0)
    with (folder / "genome.fa").open("w") as fasta, (folder / "regions.bed").open("w") as bed:
        for contig in ("chr1", "chr2", "chr3"):
            fasta.write(f">{contig}\n{''.join(rng.choice(list('ACGT'), 2000))}\n")
            for start in range(100, 1900, 150):
                bed.write(f"{contig}\t{start}\t{start + 17}\n")
    settings = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa",
        regions=folder / "regions.bed",
        lengths=(WINDOW,),
        stretch=3 * WINDOW,
        flank=FLANK + 2,
        split="contig:train=chr1;val=chr2;test=chr3",
    )
    prepare(settings, folder / "data")
    return PreparedData.open(folder / "data")


def make_plan(model, data, size=16, **changes) -> ShardPlan:
    settings = SETTINGS.updated(changes, "test")
    return ShardPlan.make(model, data, split="test", settings=settings, size=size)


def run_all(model, data, plan, folder: Path, order=None):
    for index in order or missing_shards(plan, folder):
        run_shard(Attributor(model, plan.settings), data, plan, index, folder)
    return merge_shards(plan, folder)


def test_shards_cover_every_window_once_in_order_of_their_ids(data):
    plan = make_plan(SmallModel(), data, size=7)
    ids = data.window_ids(WINDOW, "test")
    rows = [row for s in plan.shards for row in range(s.first, s.last)]
    assert rows == list(range(len(ids)))
    assert [s.first_id for s in plan.shards] == ids[::7].tolist()
    assert plan.shards[-1].last_id == ids[-1]
    assert {s.windows for s in plan.shards[:-1]} == {7}


@pytest.mark.parametrize("limit", [1, 22, 50, 10_000])
@pytest.mark.parametrize("read_rows", [5, 4096])
def test_a_limit_takes_windows_evenly_over_the_split(data, limit, read_rows, monkeypatch):
    monkeypatch.setattr(shards, "READ_ROWS", read_rows)
    every = data.window_ids(WINDOW, "test")
    plan = ShardPlan.make(SmallModel(), data, split="test", settings=SETTINGS, size=7, limit=limit)
    expected = every[sample_evenly(len(every), limit)]
    assert plan.windows == len(expected) == min(limit, len(every))
    read = [plan.read_windows(data, index) for index in range(len(plan.shards))]
    assert np.concatenate([windows.window_id for windows in read]).tolist() == expected.tolist()
    assert [(s.first_id, s.last_id) for s in plan.shards] == [
        (windows.window_id[0], windows.window_id[-1]) for windows in read
    ]
    # Every tenth of the split has its share.
    tenths = np.searchsorted(every, expected) * 10 // len(every)
    if limit >= 10:
        assert np.ptp(np.bincount(tenths, minlength=10)) <= 1 + len(every) % 10


def test_a_limited_run_attributes_the_sampled_windows_once(data, tmp_path):
    model = SmallModel()
    plan = ShardPlan.make(model, data, split="test", settings=SETTINGS, size=7, limit=30)
    result = run_all(model, data, plan, tmp_path)
    assert result.windows == 30
    ids = [read_shard(plan, i, tmp_path).window_id for i in range(len(plan.shards))]
    every = data.window_ids(WINDOW, "test")
    assert np.concatenate(ids).tolist() == every[sample_evenly(len(every), 30)].tolist()


def test_the_tables_are_those_of_all_windows_at_once(data, tmp_path):
    model = SmallModel()
    result = run_all(model, data, make_plan(model, data), tmp_path)
    whole = attribute_windows(model, data.read(WINDOW, "test"), SETTINGS)
    inside = 0
    for row in range(len(whole.window_id)):
        hits = whole.true_positive[row]
        inside += sum(hits[i : i + 3].all() for i in range(WINDOW - 2))
    assert inside > 20
    assert sum(result.tables["ig"]["count"].to_pylist()) == inside
    assert sum(result.tables["tp"]["tp_count"].to_pylist()) == inside
    assert result.windows == len(whole.window_id)
    assert result.attributed == whole.true_positive.any(axis=1).sum()
    assert set(result.tables) == {"ig", "smoothgrad", "tp", "consensus"}
    chosen = whole.true_positive.any(axis=1)
    found = result.convergence["ig"]
    assert (found["windows"], found["not_converged"]) == (result.attributed, 0)
    known = whole.integrals["ig"].completeness[chosen]
    assert found["completeness_median"] == pytest.approx(np.median(known), rel=0.05)
    assert found["completeness_worst"] == pytest.approx(known.max(), rel=0.05)
    written = pq.read_metadata(tmp_path / "kmers" / "ig.parquet").metadata[b"convergence"]
    assert json.loads(written) == found
    np.testing.assert_allclose(
        np.concatenate(
            [
                read_shard(make_plan(model, data), i, tmp_path).scores["ig"]
                for i in range(len(make_plan(model, data).shards))
            ]
        ),
        whole.scores["ig"],
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_window_that_ends_every_try_is_found_at_the_third_and_the_note_goes_in_the_end(
    data, tmp_path, monkeypatch
):
    model = SmallModel()
    plan = make_plan(model, data)
    poison = data.window_ids(WINDOW, "test")[21]
    whole = Attributor.__call__

    def fails(attributor, windows):
        if poison in windows.window_id:
            raise ArithmeticError("planted")
        return whole(attributor, windows)

    monkeypatch.setattr(Attributor, "__call__", fails)
    for expected in (None, None, poison, poison):
        with pytest.raises(ArithmeticError):
            run_shard(Attributor(model, plan.settings), data, plan, 1, tmp_path)
        assert suspect_window(1, tmp_path) == expected
    assert suspect_window(0, tmp_path) is None
    monkeypatch.undo()
    run_shard(Attributor(model, plan.settings), data, plan, 1, tmp_path)
    assert shard_is_complete(plan, 1, tmp_path)
    assert [path.name for path in tmp_path.glob("shards/*.tries")] == []


def test_a_shard_says_where_its_windows_are_and_what_is_labelled(data, tmp_path):
    plan = make_plan(SmallModel(), data)
    run_shard(Attributor(SmallModel(), plan.settings), data, plan, 1, tmp_path)
    table = read_shard_table(plan, 1, tmp_path)
    shard = plan.shards[1]
    windows = data.read_rows(WINDOW, "test", shard.first, shard.last)
    assert table["contig"].to_pylist() == windows.contig.tolist()
    assert table["start"].to_pylist() == windows.start.tolist()
    labels = table["labels"].combine_chunks().to_numpy_ndarray()
    assert (labels == windows.labels).all()


def test_merging_more_windows_takes_no_more_memory(data, tmp_path):
    model = SmallModel()
    whole = make_plan(model, data, size=16, methods=("input_x_gradient",))
    peaks = []
    for repeats in (1, 12):
        plan = whole.model_copy(update={"shards": whole.shards * repeats})
        folder = tmp_path / str(repeats)
        run_all(model, data, plan, folder)
        tracemalloc.start()
        assert merge_shards(plan, folder).windows == repeats * len(data.window_ids(WINDOW, "test"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_shard_that_two_workers_compute_at_once_is_written_by_both(data, tmp_path, monkeypatch):
    model = SmallModel()
    plan = make_plan(model, data)
    whole = Attributor.__call__

    def overtaken(*arguments):
        monkeypatch.undo()
        run_shard(Attributor(model, plan.settings), data, plan, 0, tmp_path)
        return whole(*arguments)

    monkeypatch.setattr(Attributor, "__call__", overtaken)
    run_shard(Attributor(model, plan.settings), data, plan, 0, tmp_path)
    assert shard_is_complete(plan, 0, tmp_path)
    assert list(tmp_path.glob("shards/*.tries")) == []


def test_every_table_is_written_as_parquet_and_csv(data, tmp_path):
    model = SmallModel()
    result = run_all(model, data, make_plan(model, data), tmp_path)
    for name, table in result.tables.items():
        assert pq.read_table(tmp_path / "kmers" / f"{name}.parquet").equals(table)
        lines = (tmp_path / "kmers" / f"{name}.csv").read_text().splitlines()
        assert lines[0] == ",".join(table.column_names)
        assert len(lines) == table.num_rows + 1
    assert not list(tmp_path.rglob(".*"))


def test_the_order_of_the_work_does_not_change_the_digest(data, tmp_path):
    model = SmallModel()
    plan = make_plan(model, data, size=10)
    numbers = list(range(len(plan.shards)))
    forward = run_all(model, data, plan, tmp_path / "a", numbers)
    backward = run_all(SmallModel(), data, plan, tmp_path / "b", numbers[::-1])
    assert forward.digest == backward.digest


def test_a_resumed_run_computes_only_what_is_missing(data, tmp_path, monkeypatch):
    model = SmallModel()
    plan = make_plan(model, data, size=10)
    digest = run_all(model, data, plan, tmp_path).digest
    shard_path(tmp_path, 1).unlink()
    shard_path(tmp_path, 2).write_bytes(shard_path(tmp_path, 2).read_bytes()[:-9])
    resumed = make_plan(SmallModel(), data, size=10)
    assert missing_shards(resumed, tmp_path) == [1, 2]
    model.backward_passes.clear()
    run_shard(Attributor(model, resumed.settings), data, resumed, 0, tmp_path)
    assert model.backward_passes == []
    assert run_all(model, data, resumed, tmp_path).digest == digest


def test_a_shard_of_another_plan_is_not_taken(data, tmp_path):
    model = SmallModel()
    plan, other = make_plan(model, data), make_plan(model, data, seed=1)
    run_shard(Attributor(model, plan.settings), data, plan, 0, tmp_path)
    assert shard_is_complete(plan, 0, tmp_path)
    assert not shard_is_complete(other, 0, tmp_path)
    assert other.differences(plan) == ["settings.seed"]
    assert make_plan(SmallModel(seed=1), data).differences(plan) == ["model"]


def test_a_plan_survives_being_sent_to_another_process(data):
    plan = make_plan(SmallModel(), data)
    sent = pickle.loads(pickle.dumps(plan))
    assert sent == plan
    assert sent.fingerprint == plan.fingerprint


def test_any_change_of_the_model_changes_its_fingerprint(data):
    prints = {model_sha256(SmallModel())}
    model = SmallModel()
    model.threshold = 0.4
    prints.add(model_sha256(model))
    prints.add(model_sha256(SmallModel("forward")))
    model = SmallModel()
    model.second.bias.data[0] += 1e-3
    prints.add(model_sha256(model))
    assert len(prints) == 4
    assert model_sha256(SmallModel()) in prints


def test_a_worker_with_another_model_is_refused(data, tmp_path):
    plan = make_plan(SmallModel(), data)
    with pytest.raises(InputError, match="not the model that the plan was made for"):
        run_shard(Attributor(SmallModel(seed=1), plan.settings), data, plan, 0, tmp_path)
    assert missing_shards(plan, tmp_path)[0] == 0


def test_a_flipped_bit_in_a_shard_is_found(data, tmp_path):
    model = SmallModel()
    plan = make_plan(model, data)
    run_all(model, data, plan, tmp_path)
    path = shard_path(tmp_path, 0)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"shard-00000\.parquet: damaged .*--resume"):
        merge_shards(plan, tmp_path)


def test_merging_before_all_is_done_is_refused(data, tmp_path):
    model = SmallModel()
    plan = make_plan(model, data)
    with pytest.raises(InputError, match=r"shard-00000\.parquet: missing"):
        merge_shards(plan, tmp_path)


def test_a_model_that_finds_nothing_is_refused(data):
    model = SmallModel()
    model.threshold = 1.1
    with pytest.raises(InputError, match=r"split test: .*no labelled base.*lower its threshold"):
        make_plan(model, data).require_true_positives(model, data)


def test_data_that_the_model_cannot_read_are_refused(data):
    model = SmallModel()
    with pytest.raises(InputError, match="split: other: unknown split"):
        ShardPlan.make(model, data, split="other", settings=SETTINGS)
    with pytest.raises(InputError, match="k: 12: longer than"):
        short = SmallModel()
        short.readout = short.readout.model_copy(update={"window": 11})
        make_plan(short, data, k=12)
    deep = SmallModel()
    deep.readout = deep.readout.model_copy(update={"flank": 40})
    with pytest.raises(InputError, match=f"flank {FLANK + 2}: the model needs a flank of 40"):
        make_plan(deep, data)


def test_integrated_gradients_that_did_not_converge_are_said_to(data, tmp_path, caplog):
    model = SmallModel()
    with caplog.at_level(logging.WARNING):
        run_all(model, data, make_plan(model, data, steps=1, baseline="zero"), tmp_path)
    assert "Integrated Gradients has not converged" in caplog.text


@pytest.mark.parametrize("least", [-1.0, 1.0])
def test_methods_that_disagree_are_named_in_the_log_and_in_the_tables(
    data, tmp_path, caplog, monkeypatch, least
):
    monkeypatch.setattr(consensus, "LEAST_TAU", least)
    model = SmallModel()
    with caplog.at_level(logging.WARNING):
        result = run_all(model, data, make_plan(model, data), tmp_path)
    (row,) = result.agreement.to_pylist()
    assert len(result.notes) == (row["kendall_tau"] < least)
    assert all(note in caplog.text for note in result.notes)
    assert result.methods == ("ig", "smoothgrad")
    for name in ("consensus", "agreement"):
        metadata = pq.read_schema(tmp_path / "kmers" / f"{name}.parquet").metadata
        assert json.loads(metadata[b"notes"]) == list(result.notes)
        assert json.loads(metadata[b"methods"]) == list(result.methods)


def test_one_method_alone_has_no_consensus(data, tmp_path):
    model = SmallModel()
    result = run_all(model, data, make_plan(model, data, methods=["ig"]), tmp_path)
    assert set(result.tables) == {"ig"}


def test_the_digest_sees_every_value():
    table = pa.table({"kmer": ["AC", "CA"], "score": [1.0, None]})
    changed = pa.table({"kmer": ["AC", "CA"], "score": [np.nextafter(1.0, 2), None]})
    renamed = pa.table({"kmer": ["AC", "CC"], "score": [1.0, None]})
    digests = {tables_sha256({"ig": t}) for t in (table, changed, renamed)}
    digests.add(tables_sha256({"tp": table}))
    assert len(digests) == 4


def test_rare_kmers_are_in_no_table(data, tmp_path):
    model = SmallModel()
    tables = run_all(model, data, make_plan(model, data, min_count=4), tmp_path / "some").tables
    assert min(tables["ig"]["count"].to_pylist()) >= 4
    assert min(tables["tp"]["occurrences"].to_pylist()) >= 4
    assert set(tables["consensus"]["kmer"].to_pylist()) == set(tables["ig"]["kmer"].to_pylist())


@pytest.mark.parametrize("methods", [("ig", "ism", "tp"), ("ig",), ("tp",)])
def test_a_table_without_kmers_is_empty_and_says_why(data, tmp_path, methods):
    model = SmallModel()
    plan = make_plan(model, data, min_count=10_000, methods=methods)
    result = run_all(model, data, plan, tmp_path)
    scoring = {name for name in methods if name != "tp"}
    written = {*methods, *(("consensus", "agreement") if len(scoring) > 1 else ())}
    assert {path.stem for path in (tmp_path / "kmers").iterdir()} == written
    for name in written:
        table = read_table(tmp_path / "kmers" / f"{name}.parquet", ())
        assert table.num_rows == 0
        assert "10000 times" in why_empty(table)
        assert (tmp_path / "kmers" / f"{name}.csv").read_text().count("\n") == 1
    assert any("10000 times" in note for note in result.notes)
