from typing import Any

import pytest
import torch
from torch import nn

from ganservice.recipe import ROLES, Recipe
from workers.gan.networks import build_discriminator, build_generator, build_networks, count_parameters
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

SMALL = {28: (8, 6, 4), 32: (8, 6, 4), 64: (8, 6, 4, 4)}


def dcgan(size: int, channels: int, widths: tuple[int, ...], *, latent_size: int = 16, **of_d: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"dataset": "digits", "image_size": size, "channels": channels},
            "generator": {"kind": "dcgan", "widths": widths},
            "discriminator": {"kind": "dcgan", "widths": widths[::-1], "batch_norm": True} | of_d,
            "latent_size": latent_size,
        }
    )


def mlp(size: int, channels: int, **more: Any) -> Recipe:
    data = {"dataset": "digits", "image_size": size, "channels": channels}
    return Recipe.model_validate({"data": data, "generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"}} | more)


def build(recipe: Recipe, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    return build_networks(recipe, seed, Draws(seed, torch.device("cpu"), WorkerGroup()))


@pytest.mark.parametrize(
    ("recipe", "parameters_g", "parameters_d"),
    [
        (dcgan(28, 1, (256, 128, 64), latent_size=100, batch_norm=False, bias=False), 559_232, 658_688),
        (dcgan(28, 1, (256, 128, 64), latent_size=100, batch_norm=False), 559_232, 658_688 + 64 + 128 + 256 + 1),
        (dcgan(64, 3, (512, 256, 128, 64), latent_size=200), 4_395_904, 2_765_568),
        (mlp(28, 1), 579_728, 566_273),
    ],
    ids=["dcgan-28", "dcgan-28-bias", "dcgan-64", "mlp-28"],
)
def test_the_networks_have_exactly_these_parameters(recipe: Recipe, parameters_g: int, parameters_d: int) -> None:
    with torch.device("meta"):
        generator, discriminator = build(recipe)
    assert (count_parameters(generator), count_parameters(discriminator)) == (parameters_g, parameters_d)


def pyramid(kind: str, size: int | str, latent_size: int, classes: int | None = None, **keys: Any) -> Recipe:
    """A recipe of `kind`; a key such as `d_width` is of D alone, and what `w_size` says of G."""
    of_g = {key: value for key, value in keys.items() if not key.startswith("d_")}
    of_d = of_g | {key[2:]: value for key, value in keys.items() if key.startswith("d_")}
    of_d.pop("w_size", None)
    asked: dict[str, Any] = {
        "data": {"dataset": "digits", "image_size": size, "channels": 3},
        "generator": {"kind": kind} | of_g,
        "discriminator": {"kind": kind} | of_d,
        "latent_size": latent_size,
    }
    return Recipe.model_validate(asked | ({"conditioning": {"classes": classes}} if classes else {}))


@pytest.mark.parametrize(
    ("recipe", "parameters_g", "parameters_d"),
    [
        (pyramid("resnet", 32, 128, width=256, d_width=128, d_max_width=128), 4_276_739, 1_053_825),
        (pyramid("r3gan", 256, 64, width=96, max_width=768), 23_057_952, 23_009_568),
        (pyramid("stylegan2", 256, 512, max_width=512, w_size=512), 24_767_458, 24_001_089),
        (pyramid("stylegan2", 256, 512, 10, max_width=512, w_size=512), 25_035_234, 26_370_112),
        (pyramid("stylegan2", 32, 512, width=512, max_width=512, w_size=512), 21_523_475, 21_507_073),
    ],
    ids=["sngan", "r3gan", "stylegan2", "stylegan2-classes", "stylegan2-32"],
)
def test_networks_of_papers_have_the_parameters_that_were_published(
    recipe: Recipe, parameters_g: int, parameters_d: int
) -> None:
    with torch.device("meta"):
        generator, discriminator = build(recipe)
    assert (count_parameters(generator), count_parameters(discriminator)) == (parameters_g, parameters_d)
    for role, count in zip(ROLES, (parameters_g, parameters_d), strict=True):
        assert count <= recipe.extent_of(role).weights <= 2.1 * count


@pytest.mark.parametrize("kind", ["resnet", "r3gan", "stylegan2"])
@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("size", [28, 32, 48, "96x64", "32x256"])
def test_networks_of_papers_make_pictures_of_any_size_that_can_be_halved(
    kind: str, size: int | str, classes: int | None
) -> None:
    recipe = pyramid(kind, size, 8, classes, width=4, max_width=16, **({"group_width": 4} if kind == "r3gan" else {}))
    generator, discriminator = build(recipe)
    labels: tuple[torch.Tensor, ...] = (torch.arange(4) % 3,) if classes else ()
    images = generator.eval()(torch.randn(4, 8), *labels)
    assert images.shape == (4, *recipe.data.shape)
    assert images.abs().max() <= 1
    assert discriminator(images, *labels).shape == (4,)
    if classes:
        others = ((labels[0] + 1) % 3,)
        assert not torch.allclose(discriminator(images, *labels), discriminator(images, *others))


@pytest.mark.parametrize("kind", ["dcgan", "mlp"])
@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_g_makes_pictures_within_tanh_and_d_gives_each_one_logit(kind: str, size: int, channels: int) -> None:
    recipe = dcgan(size, channels, SMALL[size]) if kind == "dcgan" else mlp(size, channels, latent_size=16)
    generator, discriminator = build(recipe)
    images = generator(50 * torch.randn(5, 16))
    assert images.shape == (5, channels, size, size)
    assert -1 <= images.min() < 0 < images.max() <= 1
    assert discriminator(images).shape == (5,)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    ("size", "shorter"),
    [("36x28", 28), ("28x44", 28), ("40x32", 32), ("32x256", 32), ("96x64", 64), ("64x80", 64)],
)
def test_a_dcgan_of_an_oblong_begins_with_a_longer_map(size: str, shorter: int, overlap: bool) -> None:
    width, height = map(int, size.split("x"))
    asked = dcgan(shorter, 4, SMALL[shorter]).model_dump(mode="json")
    asked["data"]["image_size"], asked["generator"]["overlap"] = size, overlap
    generator, discriminator = build(Recipe.model_validate(asked | {"conditioning": {"classes": 3}, "pack": 2}))
    labels = torch.arange(4) % 3
    images = generator(torch.randn(4, 16), labels)
    assert images.shape == (4, 4, height, width)
    assert discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize("size", ["36x28", "28x252", "32x256", "256x64"])
def test_the_plan_knows_about_how_many_weights_an_oblong_takes(size: str) -> None:
    shorter = min(map(int, size.split("x")))
    asked = dcgan(shorter, 3, SMALL[shorter]).model_dump(mode="json")
    asked["data"]["image_size"] = size
    recipe = Recipe.model_validate(asked)
    with torch.device("meta"):
        generator, discriminator = build(recipe)
    assert count_parameters(generator) <= recipe.extent_of("generator").weights
    assert count_parameters(discriminator) <= recipe.extent_of("discriminator").weights


@pytest.mark.parametrize(
    "discriminator",
    [
        {"kind": "mlp"},
        {"kind": "dcgan", "widths": (4, 4, 4)},
        {"kind": "dcgan", "widths": (4, 4, 4), "batch_norm": True},
        {"kind": "dense_dcgan"},
        {"kind": "avgpool", "widths": (4, 4), "dense": (8,)},
        {"kind": "resnet", "width": 4},
        {"kind": "r3gan", "width": 8},
    ],
    ids=lambda choice: "-".join(map(str, choice.values())),
)
def test_a_recipe_knows_which_discriminators_mix_the_images_of_a_batch(discriminator: dict[str, Any]) -> None:
    recipe = mlp(28, 1, discriminator=discriminator)
    norms = [module for module in build(recipe)[1].modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert recipe.discriminator.mixes_images == bool(norms)


@pytest.mark.parametrize(
    "generator",
    [
        {"kind": "mlp"},
        {"kind": "dcgan", "widths": (4, 4, 4)},
        {"kind": "dense_dcgan", "widths": (4, 4, 4)},
        {"kind": "avgpool", "dense": (8,), "widths": (4, 4)},
        {"kind": "resnet", "width": 4},
        {"kind": "r3gan", "width": 8},
        {"kind": "stylegan2", "width": 8},
    ],
    ids=lambda choice: choice["kind"],
)
def test_a_recipe_knows_which_generators_mix_the_images_of_a_batch(generator: dict[str, Any]) -> None:
    recipe = mlp(28, 1, generator=generator)
    norms = [module for module in build(recipe)[0].modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert recipe.generator.mixes_images == bool(norms)


def test_one_latent_makes_one_picture_in_evaluation_mode() -> None:
    generator = build(dcgan(28, 1, SMALL[28]))[0].eval()
    assert generator(torch.zeros(1, 16)).shape == (1, 1, 28, 28)


def overlapping(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"generator": recipe.generator.model_copy(update={"overlap": True})})


def test_with_overlap_each_pixel_of_28_px_is_drawn_by_neighbours_together() -> None:
    # Of a cell of the 7x7 map, in the middle: the patch of pixels that it draws.
    patches = []
    for recipe in (dcgan(28, 1, SMALL[28]), overlapping(dcgan(28, 1, SMALL[28]))):
        generator = build(recipe)[0].eval()
        assert isinstance(generator, nn.Sequential)
        layers = [at for at, module in enumerate(generator) if isinstance(module, nn.ConvTranspose2d)]
        seed = torch.randn(1, 6, 7, 7)
        moved = seed.clone()
        moved[0, :, 3, 3] += 1
        changed = (generator[layers[2] :](moved) != generator[layers[2] :](seed))[0, 0]
        patches.append(changed.any(dim=0).nonzero().flatten().tolist())
    assert patches == [list(range(12, 16)), list(range(9, 19))]


def test_overlap_changes_only_the_last_two_kernels_at_28_px() -> None:
    with torch.device("meta"):
        plain, overlapped = (
            build_generator(recipe) for recipe in (dcgan(28, 1, SMALL[28]), overlapping(dcgan(28, 1, SMALL[28])))
        )
        assert count_parameters(overlapped) - count_parameters(plain) == (6 * 4 + 4 * 1) * (4 * 4 - 2 * 2)
        for size in (32, 64):
            recipe = dcgan(size, 3, SMALL[size])
            shapes, same = (
                [weight.shape for weight in build_generator(each).parameters()]
                for each in (recipe, overlapping(recipe))
            )
            assert shapes == same


def test_dcgan_starts_with_the_weights_of_its_paper() -> None:
    recipe = dcgan(28, 1, (64, 64, 64), latent_size=64)
    modules = [module for network in build(recipe) for module in network.modules()]
    convolutions = [module.weight for module in modules if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (8, 5)
    for weight in convolutions:
        error = 5 * 0.02 / weight.numel() ** 0.5  # five standard errors
        assert weight.mean().item() == pytest.approx(0, abs=error)
        assert weight.std().item() == pytest.approx(0.02, abs=error)
    for norm in norms:
        assert norm.weight.mean().item() == pytest.approx(1, abs=5 * 0.02 / 8)
        assert 0.01 < norm.weight.std().item() < 0.03
        assert not norm.bias.any()


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_a_d_without_batch_norm_can_tell_a_grey_picture_from_another(spectral_norm: bool) -> None:
    """Without biases D(3x) was 3 D(x), and a grey picture had the logit 0: G hid there."""
    discriminator = build(dcgan(28, 1, SMALL[28], batch_norm=False, spectral_norm=spectral_norm))[1]
    adam = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for _ in range(20):
        adam.zero_grad()
        discriminator(torch.zeros(4, 1, 28, 28)).mean().backward()
        adam.step()
    with torch.no_grad():
        assert (discriminator(torch.zeros(4, 1, 28, 28)) < -0.1).all()


def test_with_batch_norm_biases_are_where_it_does_not_follow() -> None:
    for bias, expected in ((False, [False] * 4), (True, [True, False, False, True])):
        discriminator = build(dcgan(28, 1, SMALL[28], bias=bias))[1]
        layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
        assert [layer.bias is not None for layer in layers] == expected


@pytest.mark.parametrize(("kind", "usual"), [("dcgan", "normal"), ("dense_dcgan", "glorot"), ("avgpool", "normal")])
def test_a_recipe_chooses_the_initial_weights(kind: str, usual: str) -> None:
    def weights(**choice: str) -> list[torch.Tensor]:
        networks = (dcgan(28, 1, (64, 64, 64)).model_dump(mode="json")[name] for name in ("generator", "discriminator"))
        asked = {name: network | choice for name, network in zip(("generator", "discriminator"), networks, strict=True)}
        if kind != "dcgan":
            asked = {name: {"kind": kind} | choice for name in asked}
        data = {"dataset": "digits", "image_size": 32 if kind == "avgpool" else 28, "channels": 1}
        recipe = Recipe.model_validate({"data": data} | asked)
        return [value for network in build(recipe) for value in network.state_dict().values()]

    unsaid = weights()
    same = [
        choice
        for choice in ("normal", "glorot", "he")
        if all(map(torch.equal, weights(initial_weights=choice), unsaid))
    ]
    assert same == [usual]


def test_he_weights_keep_the_size_of_what_flows_through() -> None:
    """With weights of 0.02 each layer of a D without BatchNorm makes less of what it is given."""
    sizes = {}
    for choice in ("normal", "he"):
        asked = dcgan(28, 1, (256, 128, 64), batch_norm=False, initial_weights=choice)
        _, discriminator = build(asked)
        assert isinstance(discriminator, nn.Sequential)
        values = torch.randn(64, 1, 28, 28)
        with torch.no_grad():
            for layer in list(discriminator)[:-1]:
                values = layer(values)
        sizes[choice] = values.square().mean().sqrt().item()
    assert 0.3 < sizes["he"] < 3
    assert sizes["normal"] < 0.05


def test_he_weights_of_g_know_its_strides() -> None:
    generator = {"kind": "dcgan", "widths": (128, 128, 64), "initial_weights": "he", "slope": 0.0}
    recipe = Recipe.model_validate(dcgan(28, 1, SMALL[28]).model_dump(mode="json") | {"generator": generator})
    layers = [module for module in build(recipe)[0].modules() if isinstance(module, nn.ConvTranspose2d)]
    # 16 latents in one pixel; 3 x 3 and 2 x 2 kernels with a stride of 2.
    for layer, inputs in zip(layers, (16 * 9, 128 * 9 / 4, 128 * 4 / 4, 64 * 4 / 4), strict=True):
        assert layer.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.1)


@pytest.mark.parametrize("recipe", [dcgan(28, 1, SMALL[28]), mlp(28, 1)], ids=["dcgan", "mlp"])
def test_a_seed_decides_all_weights(recipe: Recipe) -> None:
    first, again, other = build(recipe, 1), build(recipe, 1), build(recipe, 2)
    for network, same, different in zip(first, again, other, strict=True):
        parameters = list(network.named_parameters())
        assert all(torch.equal(value, same.get_parameter(name)) for name, value in parameters)
        drawn = [(name, value) for name, value in parameters if value.unique().numel() > 1]
        assert drawn
        assert not any(torch.equal(value, different.get_parameter(name)) for name, value in drawn)


@pytest.mark.parametrize("recipe", [dcgan(28, 1, SMALL[28]), mlp(28, 1)], ids=["dcgan", "mlp"])
def test_building_leaves_the_random_state_of_the_process_alone(recipe: Recipe) -> None:
    before = torch.get_rng_state()
    build(recipe)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_off_in_evaluation_mode_and_keeps_the_mean_while_training() -> None:
    draws = Draws(0, torch.device("cpu"), WorkerGroup())
    draws.begin_step(0)
    recipe = mlp(8, 1, discriminator={"kind": "mlp", "widths": (4096,), "dropout": 0.25})
    modules = build_discriminator(recipe, draws).modules()
    dropout = next(module for module in modules if type(module).__name__ == "Dropout")
    ones = torch.ones(8, 4096)
    dropped = dropout(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(dropout.eval()(ones), ones)


@pytest.mark.parametrize("choice", ["synchronised", "local"])
def test_the_generator_of_a_gang_has_the_state_of_that_of_one_worker(choice: str) -> None:
    recipe = dcgan(28, 1, SMALL[28]).model_copy(update={"batch_norm": choice})
    alone, in_a_gang = build_generator(recipe), build_generator(recipe, group=WorkerGroup(0, 2))
    in_a_gang.load_state_dict(alone.state_dict())
    latents = torch.randn(3, 16)
    assert torch.equal(in_a_gang.eval()(latents), alone.eval()(latents))
