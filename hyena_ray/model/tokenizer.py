"""The published character tokenizer as a Hugging Face class.

Windows do not pass through it: dataset/tokens.py encodes them, with the same ids and without
special tokens.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizer

from hyena_ray.dataset.tokens import TOKEN_IDS

_LETTERS = {token_id: token for token, token_id in TOKEN_IDS.items()}


class HyenaDNATokenizer(PreTrainedTokenizer):
    """One token per letter; appends [SEP] and pads on the left, as published.

    Anything but A C G T N, lower case included, becomes [UNK].
    """

    model_input_names = ("input_ids",)

    def __init__(
        self,
        model_max_length: int = 1_000_002,
        bos_token: str = "[BOS]",
        eos_token: str = "[SEP]",
        sep_token: str = "[SEP]",
        cls_token: str = "[CLS]",
        pad_token: str = "[PAD]",
        mask_token: str = "[MASK]",
        unk_token: str = "[UNK]",
        padding_side: str = "left",
        **options: Any,
    ) -> None:
        options["special_tokens_pattern"] = "eos"  # transformers' name for a last token alone
        super().__init__(
            model_max_length=model_max_length,
            bos_token=bos_token,
            eos_token=eos_token,
            sep_token=sep_token,
            cls_token=cls_token,
            pad_token=pad_token,
            mask_token=mask_token,
            unk_token=unk_token,
            padding_side=padding_side,
            **options,
        )

    @property
    def vocab_size(self) -> int:
        return len(TOKEN_IDS)

    def get_vocab(self) -> dict[str, int]:
        return dict(TOKEN_IDS)

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        return ()  # the vocabulary is fixed

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return TOKEN_IDS.get(token, TOKEN_IDS["[UNK]"])

    def _convert_id_to_token(self, index: int) -> str:
        return _LETTERS[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)
