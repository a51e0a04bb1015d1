"""Several models as one, whose probability of a label is the mean of theirs.

Models that are wrong in different places are together better than any of them. The mean is that of
calibrated probabilities, not of logits: a model whose scores saturate would outvote all others in
logits, and the mean of probabilities that are right on average is right on average. So an ensemble
has no calibration of its own, and whoever loads the same models gets the same probabilities.

Members may be of any architecture and read windows and flanks of any size. The ensemble reads
windows as long as the longest of theirs; a member with shorter ones reads them side by side, as it
reads a stretch, and the last one ends with the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.stretches import window_offsets
from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.model.beta_calibration import log_odds
from hyena_ray.model.saved import load_window_model, model_sha256
from hyena_ray.model.settings import Readout, Strands
from hyena_ray.model.window import WindowModel, WindowScorer
from hyena_ray.storage import AnyPath


class Ensemble(WindowScorer):
    """The mean of the calibrated probabilities of several models, see `WindowScorer`.

    Args:
        members: Models of one task; the order does not matter.

    Example:
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings
        >>> from hyena_ray.tasks import TASKS
        >>> short, long = (
        ...     build_model(
        ...         ModelSettings(architecture="kmer_logistic", k=3),
        ...         Readout(window=window, flank=8, lookahead=0),
        ...         LoraSettings(),
        ...         TASKS["zdna"],
        ...         seed=0,
        ...     )
        ...     for window in (40, 100)
        ... )
        >>> Ensemble([short, long]).predict(torch.full((1, 116), 7)).shape
        torch.Size([1, 100, 2])
    """

    def __init__(self, members: Sequence[WindowModel]) -> None:
        super().__init__()
        # So that neither the plan nor the last bits of a mean depend on the order.
        ordered: list[nn.Module] = [*sorted(members, key=model_sha256)]
        self._members = nn.ModuleList(ordered)
        readouts = [member.readout for member in members]
        self.labels_bases = members[0].labels_bases
        self.min_length, self.merge_gap = members[0].min_length, members[0].merge_gap
        self.readout = Readout(
            window=max(readout.window for readout in readouts),
            flank=max(readout.required_flank for readout in readouts),
            lookahead=0,
            scales=tuple(dict.fromkeys(scale for own in readouts for scale in own.scales)),
        )

    @property
    def members(self) -> tuple[WindowModel, ...]:
        """The models."""
        return tuple(member for member in self._members if isinstance(member, WindowModel))

    def predict(self, tokens: Tensor) -> Tensor:
        """Compute the logarithm of the mean probability of every class.

        Args:
            tokens: Windows with their flanks, as `WindowScorer` says.
        """
        every = torch.stack([self._log_probabilities(member, tokens) for member in self.members])
        return torch.logsumexp(every, 0) - math.log(len(every))

    def read_strands(self, strands: Strands) -> None:
        """Let every member read these strands.

        Args:
            strands: Strands whose logits each member averages.
        """
        for member in self.members:
            member.read_strands(strands)

    def _log_probabilities(self, member: WindowModel, tokens: Tensor) -> Tensor:
        odds = member.calibration.line(long_window_odds(member, tokens, self.readout.window))
        return F.logsigmoid(torch.stack((-odds, odds), -1))


def long_window_odds(model: WindowModel, tokens: Tensor, window: int) -> Tensor:
    """Compute the log-odds of windows that may be longer than a model's own.

    It reads longer ones side by side, as it reads a stretch, and the last one ends with the window.

    Args:
        model: The model.
        tokens: Windows with their flanks, shape (B, window + 2 * stored).
        window: Bases of these windows, at least those of the model's.

    Returns:
        Log-odds of class 1 before calibration, shape (B, labels), float32.
    """
    own, around = model.readout.window, tokens.shape[1] - window
    offsets = window_offsets(window, own).tolist()
    windows = torch.stack([tokens[:, first : first + own + around] for first in offsets], 1)
    odds = log_odds(model.predict(windows.flatten(0, 1)))
    if not model.labels_bases:
        return odds
    parts = odds.unflatten(0, (len(tokens), len(offsets)))
    # The last window has bases of the one before it, which count there.
    last = parts[:, -1, len(offsets) * own - window :]
    return torch.cat((parts[:, :-1].flatten(1, 2), last), 1)


def load_scorer(folders: Sequence[AnyPath]) -> WindowScorer:
    """Load a trained model, or several as an ensemble; in evaluation mode, on the CPU.

    Args:
        folders: Folders `model/` of runs.

    Raises:
        InputError: A folder holds no model or a damaged one, or they are no ensemble.
    """
    return scorer_of([load_window_model(folder) for folder in folders], folders)


def scorer_of(
    models: Sequence[WindowModel], folders: Sequence[AnyPath], option: str = "--model"
) -> WindowScorer:
    """Return a model as it is, or several as an ensemble.

    Args:
        models: The models.
        folders: Their folders, for the message.
        option: Option that gave them, for the message.

    Raises:
        InputError: One is given twice, or they differ in what they label, in what they call a
            region, in the length of the sequences that they read, or in the scale of a track.
    """
    first, *others = models
    if not others:
        return first
    shown: dict[str, AnyPath] = {}
    scales: dict[int, tuple[AnyPath, SignalScale]] = {}
    for model, folder in zip(models, folders, strict=True):
        sha256 = model_sha256(model)
        if sha256 in shown:
            problem = f"is the same model as {shown[sha256]}"
            raise InputError(option, folder, problem, "give each model once")
        shown[sha256] = folder
        if model.labels_bases != first.labels_bases:
            kinds = ("sequences", "bases")
            problem = f"labels {kinds[model.labels_bases]}, and {folders[0]} labels "
            problem += kinds[first.labels_bases]
            raise InputError(option, folder, problem, "give models of one task")
        if (model.min_length, model.merge_gap) != (first.min_length, first.merge_gap):
            problem = f"calls regions of {model.min_length} bases or more, joined across gaps of "
            problem += f"{model.merge_gap}, and {folders[0]} those of {first.min_length} and "
            problem += str(first.merge_gap)
            raise InputError(option, folder, problem, "give models of one task")
        for scale in model.readout.scales:
            other_folder, other = scales.setdefault(scale.number, (folder, scale))
            if other != scale:
                problem = f"was trained on other tracks than {other_folder}: {scale.name} there is "
                problem += other.name if other.name != scale.name else "of another scale"
                raise InputError(option, folder, problem, "give models of the same data")
        if not first.labels_bases and model.readout.window != first.readout.window:
            problem = f"reads sequences of {model.readout.window} bases, and {folders[0]} those of "
            problem += str(first.readout.window)
            raise InputError(option, folder, problem, "give models of one length")
    return Ensemble(models).eval()
