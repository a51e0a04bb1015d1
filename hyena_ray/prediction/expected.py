"""How many of the called bases may be right: what a test on windows says of a genome."""

from __future__ import annotations

from hyena_ray.files import read_json
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.training.run import EVALUATION


class Expected(Settings):
    """Figures of the test split, on its windows and weighed to the genome that they came from."""

    windows_prevalence: float
    """Share of labelled bases on the windows, where negatives are a sample."""
    windows_precision: float
    genome_prevalence: float
    genome_precision: float

    def __str__(self) -> str:
        return (
            f"about {self.genome_precision:.2f}, by the model's test split: of its windows' bases "
            f"{self.windows_prevalence:.2%} are labelled and precision is "
            f"{self.windows_precision:.2f}, of its genome's {self.genome_prevalence:.2%}"
        )


def expected_precision(model_folder: AnyPath, threshold: float) -> Expected | None:
    """What `evaluation.json` beside the model says of this threshold; None where it says nothing.

    A run that was tested has the file: `train.py --test` and `compare.py` write it.

    Raises:
        InputError: it is not JSON.
    """
    path = model_folder.absolute().parent / EVALUATION
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        if found["metrics"]["threshold"] != threshold:
            return None
        return Expected(
            windows_prevalence=float(found["prevalence"]),
            windows_precision=float(found["metrics"]["precision"]),
            genome_prevalence=float(found["genome"]["prevalence"]),
            genome_precision=float(found["genome"]["precision"]),
        )
    except (KeyError, TypeError):
        return None  # sequences, no negatives, or a file of an earlier version
