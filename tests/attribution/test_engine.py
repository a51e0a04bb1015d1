"""Attribution against captum and literal loops, on a small model and on HyenaDNA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from hyena_ray.attribution import engine, targets
from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, count_kmers, fold_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.path_baselines import (
    NOISE,
    SHUFFLES,
    draw_keys,
    draw_noise,
    sequence_keys,
    shuffle_tokens,
)
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.tables import kmer_table
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.stretches import cut_windows
from hyena_ray.dataset.tokens import IGNORED, reverse_complement
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel
from tests.attribution.small_model import (
    FLANK,
    WINDOW,
    CpGModel,
    SmallModel,
    draw_windows,
    hyenadna,
)


def with_tracks(strands: str = "both", seed: int = 0) -> WindowModel:
    """HyenaDNA whose tracks depend on more bases than it reads as tokens."""
    return hyenadna(strands, seed, flank=4, tracks=("zhunt",))


MODELS = {"convolutions": SmallModel, "hyenadna": hyenadna, "tracks": with_tracks}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def settings(**changes) -> AttributionSettings:
    return AttributionSettings(
        **{"batch": 150, "samples": 3, "steps": 8, "tolerance": None, "shuffles": 1} | changes
    )


def key_of(model, windows, row):
    """Key of the bases that the model reads of a window, shape (1,)."""
    stored = (windows.tokens.shape[1] - WINDOW) // 2
    flank = model.readout.flank
    return sequence_keys(windows.tokens[row : row + 1, stored - flank : stored + WINDOW + flank])


def mean_bases(model, windows, row):
    """Embedding of a mean base of a window with its mean tracks, on each strand."""
    letters = model.classifier.get_input_embeddings()(torch.arange(7, 11)).detach().mean(0)
    strands = []
    for own in model.strands(torch.from_numpy(windows.tokens[row : row + 1])):
        tracks = model.strand_input(own).tracks
        embedded = 0 if tracks is None else model.classifier.tracks(tracks.mean(1)).detach()
        strands.append(letters + embedded)
    return strands


def noise_of(model, windows, row, strand, copies, shape):
    """Noise of the copies of a window on a strand, shape (copies, T, d)."""
    keys = draw_keys(0, NOISE, key_of(model, windows, row), strand)
    return draw_noise(keys, copies, tuple(shape), torch.device("cpu"))[0]


def literal(model, windows, row, chosen, number=0):
    """Per strand of one window: embeddings, those of a baseline, target; and its true positives.

    Written as in the algorithms, one window and one strand at a time.
    """
    stored = (windows.tokens.shape[1] - WINDOW) // 2
    tokens = windows.tokens[row : row + 1, stored - FLANK : stored + WINDOW + FLANK]
    probability = model.predict(torch.from_numpy(tokens)).softmax(-1)[0, :, 1].detach().numpy()
    hits = (probability >= model.threshold) & (windows.labels[row] == 1)
    weight = torch.from_numpy(hits.astype(np.float32))
    if chosen.normalise:
        weight = weight / max(hits.sum(), 1)
    other = tokens.copy()
    if chosen.baseline == "shuffle":
        unread = FLANK - model.readout.flank
        read = other[:, unread : other.shape[1] - unread]
        keys = draw_keys(chosen.seed, SHUFFLES, key_of(model, windows, row), number)
        read[:] = shuffle_tokens(read, keys)
    elif chosen.baseline == "n":
        other[:] = 11
    strands = []
    for strand, both in enumerate(
        zip(*(model.strands(torch.from_numpy(t)) for t in (tokens, other)), strict=True)
    ):
        x, start = (model.embed(*model.strand_input(own)).detach() for own in both)
        if chosen.baseline == "zero":
            start = torch.zeros_like(x)

        def target(points, strand=strand):
            return (model.strand_logits(points, strand)[..., 1] * weight).sum(1)

        strands.append((x, start, target))
    return strands, hits


@pytest.mark.parametrize("baseline", ["shuffle", "n", "zero"])
def test_integrated_gradients_are_those_of_captum(model, baseline):
    windows = draw_windows(9)
    chosen = settings(methods=("ig",), baseline=baseline)
    found = attribute_windows(model, windows, chosen)
    assert found.true_positive.any(axis=1).sum() >= 3
    for row in range(9):
        strands, hits = literal(model, windows, row, chosen)
        assert (found.true_positive[row] == hits).all()
        if not hits.any():
            assert np.isnan(found.scores["ig"][row]).all()
            continue
        expected = []
        for strand, (x, start, target) in enumerate(strands):
            attribution = IntegratedGradients(target).attribute(
                x, start, n_steps=chosen.steps, method="gausslegendre"
            )
            expected.append(model.to_window(attribution.sum(-1), strand)[0])
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores["ig"][row], expected, atol=bound)


def test_scores_are_the_mean_over_the_shuffled_baselines(model):
    windows = draw_windows(6)
    chosen = settings(methods=("ig",), shuffles=3)
    found = attribute_windows(model, windows, chosen)
    single = attribute_windows(model, windows, settings(methods=("ig",)))
    for row in np.flatnonzero(found.true_positive.any(axis=1)):
        expected = []
        for number in range(3):
            strands, _ = literal(model, windows, row, chosen, number)
            for strand, (x, start, target) in enumerate(strands):
                attribution = IntegratedGradients(target).attribute(x, start, n_steps=chosen.steps)
                expected.append(model.to_window(attribution.sum(-1), strand)[0])
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores["ig"][row], expected, atol=bound)
        assert np.abs(single.scores["ig"][row] - expected).max() > 10 * bound


@pytest.mark.parametrize("kind", ["signed", "absolute"])
@pytest.mark.parametrize("unit", ["spread", "absolute"])
def test_smoothgrad_is_that_of_a_literal_loop_over_the_same_noise(model, kind, unit):
    windows = draw_windows(6)
    chosen = settings(methods=("smoothgrad",), smoothgrad=kind, noise_unit=unit, noise=0.2)
    found = attribute_windows(model, windows, chosen)
    bases = model.classifier.get_input_embeddings()(torch.arange(7, 11)).detach()
    scale = 0.2
    if unit == "spread":
        scale *= float((bases - bases.mean(0)).square().mean().sqrt())
    for row in np.flatnonzero(found.true_positive.any(axis=1)):
        strands, _ = literal(model, windows, row, chosen)
        expected, usual = [], mean_bases(model, windows, row)
        for strand, (x, _, target) in enumerate(strands):
            per_base = torch.zeros(x.shape[1])
            for noise in noise_of(model, windows, row, strand, chosen.samples, x.shape[1:]):
                point = (x + scale * noise).requires_grad_()
                (gradient,) = torch.autograd.grad(target(point).sum(), point)
                weighted = gradient.abs() if kind == "absolute" else gradient * (x - usual[strand])
                per_base += weighted[0].sum(-1) / chosen.samples
            expected.append(model.to_window(per_base[None], strand)[0])
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores["smoothgrad"][row], expected, atol=bound)


@pytest.mark.parametrize("baseline", ["shuffle", "zero"])
def test_noisy_integrated_gradients_are_the_mean_of_captums_over_the_same_noise(model, baseline):
    windows = draw_windows(6)
    chosen = settings(methods=("noisy_ig",), baseline=baseline, noise_unit="absolute", noise=0.2)
    found = attribute_windows(model, windows, chosen)
    for row in np.flatnonzero(found.true_positive.any(axis=1)):
        strands, _ = literal(model, windows, row, chosen)
        expected, change, gaps = [], 0.0, []
        for strand, (x, start, target) in enumerate(strands):
            per_base = torch.zeros(x.shape[1])
            for drawn in noise_of(model, windows, row, strand, chosen.samples, x.shape[1:]):
                noise = 0.2 * drawn
                attribution, delta = IntegratedGradients(target).attribute(
                    x + noise,
                    start,
                    n_steps=chosen.steps,
                    method="gausslegendre",
                    return_convergence_delta=True,
                )
                per_base += attribution[0].sum(-1) / chosen.samples
                gaps.append(abs(float(delta[0])) / chosen.samples)
                change += (target(x + noise) - target(start)).item() / chosen.samples
            expected.append(model.to_window(per_base[None], strand)[0])
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores["noisy_ig"][row], expected, atol=bound)
        completeness = found.integrals["noisy_ig"].completeness[row]
        assert completeness == pytest.approx(sum(gaps) / abs(change), rel=0.01, abs=1e-4)


def test_input_x_gradient_is_what_a_base_adds_over_the_mean_of_the_four(model):
    windows = draw_windows(6)
    found = attribute_windows(model, windows, settings(methods=("input_x_gradient",)))
    for row in np.flatnonzero(found.true_positive.any(axis=1)):
        strands, _ = literal(model, windows, row, settings())
        expected, usual = [], mean_bases(model, windows, row)
        for strand, (x, _, target) in enumerate(strands):
            point = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(target(point).sum(), point)
            per_base = (gradient * (x - usual[strand])).sum(-1)
            expected.append(model.to_window(per_base, strand)[0])
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores["input_x_gradient"][row], expected, atol=bound)


@pytest.mark.parametrize(("kind", "letters"), [("bases", [7, 8, 9, 10]), ("n", [11])])
def test_ism_is_the_mean_loss_over_all_bases_in_the_place_of_one(model, kind, letters):
    windows = draw_windows(6)
    found = attribute_windows(model, windows, settings(methods=("ism",), ism_substitute=kind))
    for row in np.flatnonzero(found.true_positive.any(axis=1)):
        strands, _ = literal(model, windows, row, settings())
        expected = []
        for strand, (_, _, target) in enumerate(strands):
            own = model.strands(torch.from_numpy(windows.tokens[row : row + 1]))[strand]
            per_base = torch.zeros(WINDOW)
            before = target(model.embed(*model.strand_input(own))).item()
            for base in range(WINDOW):
                others = [letter for letter in letters if letter != own[0, FLANK + base]]
                if others:
                    changed = own.repeat(len(others), 1)
                    changed[:, FLANK + base] = torch.tensor(others, dtype=torch.uint8)
                    after = target(model.embed(*model.strand_input(changed))).detach()
                    per_base[base] = before - after.mean()
            expected.append(per_base.flip(0) if strand else per_base)
        expected = torch.stack(expected).mean(0).numpy()
        bound = 1e-4 * np.abs(expected).max() + 1e-6
        np.testing.assert_allclose(found.scores["ism"][row], expected, atol=bound)


def test_the_plain_sum_of_a_gradient_vanishes_on_hyenadna_so_signed_means_more():
    model, windows = hyenadna(), draw_windows(6)
    found = attribute_windows(model, windows, settings(methods=("smoothgrad",)))
    row = int(np.flatnonzero(found.true_positive.any(axis=1))[0])
    strands, _ = literal(model, windows, row, settings())
    x, _, target = strands[0]
    point = x.requires_grad_()
    (gradient,) = torch.autograd.grad(target(point).sum(), point)
    assert gradient.sum(-1).abs().max() < 1e-5 * gradient.abs().sum(-1).max()
    assert np.abs(found.scores["smoothgrad"][row]).max() > 1e-3 * float(
        gradient.abs().sum(-1).max()
    )


@pytest.mark.parametrize("baseline", ["shuffle", "n"])
def test_completeness_counts_the_flanks_and_shrinks_with_the_steps(model, baseline):
    windows = draw_windows(9)
    errors = [
        attribute_windows(model, windows, settings(methods=("ig",), steps=steps, baseline=baseline))
        .integrals["ig"]
        .completeness
        for steps in (1, 16)
    ]
    attributed = np.isfinite(errors[0])
    assert attributed.any()
    assert not attributed.all()
    assert np.nanmedian(errors[1]) < 1e-3 < np.nanmedian(errors[0])


def test_a_window_does_not_depend_on_its_neighbours(model):
    windows = draw_windows(12)
    chosen = settings()
    together = attribute_windows(model, windows, chosen)
    order = np.array([7, 1, 4, 11])
    apart = attribute_windows(model, windows.rows(order), chosen)
    for name in ("ig", "smoothgrad"):
        np.testing.assert_allclose(
            apart.scores[name], together.scores[name][order], rtol=1e-3, atol=1e-5
        )


def test_the_same_windows_give_the_same_bits(model):
    first, again = (attribute_windows(model, draw_windows(9), settings()) for _ in range(2))
    for name in ("ig", "smoothgrad"):
        assert first.scores[name].tobytes() == again.scores[name].tobytes()


def test_another_seed_changes_shuffles_and_noise():
    model, windows = SmallModel(), draw_windows(6)
    first, other = (attribute_windows(model, windows, settings(seed=seed)) for seed in (0, 1))
    for name in ("ig", "smoothgrad"):
        assert (np.nan_to_num(first.scores[name]) != np.nan_to_num(other.scores[name])).any()


@pytest.mark.parametrize("baseline", ["n", "zero"])
def test_with_both_strands_the_reverse_complement_gets_the_flipped_scores(model, baseline):
    windows = draw_windows(9)
    turned = windows._replace(
        tokens=reverse_complement(windows.tokens), labels=windows.labels[:, ::-1].copy()
    )
    chosen = settings(methods=("ig",), baseline=baseline)
    forward, reverse = (attribute_windows(model, w, chosen) for w in (windows, turned))
    np.testing.assert_allclose(
        reverse.scores["ig"][:, ::-1], forward.scores["ig"], rtol=1e-3, atol=1e-5
    )


def test_one_strand_only_reads_the_forward_one():
    windows = draw_windows(9)
    model = SmallModel("forward")
    found = attribute_windows(model, windows, settings(methods=("ig",)))
    assert len(model.strands(torch.from_numpy(windows.tokens))) == 1
    assert np.isfinite(found.integrals["ig"].completeness).any()


def test_normalising_divides_by_the_number_of_true_positives(model):
    windows = draw_windows(9)
    plain, normalised = (
        attribute_windows(model, windows, settings(methods=("ig",), normalise=flag))
        for flag in (False, True)
    )
    count = plain.true_positive.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        normalised.scores["ig"] * count, plain.scores["ig"], rtol=1e-3, atol=1e-5
    )


def test_passes_have_the_size_that_is_asked_for_and_the_last_has_the_rest():
    model, length = SmallModel(), WINDOW + 2 * FLANK
    chosen = settings(methods=("smoothgrad",), samples=4, batch=7 * length)
    found = attribute_windows(model, draw_windows(12), chosen)
    points = found.true_positive.any(axis=1).sum() * 4
    assert model.backward_passes == 2 * ([7] * (points // 7) + [points % 7])


def test_only_windows_with_true_positives_go_through_the_model():
    model, windows = SmallModel(), draw_windows(12)
    chosen = settings(methods=("smoothgrad",), batch=1, samples=4)
    found = attribute_windows(model, windows, chosen)
    assert len(model.backward_passes) == found.true_positive.any(axis=1).sum() * 4 * 2


def test_equal_windows_are_computed_once():
    model, windows = SmallModel(), draw_windows(6)
    once = attribute_windows(model, windows, settings())
    passes = sum(model.backward_passes)
    twice = windows.rows(np.array([4, 0, 1, 2, 3, 4, 5, 1, 2]))
    twice = twice._replace(window_id=np.arange(9))
    again = attribute_windows(model, twice, settings())
    assert sum(model.backward_passes) == 2 * passes
    for name, scores in once.scores.items():
        expected = scores[[4, 0, 1, 2, 3, 4, 5, 1, 2]]
        np.testing.assert_array_equal(again.scores[name], expected)


def test_windows_with_other_true_positives_are_not_equal():
    model, windows = SmallModel(), draw_windows(6)
    model.threshold = 0.0
    both = windows.rows(np.array([1, 1]))
    both.labels[:] = 0
    both.labels[0, 3:6], both.labels[1, 9:12] = 1, 1
    scores = attribute_windows(model, both, settings(methods=("ig",))).scores["ig"]
    assert (scores[0] != scores[1]).any()


@pytest.mark.parametrize("head", ["linear", "lookahead"])
@pytest.mark.parametrize("strands", ["forward", "both"])
def test_what_a_causal_model_need_not_read_changes_no_score(head, strands, monkeypatch):
    model, windows = hyenadna(strands, head=head), draw_windows(12)
    model.threshold = 0.0
    labels = np.zeros_like(windows.labels)
    for row, first in enumerate((0, 0, 3, 5, 8, 8, 11, 13, 16, 17, 18, 19)):
        labels[row, first : first + 1 + row % 3] = 1
    windows = windows._replace(labels=labels)
    chosen = settings(methods=("ig", "smoothgrad", "input_x_gradient", "ism"))
    lengths: list[int] = []
    real = model.strand_logits

    def counted(embeddings, *rest):
        lengths.append(embeddings.shape[1])
        return real(embeddings, *rest)

    monkeypatch.setitem(targets.PACKING, "cpu", targets.PACKING["cpu"]._replace(grain=1))
    monkeypatch.setattr(model, "strand_logits", counted)
    cut = attribute_windows(model, windows, chosen)
    assert len(set(lengths)) > 3
    monkeypatch.setattr(model, "receptive_end", lambda strand, labels: FLANK + WINDOW + 4)
    whole = attribute_windows(model, windows, chosen)
    assert max(lengths) == FLANK + WINDOW + 4
    for name, expected in whole.scores.items():
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(cut.scores[name], expected, atol=bound)
        assert (expected != 0).any()


def test_a_base_counts_only_when_it_is_labelled_and_predicted():
    model, windows = SmallModel(), draw_windows(12)
    model.threshold = 0.0
    everything = attribute_windows(model, windows, settings(methods=("tp",)))
    assert (everything.true_positive == (windows.labels == 1)).all()
    model.threshold = 1.1
    nothing = attribute_windows(model, windows, settings())
    assert not nothing.true_positive.any()
    assert np.isnan(nothing.scores["ig"]).all()
    assert model.backward_passes == []


def test_bases_that_windows_of_a_stretch_share_count_once():
    model, numbers, stretch = SmallModel(), np.random.default_rng(0), 50
    model.threshold = 0.0
    starts = stretch * np.arange(4)
    stretches = Windows(
        window_id=starts,
        contig=np.full(4, "c"),
        start=starts,
        tokens=numbers.integers(7, 11, (4, stretch + 2 * FLANK), np.uint8),
        labels=np.ones((4, stretch), np.int8),
        kind=np.zeros(4, np.uint8),
    )
    windows = cut_windows(stretches, WINDOW)
    assert len(windows.start) * WINDOW > stretches.labels.size
    found = attribute_windows(model, windows, settings(methods=("tp",)))
    counts = count_kmers(found.bases, found.true_positive, KmerConfig(k=1))
    bases = stretches.tokens[:, FLANK:-FLANK] - 7
    expected = np.bincount(bases.ravel(), minlength=4)
    assert counts.occurrences.tolist() == counts.tp_count.tolist() == expected.tolist()


def test_stored_flanks_beyond_the_models_do_not_matter(model):
    wide = draw_windows(6, flank=FLANK + 5)
    narrow = wide._replace(tokens=wide.tokens[:, 5:-5])
    first, second = (attribute_windows(model, w, settings()) for w in (wide, narrow))
    assert first.scores["ig"].tobytes() == second.scores["ig"].tobytes()
    assert first.bases.tobytes() == second.bases.tobytes()
    inner = wide.tokens[:, FLANK + 5 : -FLANK - 5] - 7
    assert (first.bases == np.where(wide.labels == IGNORED, 4, inner)).all()


def test_the_model_is_left_as_it_was(model):
    model.train()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attribute_windows(model, draw_windows(6), settings())
    assert model.training
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_weights_are_frozen_again_after_a_failure(monkeypatch):
    model = SmallModel()
    monkeypatch.setattr(engine, "true_positives", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attribute_windows(model, draw_windows(6), settings())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_inference_mode_before_does_not_spoil_the_gradients():
    # Filters that were cached in inference mode must not meet autograd.
    model, windows = hyenadna(), draw_windows(6)
    model.requires_grad_(False)
    with torch.inference_mode():
        model.predict(torch.from_numpy(windows.tokens))
    assert np.isfinite(attribute_windows(model, windows, settings()).scores["ig"]).any()


def test_windows_that_the_model_cannot_read_are_refused():
    model = SmallModel()
    with pytest.raises(InputError, match=r"the model reads windows of 20; prepare .* --lengths 20"):
        attribute_windows(model, draw_windows(3, length=30))
    with pytest.raises(InputError, match=f"flank 2: the model needs a flank of {FLANK}"):
        attribute_windows(model, draw_windows(3, flank=2))


EXACT = [name for name, method in METHODS.items() if method.scores_bases]


@pytest.mark.parametrize("method", EXACT)
def test_the_motif_that_a_model_looks_at_leads_its_table(method):
    model = CpGModel()
    windows = draw_windows(60)
    found = attribute_windows(
        model, windows, settings(methods=(method,), baseline="n", samples=20, batch=4096)
    )
    sums = fold_kmers(found.bases, found.scores[method], KmerConfig(k=2), found.true_positive)
    table = kmer_table(sums)
    assert table["kmer"][0].as_py() == "CG"
    assert table["q_value"][0].as_py() < 1e-3
    best, second = table["score"].to_pylist()[:2]
    assert best > 1.3 * second


def test_the_scores_of_letters_and_tracks_are_told_apart():
    windows = draw_windows(9)
    found = attribute_windows(with_tracks(), windows, settings(methods=("ig", "smoothgrad")))
    rows = found.true_positive.any(axis=1)
    share = found.integrals["ig"].tracks
    assert ((share[rows] > 0) & (share[rows] < 1)).all()
    assert np.isnan(share[~rows]).all()
    assert found.integrals["ig"].summary(None)["tracks_mean"] == pytest.approx(share[rows].mean())
    # A model that hears nothing of its tracks has no share of them.
    deaf = with_tracks()
    torch.nn.init.zeros_(deaf.classifier.tracks.out_proj.weight)
    without = hyenadna(flank=4)
    without.load_state_dict(
        {name: value for name, value in deaf.state_dict().items() if ".tracks." not in name}
    )
    for model in (deaf, without):
        scored = attribute_windows(model, windows, settings(methods=("ig",)))
        assert (scored.integrals["ig"].tracks[scored.true_positive.any(axis=1)] == 0).all()
    np.testing.assert_allclose(
        attribute_windows(deaf, windows, settings()).scores["ig"],
        attribute_windows(without, windows, settings()).scores["ig"],
        atol=1e-6,
    )


def test_a_model_of_tracks_alone_scores_the_letters_that_they_are_measured_from():
    """Its letters have no embeddings of their own: mutagenesis and integrals see the tracks."""
    model = with_tracks()
    torch.nn.init.zeros_(model.classifier.get_input_embeddings().weight)
    windows = draw_windows(9)
    found = attribute_windows(model, windows, settings(methods=("ig", "ism")))
    rows = found.true_positive.any(axis=1)
    assert rows.any()
    np.testing.assert_allclose(found.integrals["ig"].tracks[rows], 1)
    assert (np.abs(found.scores["ism"][rows]).max(1) > 0).all()
