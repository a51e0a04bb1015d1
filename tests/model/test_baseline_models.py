"""Each baseline against its definition written out."""

from __future__ import annotations

import re
from itertools import groupby, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.dataset.tokens import COMPLEMENT, encode
from hyena_ray.errors import InputError
from hyena_ray.model.baseline_models import (
    RULE_OF_TASK,
    RULES,
    BiLSTM,
    DilatedCNN,
    KmerLogisticRegression,
    RuleModel,
    kmer_ranks,
)
from hyena_ray.model.configuration import (
    BiLSTMConfig,
    DilatedCNNConfig,
    KmerLogisticConfig,
    RuleConfig,
)
from hyena_ray.tasks import TASKS

sequences = st.text("ACGTN", min_size=1, max_size=60)


def ids_of(sequence: str) -> Tensor:
    return torch.from_numpy(encode(sequence).astype(np.int64))[None]


def score_of(rule: str, sequence: str) -> list[float]:
    return RULES[rule].score(ids_of(sequence) - 7)[0].tolist()


# The networks.


def test_the_cnn_sees_both_sides_as_far_as_documented() -> None:
    model = DilatedCNN(DilatedCNNConfig(channels=8)).eval()
    embedded = torch.randn(1, 161, 8, requires_grad=True)
    model(inputs_embeds=embedded).logits[0, 80].sum().backward()
    assert embedded.grad is not None
    seen = torch.nonzero(embedded.grad[0].abs().sum(1)).flatten()
    assert (int(seen.min()), int(seen.max())) == (80 - 64, 80 + 64)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="kernel_size"):
        DilatedCNNConfig(kernel_size=8)


def test_the_bilstm_is_two_layers_of_both_directions() -> None:
    model = BiLSTM(BiLSTMConfig(channels=4)).eval()
    embedded = torch.randn(1, 7, 4, requires_grad=True)
    logits = model(inputs_embeds=embedded).logits
    hidden = embedded
    weight = dict(model.lstm.named_parameters())
    for layer in range(2):
        both = []
        for suffix in ("", "_reverse"):
            inputs = hidden[0].flip(0) if suffix else hidden[0]
            h = c = torch.zeros(4)
            states = []
            for x in inputs:
                names = (f"_ih_l{layer}{suffix}", f"_hh_l{layer}{suffix}")
                gates = sum(
                    weight[f"weight{name}"] @ value + weight[f"bias{name}"]
                    for name, value in zip(names, (x, h), strict=True)
                )
                i, f, g, o = gates.chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                states.append(h)
            both.append(torch.stack(states[::-1] if suffix else states))
        hidden = torch.cat(both, dim=1)[None]
    assert torch.allclose(model.score(hidden), logits, atol=1e-6)
    logits[0, 3].sum().backward()
    assert embedded.grad is not None
    assert embedded.grad[0].abs().sum(1).min() > 0, "every base sees all others"


# k-mers.


def regression(k: int, radius: int, pooling: str | None) -> KmerLogisticRegression:
    model = KmerLogisticRegression(KmerLogisticConfig(k=k, radius=radius, pooling=pooling))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    return model.eval()


def counted(sequence: str, k: int) -> Tensor:
    """(4**k,) counts of k-mers, by search."""
    kmers = ["".join(letters) for letters in product("ACGT", repeat=k)]
    return torch.tensor([float(len(re.findall(f"(?={kmer})", sequence))) for kmer in kmers])


@given(sequences, st.integers(1, 3), st.integers(1, 6))
def test_the_regression_is_linear_in_the_counts_around_a_base(
    sequence: str, k: int, radius: int
) -> None:
    model = regression(k, radius, None)
    counts = torch.stack(
        [
            counted(sequence[max(0, base - radius) : base + radius + 1], k)
            for base in range(len(sequence))
        ]
    )
    expected = counts @ model.score.weight + model.score.bias
    assert torch.allclose(model(ids_of(sequence)).logits[0], expected, atol=1e-4)


@given(sequences, st.integers(1, 3), st.integers(0, 4))
def test_the_regression_counts_over_a_sequence_without_its_padding(
    sequence: str, k: int, padding: int
) -> None:
    model = regression(k, 3, "mean")
    expected = counted(sequence, k) @ model.score.weight + model.score.bias
    ids = F.pad(ids_of(sequence), (padding, 2 * padding), value=4)
    assert torch.allclose(model(ids).logits[0], expected, atol=1e-4)


def test_kmers_are_ranked_in_lexicographic_order() -> None:
    kmers = ["".join(letters) for letters in product("ACGT", repeat=3)]
    assert [int(kmer_ranks(ids_of(kmer), 3)) for kmer in kmers] == list(range(64))
    assert kmer_ranks(ids_of("ACNGTA"), 3).tolist() == [[64, 64, 64, 0b101100]]


def test_a_kmer_longer_than_its_window_is_refused() -> None:
    with pytest.raises(InputError, match="config: k: 6: not within 1 to 5"):
        KmerLogisticConfig(k=6, radius=2)


# Rules.


def g4hunter_by_hand(sequence: str) -> list[float]:
    values: list[float] = []
    for letter, run in groupby(sequence):
        length = len(list(run))
        values += [{"G": 1, "C": -1}.get(letter, 0) * min(length, 4)] * length
    size = min(25, len(sequence))
    best = [0.0] * len(sequence)
    for start in range(len(sequence) - size + 1):
        mean = abs(sum(values[start : start + size])) / size
        for base in range(start, start + size):
            best[base] = max(best[base], mean)
    return best


@given(sequences)
def test_g4hunter_is_what_its_definition_says(sequence: str) -> None:
    assert score_of("g4hunter", sequence) == pytest.approx(g4hunter_by_hand(sequence), abs=1e-5)


def test_g4hunter_scores_known_sequences() -> None:
    telomere = "GGGTTAGGGTTAGGGTTAGGGTTAG"  # four runs of three, and one G
    assert score_of("g4hunter", telomere) == pytest.approx([(4 * 9 + 1) / 25] * 25)
    assert score_of("g4hunter", "GGGGGG") == pytest.approx([4.0] * 6), "a run counts up to 4"
    assert score_of("g4hunter", "GGCC" * 6) == pytest.approx([0.0] * 24), "G and C cancel out"
    assert score_of("g4hunter", "C" * 25 + "A" * 25) == pytest.approx(
        [4.0] * 25 + [4 * (24 - i) / 25 for i in range(25)]
    )


STEPS = {
    **dict.fromkeys(["CG", "GC"], 3.0),
    **dict.fromkeys(["CA", "AC", "TG", "GT"], 1.0),
    **dict.fromkeys(["AT", "TA"], -2.0),
}


@given(st.text("ACGTN", min_size=1, max_size=14))
def test_alternation_is_the_best_sum_of_steps_over_segments_that_hold_the_base(
    sequence: str,
) -> None:
    def weight(step: str) -> float:
        return -1e4 if "N" in step else STEPS.get(step, -6.0)

    expected = []
    for base in range(len(sequence)):
        sums = [
            sum(weight(sequence[i : i + 2]) for i in range(start, end))
            for start in range(base + 1)
            for end in range(base, len(sequence))
        ]
        expected.append(max(sums))
    assert score_of("alternation", sequence) == pytest.approx(expected)
    after_many = score_of("alternation", "N" * 1000 + sequence)[1000:]
    assert after_many == pytest.approx(expected)


def test_alternation_prefers_cg_to_ca_to_ta_and_breaks_elsewhere() -> None:
    middle = [score_of("alternation", "A" * 9 + 6 * step + "A" * 9)[14] for step in ("CG", "CA")]
    assert middle == [3.0 * 11 + 1.0, 12.0]
    assert score_of("alternation", "TA" * 8) == [0.0] * 16
    assert max(score_of("alternation", "CCTTAAGG")) == 0.0


@given(sequences)
def test_gc_content_is_a_share_of_the_known_bases(sequence: str) -> None:
    known = sequence.replace("N", "")
    expected = sum(letter in "GC" for letter in known) / max(len(known), 1)
    whole = RULES["gc_content"].whole(ids_of(sequence) - 7)
    assert whole.tolist() == pytest.approx([expected])
    per_base = score_of("gc_content", sequence)
    for base, found in enumerate(per_base):
        near = sequence[max(0, base - 12) : base + 13].replace("N", "")
        assert found == pytest.approx(sum(letter in "GC" for letter in near) / max(len(near), 1))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_the_same_of_both_strands(rule: str) -> None:
    tokens = np.random.default_rng(0).integers(7, 12, (4, 90), np.uint8)
    other = torch.from_numpy(COMPLEMENT[tokens[:, ::-1]].astype(np.int64)) - 7
    codes = torch.from_numpy(tokens.astype(np.int64)) - 7
    assert torch.allclose(RULES[rule].score(other).flip(1), RULES[rule].score(codes), atol=1e-5)
    assert torch.allclose(RULES[rule].whole(other), RULES[rule].whole(codes), atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pooling", [None, "mean"])
def test_of_a_rule_a_scale_and_an_offset_are_fitted(rule: str, pooling: str | None) -> None:
    model = RuleModel(RuleConfig(rule=rule, pooling=pooling))
    assert sum(parameter.numel() for parameter in model.parameters()) == 2
    sequence = "ACGCGCGCATGGGTTAGGGAAGGGTAGGGNNACCA"
    codes = ids_of(sequence) - 7
    scores = (RULES[rule].whole if pooling else RULES[rule].score)(codes)
    with torch.no_grad():
        model.score.weight.fill_(1.5)
        model.score.bias.fill_(-0.5)
    expected = (1.5 * (scores - RULES[rule].centre) / RULES[rule].unit - 0.5).sigmoid()
    found = model(ids_of(sequence)).logits.softmax(-1)[..., 1]
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_padding_has_no_part_in_a_sequences_score(rule: str) -> None:
    sequence = "ACGCGCGCATGGGTTAGGGAAGGGTAGGGCC"
    padded = F.pad(ids_of(sequence), (40, 3), value=4)
    whole = RULES[rule].whole
    model = RuleModel(RuleConfig(rule=rule, pooling="last"))
    assert torch.allclose(model(padded).logits, model(ids_of(sequence)).logits, atol=1e-5)
    assert whole(ids_of(sequence) - 7).shape == (1,)


def test_every_task_has_its_rule() -> None:
    assert RULE_OF_TASK.keys() == TASKS.keys()
    assert set(RULE_OF_TASK.values()) == set(RULES)


def test_an_unknown_rule_or_a_third_class_is_refused() -> None:
    with pytest.raises(InputError, match="rule: astrology: unknown; use alternation, g4hunter"):
        RuleModel(RuleConfig(rule="astrology"))
    with pytest.raises(InputError, match="num_labels: 3"):
        RuleModel(RuleConfig(num_labels=3))
