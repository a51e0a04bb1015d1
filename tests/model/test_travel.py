"""A saved model loads wherever Hugging Face models do, and gives the same bits."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import peft
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from hyena_ray.dataset.tokens import encode
from hyena_ray.model.build import build_model
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNATokenizer
from hyena_ray.model.saved import ADAPTER, load_window_model, save_window_model
from hyena_ray.model.settings import (
    TASKS_OF,
    Architecture,
    LoraSettings,
    ModelSettings,
    Readout,
    Targets,
)
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from tests.model.hub_classes import hub_class

AUTO = {"zdna": AutoModelForTokenClassification, "promoter": AutoModelForSequenceClassification}
PEFT_TARGETS = [targets for targets in get_args(Targets) if targets != "short_filter"]
# Of peft 0.21, which asks transformers 5 under an old name.
PEFT_WARNING = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


def is_for(architecture: str, task: str) -> bool:
    """Whether an architecture is made for a task."""
    return task in TASKS_OF.get(architecture, TASKS)


def build(task: str, lora: LoraSettings | None = None, **settings: Any) -> WindowModel:
    of_bases = task == "zdna"
    readout = Readout(window=20, flank=4 * of_bases, lookahead=4 * of_bases)
    if settings.pop("tracks", False):
        readout = readout.updated({"tracks": ["zhunt"]}, "test")
    return build_model(
        ModelSettings(**{"d_model": 16, "channels": 8, "k": 3, "radius": 4} | settings),
        readout,
        lora or LoraSettings(),
        TASKS[task],
        seed=0,
    ).eval()


def shaken(model: WindowModel) -> WindowModel:
    """As if trained: whatever trains differs from its start, and batch norms have seen data."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.3)
    return model


def aligned(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights elsewhere: those of a mapped file begin at any byte, and the order in which
    torch sums depends on that."""
    return copy.deepcopy(model)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    # torch takes other ways to a sum where a gradient is wanted.
    with torch.inference_mode():
        yield


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(7, 12, (3, 20))


@pytest.mark.parametrize(
    ("architecture", "task"),
    [(name, task) for name in get_args(Architecture) for task in AUTO if is_for(name, task)],
)
def test_auto_classes_give_the_bits_of_our_own(
    architecture: str, task: str, ids: Tensor, tmp_path: Path
) -> None:
    model = shaken(build(task, architecture=architecture))
    save_window_model(model, tmp_path / "model")
    logits = model.classifier(ids).logits
    assert torch.equal(load_window_model(tmp_path / "model").classifier(ids).logits, logits)
    found = aligned(AUTO[task].from_pretrained(tmp_path / "model"))
    kind = TASKS[task].kind
    assert type(found) is hub_class(model.classifier.config.model_type, kind)
    assert not found.training
    assert torch.equal(found(ids).logits, logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("architecture", "num_labels", "task"),
    [
        (name, labels, task)
        for task in AUTO
        for name, labels in [
            *((name, 2) for name in get_args(Architecture)),
            ("hyenadna", 3),
            ("bilstm", 1),
        ]
        if is_for(name, task)
    ],
)
def test_a_saved_folder_is_byte_for_byte_what_transformers_writes(
    architecture: str, task: str, num_labels: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    if architecture == "nucleotide_transformer" and dtype == torch.bfloat16:
        pytest.skip("transformers stores the rotary frequencies of ESM in float32 all the same")
    trained = TASKS[task]
    readout = Readout(window=20, flank=0, lookahead=0)
    model = build_model(
        ModelSettings(architecture=architecture, d_model=16, channels=8, k=3, radius=4),
        readout,
        LoraSettings(),
        replace(trained, num_labels=num_labels),
        (0.7, 2.0, 1.0)[:num_labels],
        seed=0,
    )
    save_window_model(model.to(dtype), tmp_path / "ours")
    hub = hub_class(model.classifier.config.model_type, trained.kind)
    theirs = hub.from_pretrained(tmp_path / "ours", dtype=dtype)
    assert theirs.config.num_labels == num_labels
    theirs.save_pretrained(tmp_path / "theirs")
    HyenaDNATokenizer().save_pretrained(tmp_path / "theirs")
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer_config.json"}
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_auto_model_has_the_states_below_the_head_or_the_whole_baseline(
    architecture: str, ids: Tensor, tmp_path: Path
) -> None:
    model = shaken(build("zdna", architecture=architecture))
    save_window_model(model, tmp_path / "model")
    found = aligned(AutoModel.from_pretrained(tmp_path / "model"))
    if architecture == "hyenadna":
        states = model.classifier.hyena(ids).last_hidden_state
        assert torch.equal(found(ids).last_hidden_state, states)
        embeddings = model.classifier.get_input_embeddings().weight
        language = aligned(AutoModelForCausalLM.from_pretrained(tmp_path / "model"))
        # The original models tied it to the embeddings, and a classifier has no other.
        assert torch.equal(language(ids).logits, states @ embeddings.T)
    else:
        assert torch.equal(found(ids).logits, model.classifier(ids).logits)


@pytest.mark.parametrize("architecture", ["hyenadna", "dilated_cnn"])
def test_auto_tokenizer_gives_the_tokens_that_the_model_was_trained_on(
    architecture: str, tmp_path: Path
) -> None:
    save_window_model(build("zdna", architecture=architecture), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    found = tokenizer("ACGTN", add_special_tokens=False)["input_ids"]
    assert found == encode("ACGTN").tolist()


def test_one_import_is_all_that_transformers_needs(tmp_path: Path) -> None:
    save_window_model(build("zdna"), tmp_path / "model")
    code = (
        "import sys, hyena_ray.model.huggingface\n"
        "from transformers import AutoModelForTokenClassification as Auto\n"
        "print(type(Auto.from_pretrained(sys.argv[1])).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "HyenaDNAForTokenClassification"


@PEFT_WARNING
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("targets", PEFT_TARGETS)
def test_an_adapter_makes_the_trained_classifier_of_its_base(
    targets: Targets, biases: bool, ids: Tensor, tmp_path: Path
) -> None:
    lora = LoraSettings(enabled=True, rank=2, targets=targets, biases=biases)
    settings = {"head": "electra", "tracks": True}
    model = shaken(build("zdna", lora, **settings))
    given = {"input_ids": ids, "tracks": torch.rand(*ids.shape, 2)}
    logits = model.classifier(**given).logits
    save_window_model(model, tmp_path / "model")
    base = build("zdna", **settings).classifier
    before = base(**given).logits
    found = peft.PeftModel.from_pretrained(base, tmp_path / "model" / ADAPTER)
    assert torch.equal(found(**given).logits, logits)
    assert not torch.allclose(before, logits, atol=0.01)
    # Merging rounds.
    merged = load_window_model(tmp_path / "model").classifier
    torch.testing.assert_close(merged(**given).logits, logits)


@PEFT_WARNING
def test_an_adapter_of_pooled_sequences_takes_its_pool_along(ids: Tensor, tmp_path: Path) -> None:
    lora = LoraSettings(enabled=True, rank=2)
    model = shaken(build("promoter", lora, pooling="attention"))
    save_window_model(model, tmp_path / "model")
    base = build("promoter", pooling="attention").classifier
    found = peft.PeftModel.from_pretrained(base, tmp_path / "model" / ADAPTER)
    assert torch.equal(found(input_ids=ids).logits, model.classifier(ids).logits)


@PEFT_WARNING
def test_an_adapter_fits_the_backbone_that_it_was_trained_on(ids: Tensor, tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_inner": 64, "max_seq_len": 64}
    AutoModelForCausalLM.from_config(HyenaDNAConfig(**sizes)).save_pretrained(tmp_path / "backbone")
    lora = LoraSettings(enabled=True, rank=2)
    model = shaken(build("zdna", lora, backbone=str(tmp_path / "backbone")))
    save_window_model(model, tmp_path / "model")
    # As the model card says it.
    config = AutoConfig.from_pretrained(tmp_path / "model")
    base = AutoModelForTokenClassification.from_pretrained(tmp_path / "backbone", config=config)
    found = peft.PeftModel.from_pretrained(base, tmp_path / "model" / ADAPTER)
    assert torch.equal(found(input_ids=ids).logits, model.classifier(ids).logits)
    assert str(tmp_path) not in "".join(
        path.read_text() for path in (tmp_path / "model").rglob("*.json")
    )


def test_what_peft_has_no_form_for_is_merged_alone(tmp_path: Path) -> None:
    lora = LoraSettings(enabled=True, rank=2, targets="short_filter")
    save_window_model(build("zdna", lora), tmp_path / "model")
    assert not (tmp_path / "model" / ADAPTER).exists()
    assert load_window_model(tmp_path / "model").classifier.config.short_filter_rank == 2


def test_a_model_without_adapters_has_no_folder_of_them(tmp_path: Path) -> None:
    save_window_model(build("zdna"), tmp_path / "model")
    assert not (tmp_path / "model" / ADAPTER).exists()
