"""The model card: README.md of a model's folder, as the Hugging Face Hub reads it.

It says what a stranger needs to use the model, or to leave it alone. It has no path of the machine
that it was written on: files have a name and a sha256, and a backbone's folder its last part.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import TYPE_CHECKING, NamedTuple

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.files import atomic_file
from hyena_ray.genome.negatives import read_shares
from hyena_ray.model.input_tracks import track_channels
from hyena_ray.model.provenance import Provenance, Use, is_hub_id, public_name
from hyena_ray.model.settings import CARD, ModelSettings
from hyena_ray.progress import shortened_list
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Kind, Task, task_named
from hyena_ray.training.bootstrap import Interval
from hyena_ray.training.distillation import TeacherRecord
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.reliability import TOP
from hyena_ray.training.settings import RunSettings

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData

NAMED = 30
"""Most contigs that a line names: all of a mammal's chromosomes."""
_TASKS = {"next_base": "the next base", "masked": "masked bases"}
"""What the objectives of a pretraining predict."""
_USES: dict[Use, str] = {"held_out": "held out", "left_out": "left out"}


def is_public(backbone: str | None) -> bool:
    """Return whether a backbone is one that others can get.

    Args:
        backbone: Folder or hub id of its weights; None is random weights.
    """
    return backbone is not None and is_hub_id(backbone)


def initial_weights(model: ModelSettings) -> str:
    """Describe the weights that a model was trained from.

    Args:
        model: Settings of the model.
    """
    if model.backbone is None:
        return "random weights"
    if is_public(model.backbone):
        return f"`{model.backbone}` at revision `{model.revision}`"
    return f"pretrained weights in a folder `{public_name(model.backbone)}`"


def pretraining_text(provenance: Provenance) -> str:
    """Describe what a backbone was pretrained on, and the weights that it started from.

    Args:
        provenance: What the weights have seen.
    """
    parts = [_one_pretraining(pretraining) for pretraining in provenance.lineage]
    oldest = provenance.lineage[-1].began_from
    if oldest is not None:
        parts.append(f"from {code_span(oldest)}, whose own pretraining is unknown")
    return f"The backbone was pretrained {'; before that '.join(parts)}."


def _one_pretraining(provenance: Provenance) -> str:
    genome = f"{code_span(provenance.genome)} (sha256 `{provenance.genome_sha256}`)"
    if provenance.simulated:
        genome = f"the **simulated** genome {genome}"
    names: dict[Use, list[str]] = {}
    for contig in provenance.contigs:
        names.setdefault(contig.use, []).append(code_span(contig.name))
    text = f"on {genome} to predict {_TASKS.get(provenance.objective, provenance.objective)}: "
    text += f"trained on {shortened_list(names.get('trained', ()), NAMED)}"
    rest = [
        f"{what} {shortened_list(names[use], NAMED)}" for use, what in _USES.items() if use in names
    ]
    return "; ".join([text, *rest])


def code_span(name: str) -> str:
    """Quote a name that somebody chose, so that Markdown shows it as it is.

    Args:
        name: Name of a file, a contig or the like.

    Example:
        >>> code_span("a|b `c`")
        "`a/b 'c'`"
    """
    return f"`{' '.join(name.split()).replace('`', chr(39)).replace('|', '/')}`"


METRICS = ("average_precision", "precision", "recall", "f1", "mcc", "roc_auc", "accuracy")
"""Metrics of the table, in its order."""
PACKAGES = ("hyena-ray", "torch", "transformers", "peft", "safetensors")
"""Packages whose versions the card names."""
SIMULATED = """\
> **Simulated DNA.** This model was trained and scored on a simulated genome, in which what it finds
> was planted. No figure here says anything about real DNA. Do not use it on any."""
CITATION = """\
@inproceedings{nguyen2023hyenadna,
  title = {HyenaDNA: Long-Range Genomic Sequence Modeling at Single Nucleotide Resolution},
  author = {Nguyen, Eric and Poli, Michael and Faizi, Marjan and Thomas, Armin and
            Birch-Sykes, Callum and Wornow, Michael and Patel, Aman and Rabideau, Clayton and
            Massaroli, Stefano and Bengio, Yoshua and Ermon, Stefano and Baccus, Stephen A. and
            R{\\'e}, Christopher},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
}"""


class CardFacts(NamedTuple):
    """Facts from which a model card is written."""

    settings: RunSettings
    """Settings of the run."""
    manifest: Manifest
    """Manifest of the prepared windows, as the run saw them."""
    validation: Evaluation
    """Figures of the validation split."""
    test: Evaluation | None
    """Figures of the test split; None where it was not scored."""
    adapter: bool
    """Whether adapters are next to the weights, in peft's format."""
    provenance: Provenance | None
    """What the backbone has seen, where it is known."""
    teacher: TeacherRecord | None = None
    """Teacher that the model learnt from, where there was one."""


def card_text(facts: CardFacts) -> str:
    """Return the card's Markdown, without the metadata that the Hub reads.

    Args:
        facts: What the card is written from.
    """
    sections = (
        _what(facts),
        _how_to_load(facts),
        _data(facts),
        _figures(facts),
        _use(facts),
        _settings(facts),
        _origin(facts),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _task(facts: CardFacts) -> Task:
    return task_named(facts.settings.task)


def _name(facts: CardFacts) -> str:
    return f"{facts.settings.task}-{facts.settings.model.architecture.replace('_', '-')}"


def _what(facts: CardFacts) -> list[str]:
    settings, task = facts.settings, _task(facts)
    readout, labels_bases = settings.readout, task.kind == "base"
    lines = [f"# {_name(facts)}", ""]
    if facts.manifest.simulated:
        lines += [SIMULATED, ""]
    unit, inputs = ("every base", "windows") if labels_bases else ("a whole sequence", "sequences")
    about = (
        f"Recognises {task.title} in DNA: gives {unit} a probability. "
        f"A `{settings.model.architecture}` model, trained by hyena-ray from "
        f"{initial_weights(settings.model)}. It reads {inputs} of "
        f"{settings.data.length} bases"
    )
    if readout.flank:
        about += f" with {readout.flank} real bases on each side"
    if readout.tracks:
        about += f", has the input tracks {', '.join(track_channels(readout.tracks))}"
    strands = "averages both strands" if readout.strands == "both" else "reads the given strand"
    lines.append(f"{about}, and {strands}.")
    if facts.provenance is not None:
        lines += ["", pretraining_text(facts.provenance)]
    if facts.teacher is not None:
        lines += ["", _teacher_text(facts.teacher, settings.training.teacher_share)]
    return lines


def _teacher_text(teacher: TeacherRecord, share: float | None) -> str:
    members = [
        f"{code_span(name)} (sha256 `{sha256}`)"
        for name, sha256 in zip(teacher.architectures, teacher.sha256.split(","), strict=True)
    ]
    mean = "the mean of the probabilities of " if len(members) > 1 else "the probability of "
    named = f"{mean}{' and '.join(members)}"
    text = f"Trained towards {share:g} of {named}, and its labels for the rest."
    seen = dict.fromkeys(contig for contigs in teacher.seen.values() for contig in contigs)
    return f"{text} **This teacher has seen {', '.join(seen)}.**" if seen else text


def _how_to_load(facts: CardFacts) -> list[str]:
    model, labels_bases = facts.settings.model, _task(facts).kind == "base"
    backbone = model.backbone
    auto = f"AutoModelFor{'Token' if labels_bases else 'Sequence'}Classification"
    result = "probabilities" if labels_bases else "probability"
    lines = [
        "## Use",
        "",
        "```python",
        "import hyena_ray",
        'model = hyena_ray.load("path/to/this/folder")',
        f"{result} = model.predict(sequence{_given_tracks(facts)})  # letters"
        + ("" if labels_bases else f", {facts.settings.data.length} of them"),
        "```",
        "",
        "The classifier alone, without windows, strands, calibration and threshold:",
        "",
        "```python",
        "import hyena_ray.model.huggingface  # registers the model with transformers",
        f"from transformers import {auto}",
        f'classifier = {auto}.from_pretrained("path/to/this/folder")',
        "```",
    ]
    if not facts.adapter:
        return lines
    revision = f', revision="{model.revision}"' if is_public(backbone) else ""
    lines += [
        "",
        "The adapters are merged into these weights. By themselves, with the head, they are in "
        "`adapter/`; `BASE` is what they were trained on: "
        + (
            initial_weights(model)
            if backbone
            else "the random start of this run, which was not kept"
        )
        + ".",
        "",
        "```python",
        "import hyena_ray.model.huggingface",
        "from peft import PeftModel",
        f"from transformers import AutoConfig, {auto}",
        'config = AutoConfig.from_pretrained("path/to/this/folder")',
        f'base = {auto}.from_pretrained("{backbone if revision else "BASE"}", config=config'
        f"{revision})",
        'classifier = PeftModel.from_pretrained(base, "path/to/this/folder/adapter")',
        "```",
    ]
    return lines


def _given_tracks(facts: CardFacts) -> str:
    """Return the argument that gives signal tracks; empty for a model that reads none."""
    names = facts.settings.readout.signal_tracks
    if not names:
        return ""
    values = ", ".join(f'"{name}": {name}' for name in names)
    return f", tracks={{{values}}}"


def _data(facts: CardFacts) -> list[str]:
    manifest, length = facts.manifest, facts.settings.data.length
    lines = ["## Data", "", "| file | name | sha256 |", "|---|---|---|"]
    lines += [f"| {f.role} | {code_span(f.name)} | `{f.sha256}` |" for f in manifest.files_read]
    lines.append("")
    if manifest.contigs:
        bases = sum(contig.length for contig in manifest.contigs)
        lines.append(f"- {len(manifest.contigs)} contigs, {bases:,} bases")
        lines.append(
            f"- windows of {length} bases, {manifest.flank} real bases stored on each side; past "
            "the ends of a contig N"
        )
    else:
        lines.append(f"- sequences of {length} bases")
    if manifest.negatives is not None:
        lines.append(
            "- training windows without a labelled base for each one with, by kind: "
            f"{manifest.negatives} (seed {manifest.seed})"
        )
    if manifest.stretch is not None:
        scan = ", all of the test contigs" if manifest.scan else ""
        lines.append(
            f"- scored on stretches of {manifest.stretch:,} bases{scan}; of those without a label "
            f"for each one with, by stratum: {manifest.held_out}"
        )
    if manifest.train_stride is not None:
        lines.append(f"- training windows begin every {manifest.train_stride} bases")
    fold = facts.settings.data.fold
    lines.append(
        f"- split {code_span(manifest.split)}" + ("" if fold is None else f", fold {fold} tested")
    )
    if facts.settings.data.negatives is not None:
        lines.append(f"- of these {facts.settings.data.negatives}, drawn anew in every epoch")
    if facts.settings.data.limit is not None:
        lines.append(f"- of the training windows {facts.settings.data.limit:,}, evenly over them")
    unit = "bases" if manifest.contigs else "sequences"
    lines += ["", f"| split | with | without | {unit} labelled 1 |", "|---|---|---|---|"]
    for split in manifest.splits:
        counts = manifest.counts_of(length, split)
        lines.append(
            f"| {split} | {sum(c.positive for c in counts):,} | "
            f"{sum(c.negative for c in counts):,} | {sum(c.labelled for c in counts):,} |"
        )
    return lines


def _figures(facts: CardFacts) -> list[str]:
    splits = [evaluation for evaluation in (facts.validation, facts.test) if evaluation is not None]
    lines = ["## Figures", ""]
    if facts.test is None:
        lines += ["**Not scored on the test data.**", ""]
    lines += [
        f"| metric | {' | '.join(evaluation.split for evaluation in splits)} |",
        "|---|" + "---|" * len(splits),
        *(f"| {name} | {' | '.join(_cell(e, name) for e in splits)} |" for name in METRICS),
        f"| Brier score (of the prevalence alone) | {' | '.join(map(_brier_cell, splits))} |",
        f"| labelled among the highest {TOP:.0%}: predicted, observed | "
        f"{' | '.join(map(_top_cell, splits))} |",
    ]
    if all(evaluation.regions is not None for evaluation in splits):
        found, false = (" | ".join(map(cell, splits)) for cell in (_regions_found, _false_runs))
        lines += [f"| regions found | {found} |", f"| false calls per Mb | {false} |"]
    of_tiles = [e.tiles for e in splits if e.tiles is not None]
    if of_tiles:
        cells = " | ".join(_interval_cell(t.metrics.f1, t.intervals["f1"]) for t in of_tiles)
        lines += [
            f"| F1 on tiles | {cells} |",
            "",
            "Estimates for these contigs ("
            + "; ".join(f"{e.split}: {', '.join(e.contigs)}" for e in splits)
            + ") at the prevalence of their genome. On tiles: of "
            f"{of_tiles[0].length} bases, {of_tiles[0].negatives:g} without a label for each one "
            "with, on which the original work tested.",
        ]
    lines += [
        "",
        f"Labels: {code_span(facts.validation.label_source)}.",
        f"Called from a probability of {facts.validation.metrics.threshold:.3f}. In brackets 95 % "
        f"intervals: {facts.validation.replicates:,} draws of blocks of neighbours. The "
        "validation data chose epoch and threshold, so that figures on them are too good"
        + ("." if facts.test is None else "; the test data chose nothing."),
    ]
    return lines


def _cell(evaluation: Evaluation, name: str) -> str:
    value: float = getattr(evaluation.metrics, name)
    if name not in evaluation.intervals:
        return f"{value:.3f}"
    return _interval_cell(value, evaluation.intervals[name])


def _interval_cell(value: float, interval: Interval) -> str:
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _brier_cell(evaluation: Evaluation) -> str:
    calibration = evaluation.calibration
    return f"{calibration.brier:.5f} ({calibration.brier_of_prevalence:.5f})"


def _top_cell(evaluation: Evaluation) -> str:
    """Return predicted and observed fraction in the lowest and in the highest bin."""
    top = evaluation.calibration.top
    ends = dict.fromkeys((0, len(top.predicted) - 1))
    return "; ".join(f"{top.predicted[at]:.3f}, {top.observed[at]:.3f}" for at in ends)


def _regions_found(evaluation: Evaluation) -> str:
    assert evaluation.regions is not None
    return f"{evaluation.regions.found:,} of {evaluation.regions.regions:,}"


def _false_runs(evaluation: Evaluation) -> str:
    assert evaluation.regions is not None
    return f"{evaluation.regions.false_per_mb:.1f}"


def _use(facts: CardFacts) -> list[str]:
    task, manifest = _task(facts), facts.manifest
    best = facts.test or facts.validation
    lines = [
        "## Intended use and limits",
        "",
        f"For research: to find candidate {task.title}, and to ask which motifs they have.",
        "",
    ]
    if manifest.simulated:
        lines.append("- Trained on simulated DNA: for trying out the tool, and nothing else.")
    lines.append("- **Not for clinical use**, nor for any decision about a person.")
    shares = facts.settings.data.negatives or manifest.negatives
    if shares is not None:
        negatives = sum(read_shares(shares).values())
        lines.append(
            f"- Trained with {negatives:g} windows without a label for each one with, "
            f"where {best.prevalence:.3%} of the bases of the scored contigs have one. "
            "Probabilities are calibrated for the prevalence of the validation contigs; logits are "
            "not. The figures hold for the contigs that were scored."
        )
    lines += [
        f"- The threshold {best.metrics.threshold:.3f} was chosen for the best "
        f"{facts.settings.threshold_metric} on the validation data; another prevalence needs "
        "another one.",
        "- Trained on one set of labels from one source: what these miss, it learns to miss. Other "
        "species, assemblies and cell types were not tried.",
        "- N, and positions past the ends of a sequence, carry no information: the figures are of "
        "windows with real bases around them."
        if task.kind == "base"
        else f"- It reads sequences of {facts.settings.data.length} bases, aligned as in training.",
    ]
    return lines


def _settings(facts: CardFacts) -> list[str]:
    values, backbone = facts.settings.used(), facts.settings.model.backbone
    if backbone is not None:
        values["model.backbone"] = public_name(backbone)
    return ["## Settings", "", "```json", json.dumps(values, indent=2, sort_keys=True), "```"]


def _origin(facts: CardFacts) -> list[str]:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    lines = [
        "## Made with",
        "",
        f"{', '.join(versions)}, Python {platform.python_version()}.",
        "",
        "No licence is stated: add `license:` to the head of this file before you publish it."
        + (
            ""
            if facts.settings.model.backbone is None
            else " That of the pretrained weights holds for what was made from them, too."
        ),
    ]
    if facts.settings.model.architecture == "hyenadna":
        lines += ["", "## Citation", "", "```bibtex", CITATION, "```"]
    return lines


PIPELINES: dict[Kind, str] = {"base": "token-classification", "sequence": "text-classification"}
"""Names that the Hub has for the kinds of tasks."""
METRIC_TYPES = dict(zip(METRICS, METRICS, strict=True)) | {"mcc": "matthews_correlation"}
"""Names that the Hub has for our metrics."""


def write_card(folder: AnyPath, facts: CardFacts) -> None:
    """Write README.md into a model's folder, atomically.

    Args:
        folder: Folder of the model.
        facts: What the card is written from.
    """
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(str(model_card(facts)), encoding="utf-8")


def model_card(facts: CardFacts) -> ModelCard:
    """Return the card, whose `data` has the figures in the Hub's form.

    Args:
        facts: What the card is written from.
    """
    from huggingface_hub import ModelCard

    return ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{card_text(facts)}")


def _metadata(facts: CardFacts) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    model = facts.settings.model
    tags = ["hyena-ray", "dna", "genomics", facts.settings.task, model.architecture]
    results = [
        EvalResult(
            task_type=PIPELINES[_task(facts).kind],
            dataset_type="custom",
            dataset_name=_dataset(facts),
            dataset_split=evaluation.split,
            metric_type=METRIC_TYPES[name],
            metric_name=name,
            metric_value=getattr(evaluation.metrics, name),
        )
        for evaluation in (facts.validation, facts.test)
        if evaluation is not None
        for name in METRIC_TYPES
    ]
    return ModelCardData(
        model_name=_name(facts),
        library_name="hyena-ray",
        pipeline_tag=PIPELINES[_task(facts).kind],
        tags=[*tags, "simulated"] if facts.manifest.simulated else tags,
        metrics=list(METRIC_TYPES.values()),
        base_model=model.backbone if is_public(model.backbone) else None,
        eval_results=results,
    )


def _dataset(facts: CardFacts) -> str:
    inputs = ", ".join(file.name for file in facts.manifest.inputs)
    simulated = " (simulated)" if facts.manifest.simulated else ""
    return f"{_task(facts).title} of {inputs}{simulated}"
