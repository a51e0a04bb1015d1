"""The tokenizer behaves as the published one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.model.huggingface import HyenaDNATokenizer


@pytest.fixture
def tokenizer() -> HyenaDNATokenizer:
    return HyenaDNATokenizer(model_max_length=8)


def test_letters_have_the_published_ids_and_a_sep_follows(tokenizer: HyenaDNATokenizer) -> None:
    assert tokenizer("ACGTN")["input_ids"] == [7, 8, 9, 10, 11, 1]
    assert tokenizer("ACGTN", add_special_tokens=False)["input_ids"] == [7, 8, 9, 10, 11]
    assert list(tokenizer("A")) == ["input_ids"]


def test_anything_else_is_unknown(tokenizer: HyenaDNATokenizer) -> None:
    assert tokenizer("aXR")["input_ids"] == [6, 6, 6, 1]


def test_special_tokens_have_the_published_ids(tokenizer: HyenaDNATokenizer) -> None:
    assert [
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.bos_token_id,
        tokenizer.mask_token_id,
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.eos_token_id,
    ] == [0, 1, 2, 3, 4, 6, 1]
    assert tokenizer.convert_tokens_to_ids("[RESERVED]") == 5
    assert len(tokenizer) == tokenizer.vocab_size == 12


def test_short_sequences_are_padded_on_the_left(tokenizer: HyenaDNATokenizer) -> None:
    batch = tokenizer(["AC", "ACGT"], padding=True)
    assert batch["input_ids"] == [[4, 4, 7, 8, 1], [7, 8, 9, 10, 1]]


def test_long_sequences_are_cut_before_the_sep(tokenizer: HyenaDNATokenizer) -> None:
    assert tokenizer("ACGTACGTACGT", truncation=True)["input_ids"] == [7, 8, 9, 10, 7, 8, 9, 1]


def test_ids_become_letters_again(tokenizer: HyenaDNATokenizer) -> None:
    assert tokenizer.decode([7, 8, 9, 10, 11, 1]) == "ACGTN[SEP]"
    assert tokenizer.decode([4, 7, 8, 1], skip_special_tokens=True) == "AC"


def test_special_positions_are_known(tokenizer: HyenaDNATokenizer) -> None:
    mask = tokenizer("ACG", return_special_tokens_mask=True)["special_tokens_mask"]
    assert mask == [0, 0, 0, 1]


def test_a_saved_tokenizer_is_the_same_one(tokenizer: HyenaDNATokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = HyenaDNATokenizer.from_pretrained(tmp_path)
    assert again("ACGTNx")["input_ids"] == tokenizer("ACGTNx")["input_ids"]
    assert (again.model_max_length, again.padding_side, len(again)) == (8, "left", 12)
