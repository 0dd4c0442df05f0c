"""Optimisers, the rate in the course of a training, and the average of the weights."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.training.optimisation import (  # noqa: E402
    FINAL_RATE,
    RATES,
    Average,
    learning_rate,
    make_optimiser,
)


def rate(step: int, progress: float) -> float:
    return learning_rate(step, progress, full=2.0, warm_up_steps=10)


def test_the_rate_warms_up_in_a_line_and_falls_along_half_a_cosine() -> None:
    assert [rate(step, 0) for step in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate(99, 0.5) == pytest.approx(2 * (1 + FINAL_RATE) / 2)
    assert rate(99, 1.0) == pytest.approx(2 * FINAL_RATE)
    assert rate(99, 1.5) == pytest.approx(2 * FINAL_RATE)  # a training by the clock may end a little late
    falling = [rate(99, part / 50) for part in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_a_rate_without_warm_up_begins_in_full() -> None:
    assert learning_rate(0, 0, full=2.0, warm_up_steps=0) == pytest.approx(2)


@pytest.mark.parametrize("name", RATES)
def test_every_optimiser_descends_and_only_weights_decay(name: str) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = make_optimiser(name, network, weight_decay=0.5)
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {decays[id(p)] for p in network.parameters() if p.ndim == 4} == {0.5}
    assert {decays[id(p)] for p in network.parameters() if p.ndim == 1} == {0.0}
    for group in optimiser.param_groups:
        group["lr"], group["weight_decay"] = RATES[name], 0.0
    images, wanted = torch.rand(8, 3, 6, 6), torch.rand(8, 4, 4, 4)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = (network(images) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_average_is_the_one_of_its_paper_and_begins_by_forgetting_fast() -> None:
    network = torch.nn.BatchNorm2d(1)
    average = Average(network, decay=0.5)
    expected = 1.0
    for step, value in enumerate((3.0, 5.0, 7.0)):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
        network.num_batches_tracked.fill_(step)
        average.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.network.weight) == pytest.approx(expected)
    assert float(average.network.running_mean) == pytest.approx(expected - 0.1 * 2 / 11 * 3 / 12)  # it began at 0
    assert int(average.network.num_batches_tracked) == 2
    assert not average.network.training
