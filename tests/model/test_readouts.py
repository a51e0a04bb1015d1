"""What a readout gives apart from base labels: sequences, special tokens, shorter windows."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from hyena_ray.dataset.tokens import COMPLEMENT, TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Pooling, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

SEQUENCE = Readout(window=20, flank=0, lookahead=0)


def a_model(task: str, readout: Readout, **settings: object) -> WindowModel:
    parsed = ModelSettings.parse({"d_model": 16, "channels": 8, **settings}, "test")
    return build_model(parsed, readout, LoraSettings(), TASKS[task], seed=1).eval()


def some_tokens(length: int, batch: int = 3) -> Tensor:
    return torch.randint(7, 11, (batch, length), dtype=torch.uint8)


@pytest.mark.parametrize("architecture", ["hyenadna", "dilated_cnn", "bilstm", "kmer_logistic"])
def test_a_sequence_has_one_label_that_both_strands_share(architecture: str) -> None:
    model = a_model("promoter", SEQUENCE, architecture=architecture)
    tokens = some_tokens(20)
    other = torch.from_numpy(COMPLEMENT)[tokens.long()].flip(1)
    assert model(tokens).shape == (3, 1, 2)
    assert torch.allclose(model.predict(tokens), model.predict(other), atol=1e-6)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_a_sequence_is_attributed_to_every_token(pooling: str) -> None:
    model = a_model("promoter", SEQUENCE, pooling=pooling)
    embedded = (
        model.embed(*model.strand_input(model.strands(some_tokens(20))[1]))
        .detach()
        .requires_grad_()
    )
    model.strand_logits(embedded, 1)[..., 1].sum().backward()
    assert embedded.grad is not None
    assert (model.to_window(embedded.grad, 1).abs().sum(-1) > 0).all()


def test_special_tokens_end_each_strand_and_leave_causal_bases_as_they_are() -> None:
    plain = Readout(window=20, flank=4, lookahead=4)
    marked = plain.updated({"special_tokens": True}, "test")
    tokens = some_tokens(28)
    without, with_them = a_model("zdna", plain), a_model("zdna", marked)
    for strand in without.strands(tokens):
        ids, longer = without.strand_input(strand).ids, with_them.strand_input(strand).ids
        assert torch.equal(longer[:, :-1], ids)
        assert (longer[:, -1] == TOKEN_IDS["[SEP]"]).all()
    # A label reads up to its lookahead, and the token stands behind the last of them.
    assert torch.allclose(with_them.predict(tokens), without.predict(tokens), atol=1e-5)


def test_a_sequence_read_at_its_last_token_is_read_at_the_special_one() -> None:
    model = a_model("promoter", SEQUENCE.updated({"special_tokens": True}, "test"))
    ids = model.strand_input(some_tokens(20)).ids
    hidden = model.classifier.hyena(ids).last_hidden_state
    expected = model.classifier.score(hidden[:, -1])
    assert torch.allclose(model.strand_logits(model.embed(ids), 0)[:, 0], expected, atol=1e-6)


def test_windows_cut_shorter_are_labelled_as_within_the_whole() -> None:
    model = a_model("zdna", Readout(window=20, flank=4, lookahead=4))
    tokens = some_tokens(28)
    # The cut begins where the window does, so that nothing left of a base is lost.
    assert torch.allclose(model(tokens[:, :20], window=12), model(tokens)[:, :12], atol=1e-5)


def test_a_lookahead_head_labels_no_sequences() -> None:
    with pytest.raises(InputError, match=r"config: head: lookahead: labels bases"):
        a_model("promoter", SEQUENCE, head="lookahead")


def test_the_longest_input_follows_the_window_unless_it_is_stated() -> None:
    for window, flank, longest in ((20, 4, 256), (192, 32, 256), (193, 32, 512)):
        model = a_model("zdna", Readout(window=window, flank=flank, lookahead=0))
        assert model.classifier.config.max_seq_len == longest


def test_local_filters_decay_from_five_bases_upward_and_published_ones_hardly() -> None:
    def reach(filters: str) -> Tensor:
        """Bases after which each channel of the window has decayed to 1 %."""
        model = a_model("zdna", Readout(window=100), filters=filters, max_seq_len=1026)
        deltas = model.classifier.hyena.backbone.layers[0].mixer.filter_fn.modulation.deltas
        reached: Tensor = 4.60517 / deltas.abs().flatten() * 1025
        return reached

    local, published = reach("local"), reach("published")
    assert local.min() == pytest.approx(5, rel=0.01)
    assert (local < 50).sum() > 4
    assert published.min() == pytest.approx(0.3 * 1025, rel=0.01)
    assert local.max() == pytest.approx(float(published.max()), rel=0.01)
