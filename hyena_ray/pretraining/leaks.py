"""Have the weights that a pretraining goes on from seen what it will be scored on?"""

from __future__ import annotations

from collections.abc import Iterator

from hyena_ray.model.provenance import Provenance


def leak_of(provenance: Provenance) -> str:
    """What the weights that a pretraining goes on from have seen of the contigs that it holds out,
    or that they know simulated DNA and it reads real; in words, empty where there is nothing.

    A contig is told by its bases, so that neither its name nor its file hides it. Weights of
    others, which stand beside no record, are not asked about.

    Args:
        provenance: of the weights that the run will leave.
    """
    return "; ".join(dict.fromkeys(_leaks_of(provenance)))


def _leaks_of(provenance: Provenance) -> Iterator[str]:
    held_out = {of.sha256: of.name for of in provenance.contigs if of.use == "held_out"}
    _, *earlier = provenance.lineage
    for before in earlier:
        if before.simulated and not provenance.simulated:
            yield (
                f"was pretrained on a simulated genome ({before.genome}), from which it knows "
                "nothing of real DNA"
            )
        trained = {of.sha256 for of in before.contigs if of.use == "trained"}
        seen = [name for sha256, name in held_out.items() if sha256 in trained]
        if seen:
            yield (
                f"held-out contigs were trained on before: {', '.join(seen)}; their perplexity "
                "flatters it"
            )
