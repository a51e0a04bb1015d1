"""A page holds what its folder holds, and a folder that is not whole gets none."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.attribution.consensus import LEAST_TAU
from hyena_ray.dataset.manifest import InputFile, SequenceRows
from hyena_ray.dataset.origin import Origin
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.outcomes import Outcome
from hyena_ray.report._answer_section import (
    ORIGINAL,
    PUBLISHED,
    PUBLISHED_SOURCES,
    answer_section,
)
from hyena_ray.report._attribution_sections import ROW, part_shown, window_section
from hyena_ray.report._kmer_sections import kmer_section
from hyena_ray.report._page import ORIGINAL_WORK, Figure, Page, Section, Table, render_html
from hyena_ray.report._run_section import page_warnings
from hyena_ray.report.contents import read_contents
from hyena_ray.report.run_contents import TuneContents
from hyena_ray.report.sections import page_of
from hyena_ray.report.write import write_report
from hyena_ray.runs.run import Output, start
from hyena_ray.storage import AnyPath, S3Path
from hyena_ray.tasks import TASKS
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.evaluate import EvaluatePlan, EvaluateRecord
from hyena_ray.workflows.train import TrainPlan, TrainRecord
from hyena_ray.workflows.tune import TuneRecord
from tests.report.report_runs import Runs
from tests.sealed_files import edit_sealed
from tests.tuned_run import EPOCHS

pytestmark = pytest.mark.slow
Job = Callable[..., Outcome]


@pytest.fixture(scope="session")
def contents(runs: Runs) -> TuneContents:
    found = read_contents(runs.tuned, compared=runs.compared)
    assert isinstance(found, TuneContents)
    return found


@pytest.fixture(scope="session")
def page(contents: TuneContents) -> Page:
    return page_of(contents)


@pytest.fixture(scope="session")
def sections(page: Page) -> dict[str, Section]:
    return {section.name: section for section in page.sections}


@pytest.fixture(scope="session")
def text(page: Page) -> str:
    return render_html(page)


def figures(section: Section) -> dict[str, Figure]:
    return {block.name: block for block in section.blocks if isinstance(block, Figure)}


def tables(section: Section) -> dict[str, Table]:
    return {block.title: block for block in section.blocks if isinstance(block, Table)}


def test_a_search_has_every_section_and_figure(sections: dict[str, Section]) -> None:
    names = ["answer", "run", "evaluation", "learning", "search", "kmers", "windows", "checks"]
    assert list(sections) == [*names, "comparison"]
    drawn = {name for section in sections.values() for name in figures(section)}
    assert {
        *("ranking", "precision-recall", "reliability", "losses", "scores", "all-trials"),
        *("history", "parallel", "importance", "consensus", "kmers-ig", "kmers-smoothgrad"),
        *("kmers-tp", "family-1", "true-positives", "window-1", "deletion", "insertion"),
    } <= drawn


def test_the_answer_is_the_score_with_its_interval(
    sections: dict[str, Section], contents: TuneContents
) -> None:
    head = sections["answer"].blocks[0]
    found = contents.evaluation
    assert found is not None
    low, high = found.intervals["average_precision"]
    assert head[0] == f"AP {found.metrics.average_precision:.3f}"
    assert f"{low:.3f} to {high:.3f}" in head[1]
    # It is an estimate for these contigs; the score of tiles comes after it, with its ratio.
    assert f"An estimate for {', '.join(found.contigs)}, where {found.prevalence:.3%}" in head[1]
    assert found.tiles is not None
    tiles = str(sections["answer"].blocks[1:])
    assert f"F1 is {found.tiles.metrics.f1:.3f}" in tiles
    assert "3 times as many without" in tiles
    record = TuneRecord.read(contents.folder).test
    assert record == found.figures()
    assert record["tile_f1"] == found.tiles.metrics.f1


def test_presets_are_ranked_with_the_score(sections: dict[str, Section]) -> None:
    ranking = figures(sections["answer"])["ranking"]
    assert ranking.table is not None
    rows = {row[0]: row for row in ranking.table.rows}
    assert rows["zdna/strong"][2:] == ["0.750", "0.679 to 0.821"]
    values = [float(row[2]) for row in ranking.table.rows]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("tau", [-0.01, 0.9])
def test_methods_that_disagree_are_warned_of_and_the_consensus_names_them(
    contents: TuneContents, tau: float
) -> None:
    attribution = contents.attribution
    assert attribution is not None
    assert attribution.agreement is not None
    at = attribution.agreement.column_names.index("kendall_tau")
    agreement = attribution.agreement.set_column(at, "kendall_tau", pa.array([tau]))
    run = replace(contents, attribution=attribution._replace(agreement=agreement), study=None)
    section = kmer_section(run)
    assert section is not None
    warnings = [block for block in section.blocks if isinstance(block, str)]
    assert len(warnings) == (tau < LEAST_TAU)
    for text in (*warnings, figures(section)["consensus"].finding):
        assert "Integrated Gradients and SmoothGrad" in text


def test_published_figures_are_ranked_with_real_ones_only(contents: TuneContents) -> None:
    # Without what takes seconds to draw.
    simulated = replace(contents, attribution=None, study=None)
    for run, there in ((simulated, False), (replace(simulated, simulated=False), True)):
        drawn = figures(page_of(run).sections[0])
        assert ("published" in drawn) == there
        assert ORIGINAL not in str(drawn["ranking"].table)
    published = drawn["published"]
    assert published.table is not None
    sources = [row[1] for row in published.table.rows]
    assert ORIGINAL in sources
    # Ours come first and theirs apart, whatever is higher; nothing is said about which is.
    apart = [source in PUBLISHED_SOURCES for source in sources]
    assert apart == sorted(apart)
    assert not {"above", "below"} & set(published.finding.replace(".", "").split())


def test_the_original_work_is_cited_once_on_pages_that_speak_of_it(contents: TuneContents) -> None:
    compared = replace(contents, attribution=None, study=None)
    alone = replace(compared, comparison=None)
    assert alone.evaluation is not None
    for run, times in (
        (compared, 1),
        (replace(compared, simulated=False), 1),
        (alone, 1),
        (replace(alone, simulated=False), 1),
        # Only of bases there are tiles, as the original work had.
        (replace(alone, evaluation=alone.evaluation._replace(tiles=None)), 0),
    ):
        page = page_of(run)
        assert page.footer.count(ORIGINAL_WORK) == times
        assert (ORIGINAL in str(page.sections)) == bool(times)


@pytest.mark.parametrize("task", TASKS)
def test_a_score_is_ranked_with_the_figure_of_the_original_work(
    contents: TuneContents, task: str
) -> None:
    of_task = replace(contents, attribution=None, comparison=None, task=TASKS[task])
    page = page_of(replace(of_task, simulated=False, study=None))
    published = figures(page.sections[0])["published"]
    assert published.table is not None
    stated = {"zdna": "0.640", "g4": "0.579", "promoter": "0.634"}[task]
    assert [row[2] for row in published.table.rows if row[0] == ORIGINAL] == [stated]


@pytest.mark.parametrize(("mcc", "relation"), [(0.7, "above"), (0.5, "not above")])
def test_only_on_the_same_test_sequences_a_score_is_above_the_original_works(
    contents: TuneContents, mcc: float, relation: str
) -> None:
    assert contents.origin is not None
    assert contents.evaluation is not None
    evaluation = contents.evaluation._replace(
        tiles=None, regions=None, metrics=contents.evaluation.metrics._replace(mcc=mcc)
    )
    sha256 = PUBLISHED["promoter"].test_sha256
    assert sha256 is not None
    for digest, same in ((sha256, True), ("0" * 64, False)):
        file = InputFile(role="test", name="test.csv", sha256=digest)
        manifest = contents.origin.manifest.model_copy(update={"inputs": (file,)})
        run = replace(
            contents,
            attribution=None,
            comparison=None,
            study=None,
            simulated=False,
            task=TASKS["promoter"],
            evaluation=evaluation,
            origin=contents.origin.model_copy(update={"manifest": manifest}),
        )
        said = figures(page_of(run).sections[0])["published"].finding
        assert (f": {relation} the 0.634 of {ORIGINAL}" in said) == same
        assert ("above" in said) == same


def test_simulated_data_are_named_first(contents: TuneContents) -> None:
    assert page_warnings(contents)[0].startswith("Simulated: no figure here says anything")
    assert page_warnings(replace(contents, simulated=False)) == []


def test_leaks_between_splits_are_named_first(contents: TuneContents) -> None:
    assert contents.origin is not None
    manifest = contents.origin.manifest
    rows = SequenceRows(split="train", rows=900, dropped=42, repeated=0, conflicting=1)
    sequences = manifest.model_copy(update={"contigs": (), "sequences": (rows,)})
    stratified = manifest.model_copy(update={"split": "stratified:0.6/0.2/0.2"})
    for changed, words in (
        (sequences, ["42 of 900 sequences of train", "1 sequence has both labels"]),
        (stratified, ["neighbours of training windows are tested"]),
    ):
        origin = contents.origin.model_copy(update={"manifest": changed})
        found = page_warnings(replace(contents, simulated=False, origin=origin))
        assert len(found) == len(words)
        assert all(word in text for word, text in zip(words, found, strict=True))


def test_a_run_remembers_its_data_and_every_epoch(contents: TuneContents, runs: Runs) -> None:
    assert contents.origin == Origin.read(contents.folder)
    assert contents.origin.folder == str(runs.data)
    assert contents.history is not None
    assert len(contents.history) == EPOCHS
    assert {"train_loss", "loss", "f1"} <= set(contents.history[0])


def test_a_page_says_how_its_run_was_made(
    contents: TuneContents, sections: dict[str, Section]
) -> None:
    made = read_json(contents.folder / "provenance.json")
    facts = {row[0]: row[1] for row in tables(sections["run"])["The run"].rows}
    assert facts["command"] == shlex.join(made["command"])
    assert facts["started"] == made["started"]
    versions = tables(sections["run"])["Versions"].rows
    assert {row[0]: row[1] for row in versions} == made["versions"]


def test_windows_show_true_region_and_what_is_found(
    contents: TuneContents, sections: dict[str, Section]
) -> None:
    assert contents.attribution is not None
    sample = contents.attribution.sample
    # A true positive is labelled, by what the word means; so both lie at the same bases.
    assert (sample.labels[sample.true_positive] == 1).all()
    window = figures(sections["windows"])["window-1"]
    assert window.table is not None
    assert list(window.table.heads)[-2:] == ["true positive", "labelled"]
    assert re.match(r"sim\d:[\d,]+-[\d,]+: \d+ of \d+ labelled bases found", window.finding)
    assert window.place is None
    real = window_section(replace(contents, simulated=False, assembly="hg38"))
    assert real is not None
    place = figures(real)["window-1"].place
    assert place is not None
    assert window.finding.startswith(f"{place}:")


def test_the_answer_says_what_the_k_mers_rest_on(contents: TuneContents) -> None:
    """Few windows, and methods that disagree, make a warning of it."""
    attribution = contents.attribution
    assert attribution is not None
    agreement = attribution.agreement
    assert agreement is not None

    def said(tau: float, attributed: int) -> str:
        rows = [row | {"kendall_tau": tau} for row in agreement.to_pylist()]
        changed = attribution._replace(
            agreement=pa.Table.from_pylist(rows, agreement.schema), attributed=attributed
        )
        section = answer_section(replace(contents, attribution=changed))
        assert section is not None
        return " ".join(block for block in section.blocks if isinstance(block, str))

    sure = said(0.5, 1234)
    table = attribution.methods["ig"].to_pylist()
    significant = sum(row["q_value"] < 0.05 for row in table)
    assert "(Kendall's tau 0.50), in 1,234 windows with a true positive." in sure
    assert f"By Integrated Gradients, {significant} of {len(table)} k-mers have" in sure
    assert "may be chance" not in sure
    assert "may be chance" in said(0.1, 1234)
    assert "may be chance" in said(0.5, 99)


def test_a_window_is_numbered_at_round_positions(sections: dict[str, Section]) -> None:
    svg = figures(sections["windows"])["window-1"].svg
    numbers = [int(text.replace(",", "")) for text in re.findall(r">([\d,]{2,})<", svg)]
    assert len(numbers) >= 4
    assert all(number % 10 == 0 for number in numbers)


def test_every_trial_is_in_the_table_best_first(
    contents: TuneContents, sections: dict[str, Section]
) -> None:
    table = next(b for b in sections["search"].blocks if isinstance(b, Table))
    assert len(table.rows) == 3
    assert table.rows[0][0] == str(contents.summary.best_trial)
    assert "learning_rate" in table.heads


def test_text_of_a_file_is_never_markup(text: str) -> None:
    assert "<b>weak</b>" not in text
    assert "zdna/&lt;b&gt;weak&lt;/b&gt;" in text


def test_a_page_needs_nothing_else(text: str) -> None:
    assert not re.search(r"<link(?! rel=\"icon\" href=\"data:,\")|@import|<[^>]*\bon\w+=", text)
    assert text.count("<script") == text.count("<script>") == 1
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import|localStorage)\b *\(", text)
    assert not re.search(r"(src|href|url\()=?[\"']?https?:", text)
    assert len(text) < 1_000_000


def test_the_job_writes_the_page_and_nothing_else(report: Job, tuned: Path) -> None:
    before = {path: path.read_bytes() for path in tuned.rglob("*") if path.is_file()}
    outcome = report(tuned)
    page = tuned / "report.html"
    assert outcome.written == {"report": page}
    assert outcome.found["bytes"] == page.stat().st_size
    after = {path: path.read_bytes() for path in tuned.rglob("*") if path.is_file()}
    assert after == before | {page: page.read_bytes()}


def test_parts_of_a_run_have_pages_of_their_own(report: Job, runs: Runs, tuned: Path) -> None:
    for folder, names in (
        (tuned / "sanity", ["answer", "run", "checks"]),
        (tuned / "attribution", ["answer", "run", "kmers", "windows"]),
        (evaluated(tuned), ["answer", "run", "evaluation"]),
        (Path(shutil.copytree(runs.compared, tuned / "compared")), ["answer", "run", "comparison"]),
        (trained(tuned), ["answer", "run", "learning"]),
    ):
        report(folder)
        text = (folder / "report.html").read_text()
        assert re.findall(r'<section id="([^"]+)"', text) == names


def evaluated(tuned: Path) -> Path:
    """Write what the job evaluate writes of the best model."""
    folder = tuned / "evaluated"
    plan = EvaluatePlan(
        model="0",
        data="0",
        split="test",
        fold=None,
        scan=None,
        threshold=None,
        strands=None,
        threads=1,
    )
    with start(Output(folder), plan) as run:
        shutil.copy(tuned / "evaluation.json", folder)
        run.finish(
            EvaluateRecord.make(fingerprint=plan.fingerprint, simulated=True, outputs={}, plan=plan)
        )
    return folder


def trained(tuned: Path) -> Path:
    """Write what the job train writes of a trial."""
    folder = tuned / "trained"
    plan = TrainPlan(settings=RunSettings(), data="0", threads=1, feed="shared")
    with start(Output(folder), plan) as run:
        shutil.copy(tuned / "trials" / "0000" / "history.json", folder)
        run.finish(
            TrainRecord.make(
                fingerprint=plan.fingerprint,
                simulated=True,
                outputs={},
                data="0",
                best_epoch=1,
                validation=TuneRecord.read(tuned).validation,
                test=None,
                trainable_share=1.0,
                seconds_per_epoch=None,
                peak_memory=1,
            )
        )
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def without_column(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["score"]), path)


def without_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def changed(**values: object) -> Callable[[Path], None]:
    return lambda path: write_json(path, read_json(path) | values)


def no_list(path: Path) -> None:
    path.write_text('{"f1": 1}')


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "unfinished": ("manifest.json", Path.unlink, "a search .* that is not complete"),
    "manifest cut": ("manifest.json", truncate, "manifest.json: not readable as JSON"),
    "manifest of a list": ("manifest.json", lambda path: path.write_text("[]"), "has no kind"),
    "earlier version": ("manifest.json", changed(kind=None), "has no kind of run"),
    "unknown kind": ("manifest.json", changed(kind="bake"), "kind: bake: unknown"),
    "later version": ("manifest.json", changed(schema_version=99), "schema_version: 99"),
    "summary": ("manifest.json", changed(test="good"), "manifest.json: test"),
    "settings": ("plan.json", Path.unlink, "plan.json: there is no such file"),
    "trials cut": ("trials.parquet", truncate, "trials.parquet: is damaged"),
    "trials gone": ("trials.parquet", Path.unlink, "trials.parquet: is missing"),
    "trials without score": ("trials.parquet", without_column, "score: the column is missing"),
    "study": ("study.db", truncate, "study.db: not the Optuna study of this run"),
    "evaluation": ("evaluation.json", changed(metrics={}), "evaluation.json: metrics"),
    "evaluation gone": ("evaluation.json", Path.unlink, "evaluation.json: there is no such file"),
    "history": ("trials/{best}/history.json", no_list, "history.json: damaged"),
    "k-mers": ("attribution/kmers/ig.parquet", truncate, "ig.parquet: is damaged"),
    "no k-mer": ("attribution/kmers/ig.parquet", without_rows, "ig.parquet: the table has no row"),
    "shard": ("attribution/shards/shard-00000.parquet", truncate, "shard-00000.parquet: missing"),
    "plan": ("attribution/plan.json", Path.unlink, "plan.json: there is no such file"),
    "data": ("data.json", changed(folder=1), "data.json: folder"),
    "sanity": ("sanity/sanity.json", changed(checks=[]), "sanity.json: checks"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_run_is_refused_and_nothing_is_written(
    report: Job, tuned: Path, case: str
) -> None:
    name, damage, message = DAMAGES[case]
    best = TuneRecord.read(tuned).best_trial
    damage(tuned / name.format(best=f"{best:04d}"))
    with pytest.raises(InputError, match=message):
        report(tuned)
    assert not (tuned / "report.html").exists()


def test_folders_of_another_kind_are_refused(report: Job, runs: Runs, tuned: Path) -> None:
    for arguments, message in (
        ([tuned / "nowhere"], "nowhere: there is no such folder"),
        ([tuned / "tune"], "tune: holds no run"),
        ([tuned, "--attributed", runs.data], "--attributed: .* is prepared data, not an attrib"),
        ([tuned, "--attributed", runs.compared], "--attributed: .* is a comparison of presets"),
        ([tuned, "--compared", tuned], "--compared: .* is a search .*, not a comparison"),
        ([tuned, "--sanity", runs.compared], "--sanity: .* not sanity checks"),
    ):
        with pytest.raises(InputError, match=message):
            report(*arguments)
    assert not (tuned / "report.html").exists()


def test_results_of_another_model_are_refused(report: Job, tuned: Path, tmp_path: Path) -> None:
    for option, folder in (("--attributed", "attribution"), ("--sanity", "sanity")):
        other = Path(shutil.copytree(tuned / folder, tmp_path / folder))
        edit_sealed(other / "plan.json", lambda values: values["plan"].update(model="0" * 64))
        with pytest.raises(InputError, match=f"{option}: .* is of another model than"):
            report(tuned, option, other)
    assert not (tuned / "report.html").exists()


def test_a_run_on_s3_has_its_page_there(runs: Runs, bucket: S3Path) -> None:
    there = bucket / "run"
    for path in runs.tuned.rglob("*"):
        if path.is_file() and "tune" not in path.relative_to(runs.tuned).parts:
            there.joinpath(*path.relative_to(runs.tuned).parts).write_bytes(path.read_bytes())
    page: AnyPath = write_report(there)
    assert page == there / "report.html"
    assert page.read_text().startswith("<!doctype html>")


def test_part_of_a_window_holds_what_is_marked() -> None:
    for first, last, length in ((0, 9, 100), (91, 100, 100), (20, 80, 100), (300, 330, 1024)):
        marked = np.zeros(length, bool)
        marked[first:last] = True
        part = part_shown(marked)
        assert 0 <= part.start <= first
        assert last <= part.stop <= length
        assert (part.stop - part.start) % ROW == 0
    assert part_shown(np.ones(30, bool)) == slice(0, 30)
