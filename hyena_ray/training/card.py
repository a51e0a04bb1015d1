"""The model card: README.md of a model's folder, as the Hugging Face Hub reads it.

It says what a stranger needs to use the model, or to leave it alone.  It holds no path of the
machine that it was made on: files by name and sha256, and a backbone's folder by its last part.
"""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Kind
from hyena_ray.training.card_backbone import from_hub
from hyena_ray.training.card_text import METRICS, CardFacts, card_text, name_of, task_of

CARD = "README.md"
PIPELINES: dict[Kind, str] = {"base": "token-classification", "sequence": "text-classification"}
"""What the Hub calls the kinds of tasks."""
METRIC_TYPES = dict(zip(METRICS, METRICS, strict=True)) | {"mcc": "matthews_correlation"}
"""Our metrics, and the Hub's."""


def write_card(folder: AnyPath, facts: CardFacts) -> None:
    """Write README.md into a model's folder, atomically."""
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(str(model_card(facts)), encoding="utf-8")


def model_card(facts: CardFacts) -> ModelCard:
    """The card, whose `data` has the figures in the Hub's form."""
    return ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{card_text(facts)}")


def _metadata(facts: CardFacts) -> ModelCardData:
    model = facts.settings.model
    tags = ["hyena-ray", "dna", "genomics", facts.settings.task, model.architecture]
    results = [
        EvalResult(
            task_type=PIPELINES[task_of(facts).kind],
            dataset_type="custom",
            dataset_name=_dataset(facts),
            dataset_split=found.split,
            metric_type=METRIC_TYPES[name],
            metric_name=name,
            metric_value=getattr(found.metrics, name),
        )
        for found in (facts.validation, facts.test)
        if found is not None
        for name in METRIC_TYPES
    ]
    return ModelCardData(
        model_name=name_of(facts),
        library_name="hyena-ray",
        pipeline_tag=PIPELINES[task_of(facts).kind],
        tags=[*tags, "simulated"] if facts.manifest.simulated else tags,
        metrics=list(METRIC_TYPES.values()),
        base_model=model.backbone if from_hub(model.backbone) else None,
        eval_results=results,
    )


def _dataset(facts: CardFacts) -> str:
    made_of = ", ".join(file.name for file in facts.manifest.inputs)
    simulated = " (simulated)" if facts.manifest.simulated else ""
    return f"{task_of(facts).title} of {made_of}{simulated}"
