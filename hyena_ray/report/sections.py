"""The sections of a page, registered by kind of run.

A new kind of run is a record in `run_contents.py` and an entry of `SECTIONS`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from hyena_ray.report._answer_section import answer_section
from hyena_ray.report._attribution_sections import sanity_section, window_section
from hyena_ray.report._genome_sections import perplexity_section, prepared_section, regions_section
from hyena_ray.report._kmer_sections import kmer_section
from hyena_ray.report._model_sections import models_section
from hyena_ray.report._page import Page, Section
from hyena_ray.report._performance_sections import evaluation_section, learning_section
from hyena_ray.report._run_section import page_warnings, run_section
from hyena_ray.report._search_sections import comparison_section, search_section
from hyena_ray.report._variant_sections import variants_section
from hyena_ray.report.run_contents import (
    AttributeContents,
    CombineContents,
    CompareContents,
    EmbedContents,
    EvaluateContents,
    PredictContents,
    PrepareContents,
    PretrainContents,
    RunContents,
    SanityContents,
    TrainContents,
    TuneContents,
    VariantContents,
)
from hyena_ray.runs.record import KINDS

SectionFunction: TypeAlias = Callable[[Any], Section | None]
"""Returns a section of a run's page, or None where the run has nothing for it."""
_Contents = TypeVar("_Contents", bound=RunContents)


def _page_of_kind(
    contents: type[_Contents], *sections: Callable[[_Contents], Section | None]
) -> tuple[str, tuple[SectionFunction, ...]]:
    """Return an entry of `SECTIONS`; the type checker holds that each section takes the record.

    The sections of folders that are given along with a run come after its own.
    """
    added = (kmer_section, window_section, sanity_section, comparison_section)
    return contents.kind, (*sections, *added)


SECTIONS: dict[str, tuple[SectionFunction, ...]] = dict(
    (
        _page_of_kind(PrepareContents, answer_section, prepared_section, run_section),
        _page_of_kind(
            TrainContents, answer_section, run_section, evaluation_section, learning_section
        ),
        _page_of_kind(
            TuneContents,
            answer_section,
            run_section,
            evaluation_section,
            learning_section,
            search_section,
        ),
        _page_of_kind(CompareContents, answer_section, run_section),
        _page_of_kind(EvaluateContents, answer_section, run_section, evaluation_section),
        _page_of_kind(AttributeContents, answer_section, run_section),
        _page_of_kind(CombineContents, answer_section, models_section, run_section),
        _page_of_kind(SanityContents, answer_section, run_section),
        _page_of_kind(PredictContents, answer_section, regions_section, run_section),
        _page_of_kind(VariantContents, answer_section, variants_section, run_section),
        _page_of_kind(EmbedContents, answer_section, run_section),
        _page_of_kind(PretrainContents, answer_section, perplexity_section, run_section),
    )
)
"""Kind of run to the sections of its page, in order."""


def page_of(contents: RunContents) -> Page:
    """Compose the page of a run.

    Args:
        contents: What the run's folder holds.
    """
    sections = [
        section
        for section_function in SECTIONS[contents.kind]
        if (section := section_function(contents)) is not None
    ]
    subject = contents.task.title if contents.task is not None else "DNA"
    references = dict.fromkeys(work for section in sections for work in section.references)
    return Page(
        title=f"{subject[0].upper()}{subject[1:]}: {KINDS[contents.kind].noun}",
        kicker="hyena-ray report",
        warnings=page_warnings(contents),
        sections=sections,
        footer=[
            *references,
            f"Written by hyena-ray {importlib.metadata.version('hyena-ray')} from the folder "
            f"{contents.folder}. The page needs no network.",
        ],
    )
