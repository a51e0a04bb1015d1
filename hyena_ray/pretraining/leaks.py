"""Have the weights that a pretraining goes on from seen what it will be scored on?"""

from __future__ import annotations

from collections.abc import Iterator

from hyena_ray.model.provenance import Provenance


def leak_of(provenance: Provenance) -> str:
    """What the weights that a pretraining goes on from have seen of the bases that it holds out,
    or that they know simulated DNA and it reads real; in words, empty where there is nothing.

    A contig is told by its bases, so that neither its name nor its file hides it. Weights of
    others, which stand beside no record, are not asked about.

    Args:
        provenance: of the weights that the run will leave.
    """
    return "; ".join(dict.fromkeys(_leaks_of(provenance)))


def _leaks_of(provenance: Provenance) -> Iterator[str]:
    for before in provenance.lineage[1:]:
        if not provenance.simulated and (problem := before.simulated_only()):
            yield problem
        trained = {contig.sha256: contig.trained for contig in before.contigs}
        seen = [
            contig.name
            for contig in provenance.contigs
            if contig.use != "left_out" and trained.get(contig.sha256, 0) > contig.trained
        ]
        if seen:
            yield (
                f"held-out bases were trained on before, of {', '.join(seen)}; their perplexity "
                "flatters it"
            )
