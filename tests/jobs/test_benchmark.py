"""The benchmark prints ours first and everything as a ratio to it."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.command_line import JOBS, Done, run_program
from tests.jobs.bad_inputs import Line, at, check_line
from tests.jobs.small_benchmark import check_rows, import_benchmarks, small_sizes

JOB = JOBS / "benchmark.py"


CPU = torch.device("cpu")


def run(*arguments: str) -> Done:
    return run_program([sys.executable, str(JOB), *arguments])


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the modules of the benchmarks by name."""
    return import_benchmarks(monkeypatch)


def no_compiler(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("no C compiler was found\n\nand more")


@pytest.mark.slow
def test_every_line_has_a_rate_and_its_ratio_to_ours() -> None:
    done = run("convolution", "--rounds", "1", "--json")
    assert done.code == 0, done.stderr
    lines = json.loads(done.stdout)["found"]["lines"]
    titles = list(dict.fromkeys(line["title"] for line in lines))
    assert len(titles) > 1
    for title in titles:
        first, *others = (line for line in lines if line["title"] == title)
        assert first["ours_over_it"] == 1
        assert others
        for other in others:
            ratio = first["rate"] / other["rate"]
            assert other["ours_over_it"] == pytest.approx(ratio, rel=1e-6)


def test_every_name_of_the_command_line_is_timed(benchmarks: dict[str, Any]) -> None:
    table = benchmarks["table"].BENCHMARKS
    assert tuple(table) == get_args(runpy.run_path(str(JOB))["Name"])


@pytest.mark.parametrize(
    ("command", "line"),
    {
        "nothing": at(
            "NAME", "nothing", "prepare, convolution, training, feeds, pretraining, attribution"
        ),
        "convolutio": at("NAME", "convolutio", "did you mean convolution?"),
        "": at("NAME", "is required"),
        "convolution --rounds 0": at("--rounds", "0"),
        "convolution --round 1": at("--round", "--rounds", "see jobs/benchmark.py --help"),
    }.items(),
)
def test_what_cannot_be_timed_is_refused(command: str, line: Line, tmp_path: Path) -> None:
    done = run(*command.split())
    check_line(done.stderr, line, tmp_path)
    assert (done.code, done.stdout) == (2, "")


def test_the_help_shows_commands_as_they_are_typed() -> None:
    done = run("--help")
    assert done.code == 0, done.stderr
    assert "Usage: jobs/benchmark.py [OPTIONS] NAME" in done.stdout
    assert "  python jobs/benchmark.py convolution\n" in done.stdout
    assert "hyena-ray benchmark" not in done.stdout
    assert re.search(r"^  NAME +Benchmark to run; required\.$", done.stdout, re.MULTILINE)


def test_a_benchmark_of_a_gpu_needs_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run("gpu")
    check_line(done.stderr, at("NAME", "gpu", "needs a GPU"), tmp_path)
    assert (done.code, done.stdout) == (2, "")


def test_a_rate_counts_the_units_of_work_that_a_run_returns(benchmarks: dict[str, Any]) -> None:
    work = benchmarks["operations"].Work(1.0, benchmarks["operations"].Cost(0.0, 0.0))
    stated = iter([work, work._replace(units=1e6)])
    compared = benchmarks["comparison"].Comparison(
        "t", "windows/s", 1.0, {"ours": lambda: next(stated), "peer": lambda: None}
    )
    ours, peer = benchmarks["comparison"].measured(compared, 1)
    assert ours.rate > 10 * peer.rate
    assert peer.ours_over_it == pytest.approx(ours.rate / peer.rate)
    assert ours.rounds == peer.rounds == 1


def test_a_failing_run_gives_its_reason_and_the_others_continue(benchmarks: dict[str, Any]) -> None:
    calls = iter(range(9))

    def late() -> None:
        if next(calls):
            raise ValueError("two\nlines")

    runs = {"ours": lambda: None, "never": no_compiler, "late": late, "peer": lambda: None}
    compared = benchmarks["comparison"].Comparison("t", "windows/s", 1.0, runs)
    lines = {line.who: line for line in benchmarks["comparison"].measured(compared, 2)}
    assert [who for who, line in lines.items() if line.failure] == ["never", "late"]
    assert lines["late"].failure == f"ValueError: two lines (test_benchmark.py:{line_of(late)})"
    assert np.isnan([lines["late"].rate, lines["late"].ours_over_it]).all()
    assert lines["ours"].rounds == lines["peer"].rounds == 2


def line_of(late: Any) -> int:
    """Return the line on which the function raises."""
    return int(late.__code__.co_firstlineno) + 2


def test_no_ratio_is_shown_if_ours_failed(benchmarks: dict[str, Any]) -> None:
    compared = benchmarks["comparison"].Comparison(
        "t", "windows/s", 1.0, {"ours": no_compiler, "peer": lambda: None}
    )
    ours, peer = benchmarks["comparison"].measured(compared, 1)
    assert ours.failure
    assert peer.rate > 0
    assert np.isnan(peer.ours_over_it)


def test_no_round_starts_after_the_time_limit(benchmarks: dict[str, Any]) -> None:
    compared = benchmarks["comparison"].Comparison(
        "t", "windows/s", 1.0, {"ours": lambda: None}, seconds=0.0
    )
    [line] = benchmarks["comparison"].measured(compared, 5)
    assert line.rounds == 1


def test_a_share_is_the_least_time_over_the_time_taken(benchmarks: dict[str, Any]) -> None:
    limits = benchmarks["limits"].Limits(100.0, 200.0, 400.0, 50.0)
    cost = benchmarks["operations"].Cost(flop=100.0, bytes=25.0)
    assert limits.shares(cost, 2.0) == {
        "float32": 0.5,
        "tf32": 0.25,
        "bfloat16": 0.125,
        "bandwidth": 0.25,
    }


def test_operations_equal_those_that_torch_counts(benchmarks: dict[str, Any]) -> None:
    length, rows = 48, 3
    model = benchmarks["model"].new_model(0, length)
    config = model.classifier.config
    plain = benchmarks["published"].PlainHyenaDNA(model.classifier)
    ids = torch.randint(7, 11, (rows, length))
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        plain(ids)
    with FlopCounterMode(display=False) as of_filters, torch.no_grad():
        for layer in plain.layers:
            layer.mixer.filter_fn(length)
    # The peer's short convolution computes two positions past the end, which it discards.
    past = config.n_layer * rows * 2 * 3 * config.d_model * 3 * 2
    expected = counted.get_total_flops() - of_filters.get_total_flops() - past
    assert rows * length * benchmarks["operations"].flop_per_position(model) == expected


def test_a_convolution_is_counted_by_the_cheaper_method(benchmarks: dict[str, Any]) -> None:
    flop = benchmarks["operations"].convolution_flop
    # 1 + 2 + 3 multiplications, and as many additions.
    assert flop(3, channels=2) == 2 * 12
    assert flop(1024, channels=1) == 5 * 2048 * 11 + 6 * 1025


def test_bfloat16_moves_half_the_bytes(benchmarks: dict[str, Any]) -> None:
    operations = benchmarks["operations"]
    model = benchmarks["model"].new_model(0, 24)
    given = (model, model.classifier.config, 24, operations.STEP)
    exact, rounded = (operations.pass_cost(*given, precision) for precision in ("tf32", "bfloat16"))
    assert rounded == exact._replace(bytes=exact.bytes / 2)


def test_the_largest_batch_that_fits_is_remembered(benchmarks: dict[str, Any]) -> None:
    tried = []

    def attempt(rows: int) -> Any:
        tried.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried")
        return benchmarks["operations"].Work(rows, benchmarks["operations"].Cost(0.0, 0.0))

    run = benchmarks["gpu_attribution"].largest(8, attempt)
    assert [run().units, run().units] == [2, 2]
    assert tried == [8, 4, 2, 2]


def test_the_peer_of_training_computes_the_same_logits(benchmarks: dict[str, Any]) -> None:
    flank = benchmarks["gpu_training"].FLANK
    model = benchmarks["model"].new_model(flank).eval()
    plain = benchmarks["published"].PlainHyenaDNA(model.classifier)
    tokens = torch.from_numpy(benchmarks["model"].random_windows(2, flank).tokens).long()
    torch.testing.assert_close(plain(tokens)[:, 2 * flank :], model(tokens), rtol=1e-4, atol=1e-5)


def test_the_peer_convolves_in_float32_under_autocast(benchmarks: dict[str, Any]) -> None:
    model = benchmarks["model"].new_model(0, 24).eval()
    plain = benchmarks["published"].PlainHyenaDNA(model.classifier)
    ids = torch.randint(7, 11, (2, 24), generator=torch.Generator().manual_seed(0))
    exact = plain(ids)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = plain(ids)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_a_crossover_is_the_last_length_before_the_fft_is_faster_at_any_batch_size(
    benchmarks: dict[str, Any],
) -> None:
    table = {
        length: {"toeplitz 2": a, "fft 2": 5.0, "toeplitz 8": b, "fft 8": 5.0}
        for length, a, b in ((16, 1.0, 1.0), (32, 4.0, 5.0), (64, 4.0, 6.0), (128, 1.0, 1.0))
    }
    longest = benchmarks["constants"].longest_toeplitz
    assert longest(table, (2, 8)) == 32
    assert longest(table, (2,)) == 128
    assert longest({16: {"toeplitz 2": 6.0, "fft 2": 5.0}}, (2,)) == 0


def test_the_measurements_of_an_h200_give_the_crossover_of_cuda(
    benchmarks: dict[str, Any],
) -> None:
    constants = benchmarks["constants"]
    small = {164: (0.46, 1.36), 256: (0.60, 1.20), 512: (0.68, 0.90), 1024: (1.80, 0.90)}
    large = {164: (0.59, 1.57), 256: (0.82, 1.82), 512: (2.5, 3.2), 1024: (9.4, 6.2)}
    table = {
        length: dict(
            zip(
                ("toeplitz 32", "fft 32", "toeplitz 512", "fft 512"),
                small[length] + large[length],
                strict=True,
            )
        )
        for length in small
    }
    assert constants.longest_toeplitz(table, (32, 512)) == constants.CROSSOVER["cuda"]


def test_a_constant_that_was_varied_is_put_back(benchmarks: dict[str, Any]) -> None:
    table = {"cpu": 1}
    with pytest.raises(ZeroDivisionError), benchmarks["constants"].replaced(table, "cpu", 2):
        assert table == {"cpu": 2}
        1 / 0  # noqa: B018
    assert table == {"cpu": 1}


def test_the_smallest_batch_that_is_nearly_the_fastest_is_chosen(
    benchmarks: dict[str, Any],
) -> None:
    smallest = benchmarks["constants"].smallest_good
    assert smallest({128: 10.0, 512: 96.0, 2048: 100.0, 8192: 90.0}) == 512


def test_a_row_that_cannot_be_prepared_or_comes_too_late_says_so(
    benchmarks: dict[str, Any],
) -> None:
    prepared, measured = benchmarks["gpu"].prepared, benchmarks["comparison"].measured
    [broken] = measured(prepared("row", no_compiler, 0.0), 1)
    assert (broken.title, broken.who) == ("row", "ours")
    assert "no C compiler was found" in broken.failure
    [late] = measured(prepared("row", lambda: pytest.fail("was prepared"), 1e9), 1)
    assert late.failure


def test_a_table_shows_its_conclusion_or_why_it_failed(benchmarks: dict[str, Any]) -> None:
    shown, figures = runpy.run_path(str(JOB))["_costs"], benchmarks["figures"].Figures
    table = figures(
        "t", lambda: {"row": {"ms": 3.0}}, lambda rows: {"twice": 2 * rows["row"]["ms"]}
    )
    text, lines = shown(table, 1)
    assert lines[-1] == {"title": "t", "who": "conclusion", "twice": 6.0}
    assert "twice 6" in text[-1]
    text, [line] = shown(figures("t", no_compiler), 1)
    assert "no C compiler was found" in line["failure"]
    assert line["failure"] in text[0]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_every_row_of_a_gpu_has_its_figures_without_a_compiler(
    benchmarks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "compile", no_compiler)
    rows = benchmarks["gpu"].rows(tmp_path, CPU, small_sizes(benchmarks))
    compiled, in_tf32 = {benchmarks["gpu_training"].COMPILED}, {"ours, TF32"}
    unable = {
        "training, float32": compiled,
        "pretraining, float32": compiled,
        # A CPU may refuse TF32.
        "training, bfloat16": in_tf32,
        "pretraining, bfloat16": in_tf32,
    }
    check_rows(benchmarks, rows, unable)
