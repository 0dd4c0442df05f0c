"""Recipes as files: what is written is read again, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from engines.errors import TrainingError  # noqa: E402
from engines.training.datasets import Augmentation  # noqa: E402
from engines.training.recipe import Recipe, RecipeAugmentation, RecipeSettings, read_recipe  # noqa: E402
from engines.training.settings import Settings  # noqa: E402

SHARES = st.none() | st.floats(0, 1)
AMOUNTS = st.floats(1e-9, 1e6)
PAIRS = st.none() | st.tuples(AMOUNTS, AMOUNTS).map(lambda pair: (min(pair), max(pair)))
RECIPES = st.builds(
    Recipe,
    settings=st.builds(
        RecipeSettings,
        optimiser=st.sampled_from([None, "adam", "adamw", "rmsprop", "sgd"]),
        rate=st.none() | AMOUNTS,
        weight_decay=st.none() | AMOUNTS,
        warm_up_steps=st.none() | st.integers(0, 10**6),
        clip=st.none() | AMOUNTS,
    ),
    augmentation=st.builds(RecipeAugmentation, mosaic=SHARES, hue=SHARES, erase=SHARES, scale=PAIRS),
)


@given(RECIPES)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    file = tmp_path_factory.getbasetemp() / "recipe.toml"
    file.write_text(recipe.text("found by chance", "and said so"))
    assert read_recipe(file) == recipe


def test_every_strength_of_the_augmentation_can_stand_in_a_recipe() -> None:
    assert set(RecipeAugmentation.model_fields) == set(Augmentation.__dataclass_fields__)
    assert set(RecipeSettings.model_fields) <= set(Settings.__dataclass_fields__)


def test_what_a_recipe_does_not_say_stays(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("[settings]\nrate = 0.003\n[augmentation]\nscale = [0.7, 1.4]\n")
    settings, augmentation = read_recipe(file).applied(Settings(network="small", seed=7), Augmentation(hue=0.3))
    assert settings == Settings(network="small", seed=7, rate=0.003)
    assert augmentation == Augmentation(hue=0.3, scale=(0.7, 1.4))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[settings]\nrat = 1.0\n", "settings.rat: is no key here; did you mean 'rate'?"),
        ("[settings]\nnetwork = 'nano'\n", "settings.network: is no key here"),
        ("[augmentation]\nhue = 2.0\n", "augmentation.hue: input should be less than or equal to 1"),
        ("[augmentation]\nscale = [2.0, 1.0]\n", "augmentation: scale: the smaller one comes first"),
        ("[settings]\noptimiser = 'lion'\n", "settings.optimiser: input should be 'adam', 'adamw', 'rmsprop' or 'sgd'"),
        ("[settings]\nrate = 'high'\n", "settings.rate: input should be a valid number"),
        ("[settings]\nrate = 0\n", "settings.rate: input should be greater than 0"),
        ("rate = \n", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(TrainingError) as caught:
        read_recipe(file)
    assert f"{file}: {told}" in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.toml: cannot be read \(No such file"):
        read_recipe(tmp_path / "none.toml")
