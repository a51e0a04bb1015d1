"""Rates follow their shape, to the bit of transformers' schedules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from hyena_ray.training import schedules
from hyena_ray.training.schedules import Schedule, Shape, rate_factor


def rates(kind: Shape, steps: int, warmup: float, scores: list[float] | None = None) -> list[float]:
    """Rate of each step, with an epoch's score after every 10 steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(optimizer, kind, steps, warmup)
    found = []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_step()
        if scores and step % 10 == 9:
            schedule.after_epoch(scores[step // 10])
    return found


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "plateau"])
def test_warm_up_rises_linearly_to_the_peak(kind: Shape) -> None:
    assert rates(kind, 100, 0.1)[:11] == pytest.approx([i / 10 for i in range(11)])


def test_linear_falls_to_zero() -> None:
    assert rates("linear", 100, 0.1)[10:] == pytest.approx([(100 - s) / 90 for s in range(10, 100)])


def test_cosine_is_halfway_down_at_half_time() -> None:
    assert rates("cosine", 100, 0.0)[50] == pytest.approx(0.5)


def test_plateau_halves_only_after_epochs_without_gain() -> None:
    found = rates("plateau", 60, 0.0, scores=[0.1, 0.5, 0.4, 0.4, 0.4, 0.4])
    assert [found[i] for i in (0, 20, 39, 40, 59)] == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_plateau_does_not_end_warm_up() -> None:
    assert rates("plateau", 40, 0.5, scores=[0.5, 0.4, 0.3, 0.2])[20] == 1.0


def test_constant_stays_at_the_peak_whatever_the_scores() -> None:
    assert set(rates("constant", 60, 0.0, scores=[0.5, 0.4, 0.3, 0.2, 0.1, 0.0])) == {1.0}


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "plateau"])
def test_rates_on_a_device_are_updated_in_place_and_resume_from_any_device(
    kind: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(optimizer: torch.optim.Optimizer, schedule: Schedule, steps: range) -> list[float]:
        step_rates = []
        for step in steps:
            step_rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.after_step()
            if step % 10 == 9:
                schedule.after_epoch(0.5)
        return step_rates

    def made() -> tuple[torch.optim.Optimizer, Schedule]:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        return optimizer, Schedule(optimizer, kind, 60, 0.1)

    expected = torch.tensor(run(*made(), range(60)))
    on_host = made()
    run(*on_host, range(45))
    monkeypatch.setattr(schedules, "_device_scalar", lambda group: torch.zeros(()))
    on_device = made()
    assert torch.tensor(run(*on_device, range(45))).equal(expected[:45])
    for optimizer, schedule in (on_host, on_device):
        again = made()
        rate = again[0].param_groups[0]["lr"]
        again[0].load_state_dict(optimizer.state_dict())
        again[1].load_state_dict(schedule.state_dict())
        assert torch.tensor(run(*again, range(45, 60))).equal(expected[45:])
        assert again[0].param_groups[0]["lr"] is rate, "a captured step reads this tensor"


NAMES: dict[Shape, str] = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
}


@given(shape=st.sampled_from(sorted(NAMES)), steps=st.integers(1, 40), warmup=st.floats(0, 0.99))
def test_every_rate_is_that_of_transformers(shape: Shape, steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = get_scheduler(NAMES[shape], optimizer, round(steps * warmup), steps)
    for step in range(steps + 2):
        factor = rate_factor(shape, step, warmup=round(steps * warmup), steps=steps)
        assert theirs.get_last_lr() == [0.3 * factor]
        optimizer.step()
        theirs.step()
