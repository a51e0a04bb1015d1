"""Attribution of windows: the points of many windows share each pass through the model.

Inputs, noise and scores stay on the device. On a GPU the passes are replayed as CUDA graphs, and
the host synchronises with the GPU once per group of points, not once per pass.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution._path_integral import Integral, OnPath, integrate
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.logo import draw_letters
from hyena_ray.attribution.methods import METHODS, Method, PassInputs
from hyena_ray.attribution.mutagenesis import saturation_mutagenesis
from hyena_ray.attribution.path_baselines import NOISE, draw_keys, draw_noise
from hyena_ray.attribution.settings import MAX_K, AttributionSettings, Ranking
from hyena_ray.attribution.tables import kmer_table
from hyena_ray.attribution.targets import (
    POSITIVE,
    Pass,
    Targets,
    batches,
    pass_positions,
    trim_tokens,
    true_positives,
    zip_uploaded,
)
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED, ids_of, tokens_to_codes
from hyena_ray.errors import InputError, require_choice, require_type
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.devices import arithmetic, halving, model_device, upload
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.replay import Replay
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.window import WindowModel
from hyena_ray.summaries import summary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Convergence(NamedTuple):
    """Accuracy of the path integrals of N windows, and the share of the tracks in them.

    Windows without a true positive have NaN, and 0 nodes.
    """

    completeness: NDArray[np.float64]
    """Completeness error |sum of scores - (f(x) - f(x'))| / |f(x) - f(x')|, shape (N,). Scores of
    the flanks count; errors of different strands and paths do not cancel."""
    error: NDArray[np.float64]
    """Estimated error of the scores, the largest of a window's paths, shape (N,)."""
    nodes: NDArray[np.int64]
    """Gradients that were computed for each strand, on all paths of a window, shape (N,)."""
    tracks: NDArray[np.float64]
    """Share of the tracks in the absolute scores of letters and tracks, shape (N,)."""

    def __repr__(self) -> str:
        return summary(self)

    def rows(self, rows: NDArray[np.int64]) -> Convergence:
        """Return the accuracy of some of the windows.

        Args:
            rows: Numbers of the windows, shape (n,).
        """
        return Convergence(
            self.completeness[rows], self.error[rows], self.nodes[rows], self.tracks[rows]
        )

    def summary(self, tolerance: float | None) -> dict[str, float]:
        """Summarise the accuracy in a few numbers.

        Args:
            tolerance: Error above which a window counts as `not_converged`; None counts none.
        """
        # A target that does not change at all has no relative error.
        known = self.completeness[np.isfinite(self.completeness)]
        median, high, worst = np.quantile(known, (0.5, 0.9, 1)) if len(known) else (0.0, 0.0, 0.0)
        # Not `error > tolerance`, since NaN has not converged.
        unconverged = 0 if tolerance is None else (~(self.error <= tolerance)).sum()
        return {
            "windows": len(self.nodes),
            "completeness_median": float(median),
            "completeness_90_percent": float(high),
            "completeness_worst": float(worst),
            "nodes_mean": float(self.nodes.mean()),
            "not_converged": int(unconverged),
            "tracks_mean": float(self.tracks[self.nodes > 0].mean()) if self.nodes.any() else 0.0,
        }


class WindowAttribution(NamedTuple):
    """Per-base attribution of N windows of W bases, in their own order and orientation."""

    window_id: NDArray[np.int64]
    """Ids of the windows, shape (N,)."""
    bases: NDArray[np.uint8]
    """Base codes, shape (N, W); A C G T = 0 1 2 3; 4 if unknown or if the label does not count."""
    true_positive: NDArray[np.bool_]
    """Bases that are labelled and predicted 1, shape (N, W); all or none of a sequence with one
    label."""
    scores: dict[str, NDArray[np.float32]]
    """Scores of each method in logits, shape (N, W); NaN in windows without a true positive."""
    integrals: dict[str, Convergence]
    """Accuracy of each method that integrates from a baseline."""
    positions: int
    """Sequence positions of a pass through the model. The last bits of the scores depend on it."""

    def __repr__(self) -> str:
        return summary(self)

    def kmer_table(
        self,
        k: int = 5,
        method: str | None = None,
        *,
        kmer_score: Literal["sum", "mean"] = "sum",
        merge_strands: bool = False,
        min_count: int = 1,
        by: Ranking = "shrunken_score",
    ) -> pa.Table:
        """Return the table of the k-mers inside the true positives, best first.

        Args:
            k: Length of the k-mers, in bases, from 1 to 12.
            method: Method whose scores are summed; None takes the first one.
            kmer_score: Whether a k-mer scores the sum of its bases or their mean.
            merge_strands: Whether a k-mer is counted together with its reverse complement.
            min_count: Fewest occurrences of a k-mer that is listed.
            by: Column to sort by.

        Returns:
            The columns of `hyena_ray.kmer_table`; with equal settings the table that the job
            `attribute` writes.

        Raises:
            InputError: k is out of range, or another method is named.

        Example:
            >>> attribution = WindowAttribution(
            ...     window_id=np.array([7]),
            ...     bases=np.array([[0, 1, 2, 1]], np.uint8),
            ...     true_positive=np.ones((1, 4), bool),
            ...     scores={"ig": np.array([[0, 1, 2, 1]], np.float32)},
            ...     integrals={},
            ...     positions=4096,
            ... )
            >>> attribution.kmer_table(k=2, by="score").select(["kmer", "score"]).to_pylist()[0]
            {'kmer': 'CG', 'score': 3.0}
        """
        require_type(k, int, "k", "is no length of k-mers", f"give 1 to {MAX_K}")
        require_choice(kmer_score, ("sum", "mean"), "kmer_score", "score of a k-mer")
        config = KmerConfig(k=k, merge_strands=merge_strands)
        scores = self._scores(method) * (1.0 if kmer_score == "sum" else 1.0 / k)
        sums = fold_kmers(self.bases, scores, config, self.true_positive)
        return kmer_table(sums, min_count=min_count, by=by)

    def plot_logo(self, window: int, method: str | None = None, *, axes: Any = None) -> Any:
        """Draw the bases of a window as letters that are as high as their scores.

        Args:
            window: Number of the window, 0 to N - 1.
            method: Method whose scores are drawn; None takes the first one.
            axes: Axes of matplotlib to draw into; None makes a figure.

        Returns:
            The axes. Positions are 0-based in the window.

        Raises:
            InputError: There is no such window or method, or the window has no true positive, and
                so no scores.

        Example:
            >>> attribution = WindowAttribution(
            ...     window_id=np.array([7]),
            ...     bases=np.array([[0, 1, 2, 1]], np.uint8),
            ...     true_positive=np.ones((1, 4), bool),
            ...     scores={"ig": np.array([[0, 1, 2, 1]], np.float32)},
            ...     integrals={},
            ...     positions=4096,
            ... )
            >>> attribution.plot_logo(0).get_title()
            'window 7, ig'
        """
        scores, rows = self._scores(method), len(self.window_id)
        require_type(window, (int, np.integer), "window", "is no number", "give one from 0")
        if not 0 <= window < rows:
            raise InputError("window", window, f"not from 0 to {rows - 1}", "give one that is")
        if not self.true_positive[window].any():
            scored = np.flatnonzero(self.true_positive.any(axis=1))
            remedy = f"give one that has, such as {scored[0]}" if len(scored) else "there is none"
            raise InputError("window", window, "has no true positive, and so no scores", remedy)
        if axes is None:
            from matplotlib import pyplot

            width = max(4.0, 0.12 * self.bases.shape[1])
            axes = pyplot.figure(figsize=(width, 1.8), layout="constrained").add_subplot()
        heights = scores[window]
        draw_letters(axes, self.bases[window], heights)
        # Letters do not widen the axes by themselves.
        low, high = min(0.0, float(heights.min())), max(1e-6, float(heights.max()))
        axes.set(xlim=(-0.5, len(heights) - 0.5), ylim=(low, high), ylabel="logit")
        axes.set_title(f"window {self.window_id[window]}, {method or next(iter(self.scores))}")
        return axes

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a row for every base of every window.

        Returns:
            Columns `window_id`, `position` (0-based in the window), `base` (a letter, N if unknown
            or if its label does not count), `true_positive`, and a score for each method, which is
            NaN in windows without a true positive.

        Example:
            >>> attribution = WindowAttribution(
            ...     window_id=np.array([7]),
            ...     bases=np.array([[0, 4]], np.uint8),
            ...     true_positive=np.ones((1, 2), bool),
            ...     scores={"ig": np.array([[0.5, 1]], np.float32)},
            ...     integrals={},
            ...     positions=4096,
            ... )
            >>> attribution.to_pandas().to_dict("list")["base"]
            ['A', 'N']
        """
        import pandas as pd

        rows, length = self.bases.shape
        return pd.DataFrame(
            {
                "window_id": np.repeat(self.window_id, length),
                "position": np.tile(np.arange(length), rows),
                "base": np.array(list("ACGTN"))[self.bases.ravel()],
                "true_positive": self.true_positive.ravel(),
                **{name: scores.ravel() for name, scores in self.scores.items()},
            }
        )

    def _scores(self, method: str | None) -> NDArray[np.float32]:
        name = next(iter(self.scores), "") if method is None else method
        require_choice(name, list(self.scores), "method", "method of this attribution")
        return self.scores[name]


def attribute_windows(
    model: WindowModel,
    windows: Windows,
    settings: AttributionSettings | None = None,
    true_positive: NDArray[np.bool_] | None = None,
) -> WindowAttribution:
    """Attribute the true positives of windows to their bases.

    The target of a window is the sum of the positive class's logit over its true-positive bases,
    divided by their number with `normalise`, and averaged over the strands that the model reads.
    The target of a sequence with one label is its logit. Scores of the reverse strand are mapped
    back to the window and averaged likewise. Scores of a window depend on its sequence, and not on
    what else is attributed, except for the last bits; equal windows are computed once.

    Args:
        model: Model in any mode; its weights and mode are left as they were.
        windows: N windows as prepared, with the flank that the model requires, or a longer one.
        settings: Methods and their settings; None for the corrected definitions.
        true_positive: Labels that count as true positives, shape (N, labels), bool; None asks the
            model.

    Returns:
        Scores of all methods that score bases.

    Raises:
        InputError: The windows do not have the length or the flank that the model reads.

    Example:
        >>> from hyena_ray.dataset.tokens import encode
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
        >>> from hyena_ray.tasks import TASKS
        >>> model = build_model(
        ...     ModelSettings(d_model=8, n_layer=1),
        ...     Readout(window=6, flank=1, lookahead=0),
        ...     LoraSettings(),
        ...     TASKS["zdna"],
        ...     seed=0,
        ... )
        >>> windows = Windows(
        ...     window_id=np.array([0]),
        ...     contig=np.array(["chr1"]),
        ...     start=np.array([0]),
        ...     tokens=encode("ACGCGCGT")[None],
        ...     labels=np.ones((1, 6), np.int8),
        ...     kind=np.zeros(1, np.uint8),
        ... )
        >>> result = attribute_windows(
        ...     model,
        ...     windows,
        ...     AttributionSettings(methods=("ig",)),
        ...     true_positive=np.ones((1, 6), bool),
        ... )
        >>> result.scores["ig"].shape
        (1, 6)

    Reference: with `definition("original", ...)` Bokhyan 2025, Algorithms 4 and 5 for labels of
    bases, 2 and 3 for labels of sequences.
    """
    remedy = "give load_window_model(FOLDER), or the .model of what load returns"
    if not hasattr(model, "readout"):
        raise InputError("model", type(model).__name__, "is no window model", remedy)
    require_type(windows, Windows, "windows", "are no windows", "give PreparedData.read(...)")
    if settings is not None:
        remedy = 'give AttributionSettings(methods=("ig",)), or None'
        require_type(settings, AttributionSettings, "settings", "are no settings", remedy)
    if true_positive is not None and np.shape(true_positive) != windows.labels.shape:
        problem = f"the labels have the shape {windows.labels.shape}"
        remedy = "give a boolean for each label, or None"
        raise InputError("true_positive", np.shape(true_positive), problem, remedy)
    with Attributor(model, settings or AttributionSettings()) as attribute:
        return attribute(windows, true_positive)


class Attributor:
    """Attributes any number of windows by one model, with the same settings.

    Until `close` is called, or the `with` block ends, the model is in evaluation mode and its
    weights require no gradient. Only embeddings are differentiated, and the long filters, which
    depend on the weights alone, are computed once.

    Args:
        model: Model in any mode; its weights and mode are left as they were.
        settings: Methods and their settings.
    """

    def __init__(self, model: WindowModel, settings: AttributionSettings) -> None:
        self.model = model
        """The model."""
        self.settings = settings
        """Methods and their settings."""
        self._positions = pass_positions(model, settings)
        self._resources = ExitStack()
        self._resources.callback(model.train, model.training)
        for parameter in model.parameters():
            if parameter.requires_grad:
                self._resources.callback(parameter.requires_grad_, True)
                parameter.requires_grad_(False)
        model.eval()
        self._resources.enter_context(arithmetic("float32"))
        self._resources.enter_context(frozen_filters(model))
        self._replay = Replay(model_device(model))

    def close(self) -> None:
        """Restore the mode and the trainable weights of the model."""
        self._replay.clear()  # before the filters, which the graphs read
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def graphs(self) -> int:
        """Number of CUDA graphs; 0 on the CPU."""
        return self._replay.graphs

    @cached_property
    def model_sha256(self) -> str:
        """sha256 of the model; see `model.saved.model_sha256`."""
        return model_sha256(self.model)

    def __call__(
        self, windows: Windows, true_positive: NDArray[np.bool_] | None = None
    ) -> WindowAttribution:
        """Attribute windows; see `attribute_windows`.

        If the GPU runs out of memory, the passes are halved until they fit, and stay so.

        Args:
            windows: N windows as prepared.
            true_positive: Labels that count as true positives, shape (N, labels), bool; None asks
                the model.

        Raises:
            InputError: The windows do not have the length or the flank that the model reads, or a
                single one does not fit into the memory of the GPU.
        """
        tokens = trim_tokens(self.model, windows)
        return halving(
            self._positions,
            lambda positions: self._attribute(windows, tokens, true_positive, positions),
            place="batch",
            noun="sequence position",
        )

    def _attribute(
        self,
        windows: Windows,
        tokens: NDArray[np.uint8],
        true_positive: NDArray[np.bool_] | None,
        positions: int,
    ) -> WindowAttribution:
        model, settings = self.model, self.settings
        if positions < self._positions:
            self._positions = positions
            self._replay.clear()  # the old graphs occupy the memory that was too much
        if true_positive is None:
            true_positive = true_positives(model, tokens, windows.labels, positions)
        chosen = np.flatnonzero(true_positive.any(axis=1))
        once, inverse = _distinct(tokens[chosen], true_positive[chosen])
        targets = Targets(
            model, tokens[chosen][once], true_positive[chosen][once], settings, positions
        )
        shape = (len(tokens), model.readout.window)
        scores: dict[str, NDArray[np.float32]] = {}
        integrals: dict[str, Convergence] = {}
        for name in settings.methods:
            if not METHODS[name].scores_bases:
                continue
            parts, integral = self._score_strands(targets, name)
            by_strand, tracks = parts.sum(2), _share_of_tracks(parts)
            on_window = [
                model.to_window(torch.from_numpy(strand_scores), strand)
                for strand, strand_scores in enumerate(by_strand)
            ]
            scores[name] = np.full(shape, np.nan, np.float32)
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()[inverse]
            if integral is not None:
                integrals[name] = Convergence(
                    _scatter_rows(integral.completeness[inverse], chosen, len(tokens), np.nan),
                    _scatter_rows(integral.error[inverse], chosen, len(tokens), np.nan),
                    _scatter_rows(integral.nodes[inverse], chosen, len(tokens), 0),
                    _scatter_rows(tracks[inverse], chosen, len(tokens), np.nan),
                )
        flank = model.readout.required_flank
        bases = tokens_to_codes(ids_of(tokens)[:, flank : tokens.shape[1] - flank])
        # The last window of a stretch shares bases with the one before it, and their labels count
        # there alone. K-mers skip unknown bases, so that they count every base once.
        bases = np.where(windows.labels == IGNORED, N_CODE, bases)
        # A sequence with one label is a true positive as a whole.
        true_positive = np.broadcast_to(true_positive, shape).copy()
        return WindowAttribution(
            windows.window_id, bases, true_positive, scores, integrals, positions
        )

    def _score_strands(
        self, targets: Targets, name: str
    ) -> tuple[NDArray[np.float64], Integral | None]:
        """Return scores of shape (S, M, parts, T), and the integral that they are, if they are one.

        The parts of an integral are the letters and, where the model reads them, the tracks.
        """
        method, count = METHODS[name], len(targets)
        if method.substitutes:
            scores = saturation_mutagenesis(targets, self.settings).cpu().numpy()
            return scores[:, :, None], None
        copies = method.copies(self.settings)
        window, copy = np.repeat(np.arange(count), copies), np.tile(np.arange(copies), count)
        parts = _parts(targets, method)
        shape = (len(targets.inputs), count * copies, parts * targets.length)
        group = self._windows_at_once(targets, method) * copies
        if method.path:

            def evaluate(
                strand: int, paths: NDArray[np.int64], nodes: NDArray[np.float64]
            ) -> OnPath:
                path, position = np.repeat(paths, len(nodes)), np.tile(nodes, len(paths))
                points = _Points(window[path], copy[path], position)
                scores, values = self._score_points(targets, strand, points, name)
                shape = (len(paths), len(nodes))
                return OnPath(scores.view(*shape, -1), values.view(shape))

            integral = integrate(evaluate, shape, group, self.settings).mean_over(copies)
            return integral.scores.reshape(*shape[:1], count, parts, targets.length), integral
        scores = np.zeros((len(targets.inputs), count, parts, targets.length))
        for strand, strand_scores in enumerate(scores):
            for some in batches(np.arange(len(window)), group):
                points = _Points(window[some], copy[some], None)
                at_points = self._score_points(targets, strand, points, name).scores
                mean = at_points.view(-1, copies, parts, targets.length).mean(1)
                strand_scores[window[some][::copies]] = mean.cpu().numpy()
        return scores, None

    def _windows_at_once(self, targets: Targets, method: Method) -> int:
        """Return how many windows may have their scores and noise in memory at the same time."""
        settings, packing = self.settings, targets.packing
        noise = method.copies(settings) * targets.length
        scores = noise * (settings.steps + 1 if method.path else 1) * _parts(targets, method)
        fit = packing.held // scores
        return max(1, min(fit, packing.noisy // noise) if method.noisy else fit)

    def _score_points(self, targets: Targets, strand: int, points: _Points, name: str) -> OnPath:
        """Return the scores at P points, shape (P, parts, T), and the targets there, shape (P,)."""
        device, count = targets.device, len(points.window)
        scores: Tensor | None = None
        values = torch.zeros(count, dtype=torch.float64, device=device)
        inputs_of = self._inputs(targets, strand, points, METHODS[name])
        for rows, part in zip_uploaded(targets.passes(strand, points.window), device):
            given = inputs_of(rows, part)
            work = partial(self._work, name, strand, part.labels, tuple(given))
            key = (name, strand, part.labels.start, part.labels.stop, *given)
            pass_scores, pass_values = self._replay(key, work, *given.values())
            own = rows[: part.size]
            if scores is None:
                shape = (count, pass_scores.shape[1], targets.length)
                scores = torch.zeros(shape, dtype=torch.float64, device=device)
            scores[own, :, : part.length] = pass_scores[: part.size].double()
            values[own] = pass_values[: part.size].double()
        assert scores is not None
        return OnPath(scores, values)

    def _inputs(
        self, targets: Targets, strand: int, points: _Points, method: Method
    ) -> Callable[[Tensor, Pass], dict[str, Tensor]]:
        """Return a function that gathers the input tensors of a pass, by name, for `_work`."""
        device = targets.device
        window, copy = upload(points.window, device), upload(points.copy, device)
        position = noise = None
        if points.position is not None:
            position = upload(points.position.astype(np.float32), device)
        if method.noisy:
            present, number = np.unique(points.window, return_inverse=True)
            keys = draw_keys(self.settings.seed, NOISE, targets.keys[present], strand)
            shape = (targets.length, self._bases.shape[1])
            drawn = draw_noise(keys, method.copies(self.settings), shape, device)
            noise, owner = drawn.mul_(self._noise_scale), upload(number, device)

        def inputs(rows: Tensor, part: Pass) -> dict[str, Tensor]:
            windows, copies, length = window[rows], copy[rows], part.length
            own = targets.inputs[strand]
            given = {
                "ids": own.ids[windows, :length],
                "weight": targets.weight[windows, part.labels],
            }
            if own.tracks is not None:
                given["tracks"] = own.tracks[windows, :length]
                given["mean_tracks"] = own.tracks[windows].mean(1, keepdim=True)
            if targets.baselines:
                start = targets.baselines[strand]
                number = copies % len(start.ids)
                given["baseline"] = start.ids[number, windows, :length]
                if start.tracks is not None:
                    given["baseline_tracks"] = start.tracks[number, windows, :length]
            if position is not None:
                given["position"] = position[rows]
            if noise is not None:
                given["noise"] = noise[owner[rows], copies, :length]
            return given

        return inputs

    def _work(
        self, name: str, strand: int, labels: slice, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return scores, shape (R, parts, T), and targets, shape (R,), at the points of one pass.

        It may be captured as a CUDA graph. It therefore reads only the tensors it is given, the
        model, and tensors that live as long as this object.
        """
        given, score = dict(zip(names, tensors, strict=True)), METHODS[name].score
        assert score is not None
        with torch.no_grad():
            inputs = self.model.embed(given["ids"], given.get("tracks"))
            baseline = torch.zeros_like(inputs)
            if "baseline" in given:
                baseline = self.model.embed(given["baseline"], given.get("baseline_tracks"))
            noise = given.get("noise", inputs.new_zeros(()))
            point = inputs + noise
            if "position" in given:
                point = baseline + given["position"][:, None, None] * (point - baseline)
        point.requires_grad_(True)
        with torch.enable_grad():
            logits = self.model.strand_logits(point, strand, labels)
            values = (logits[..., POSITIVE] * given["weight"]).sum(1)
            (gradient,) = torch.autograd.grad(values.sum(), point)
        mean_base = self._bases.mean(0)
        if "mean_tracks" in given:
            mean_base = mean_base + self._embed_tracks(given["mean_tracks"])
        whole = PassInputs(inputs=inputs, noise=noise, baseline=baseline, mean_base=mean_base)
        parts = [whole]
        if METHODS[name].path and "tracks" in given:
            # Scores on a path are linear in the difference, which is that of letters and tracks.
            tracks = self._embed_tracks(given["tracks"])
            baseline_tracks = torch.zeros_like(tracks)
            if "baseline_tracks" in given:
                baseline_tracks = self._embed_tracks(given["baseline_tracks"])
            silent = tracks.new_zeros(())
            of_tracks = replace(whole, inputs=tracks, baseline=baseline_tracks, noise=silent)
            of_letters = replace(whole, inputs=inputs - tracks, baseline=baseline - baseline_tracks)
            parts = [of_letters, of_tracks]
        scores = torch.stack([score(gradient, part, self.settings) for part in parts], 1)
        return scores, values.detach()

    @torch.no_grad()
    def _embed_tracks(self, tracks: Tensor) -> Tensor:
        embedding = self.model.classifier.tracks
        assert embedding is not None
        embedded: Tensor = embedding(tracks)
        return embedded

    @cached_property
    def _bases(self) -> Tensor:
        """Embeddings of A, C, G and T, shape (4, d); of all k-mers, where these are the tokens."""
        with torch.no_grad():
            embeddings: Tensor = self.model.classifier.embeddings_of_bases()
            return embeddings

    @cached_property
    def _noise_scale(self) -> float:
        """Standard deviation of the noise, in units of the embeddings."""
        if self.settings.noise_unit == "absolute":
            return self.settings.noise
        spread = (self._bases - self._bases.mean(0)).square().mean().sqrt()
        return self.settings.noise * float(spread)


class _Points(NamedTuple):
    """P points of embedding space at which gradients are computed."""

    window: NDArray[np.int64]
    """Window of each point, shape (P,)."""
    copy: NDArray[np.int64]
    """Number of the window's noisy copy or baseline, shape (P,)."""
    position: NDArray[np.float64] | None
    """Position on the path from the baseline, 0, to the window, 1, shape (P,); None for the window
    itself."""


def _distinct(
    tokens: NDArray[np.uint8], true_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return one row of each group of equal ones, and the number of its group for every row."""
    read = tokens.reshape(len(tokens), prod(tokens.shape[1:]))
    rows = np.concatenate([read, true_positive.view(np.uint8)], axis=1)
    _, once, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return once, inverse


def _parts(targets: Targets, method: Method) -> int:
    """Return the number of parts of a method's scores: letters and tracks apart on a path."""
    return 2 if method.path and targets.inputs[0].tracks is not None else 1


def _share_of_tracks(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the last of two parts of scores (S, M, parts, T), shape (M,); else 0."""
    size = np.abs(parts).sum((0, 3))
    if size.shape[1] == 1:
        return np.zeros(len(size))
    share: NDArray[np.float64] = size[:, 1] / np.maximum(size.sum(1), np.finfo(float).tiny)
    return share


def _scatter_rows(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """Return an array of shape (count,) with values at their rows, `missing` elsewhere."""
    scattered = np.full(count, missing, values.dtype)
    scattered[rows] = values
    return scattered
