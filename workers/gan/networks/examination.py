"""What a network that is none of this project must do, tried before its first step: each fault in one clear line."""

import copy

import torch
from torch import Tensor, nn

from ganservice.errors import NetworkInvalid
from ganservice.recipe import ROLES, Recipe
from workers.gan.networks import build_networks, is_ours, move
from workers.gan.networks.own import told
from workers.gan.randomness import Draws, noise_inputs
from workers.gan.worker_group import WorkerGroup

# Packs of pictures that are tried.
PACKS = 4
# Pictures are within [-1, 1]; the first ones of a network that ends without tanh may be somewhat beyond.
LARGEST = 20.0
NAMED = 3
MICRO = "with resources.micro_batch_size it looks at some of them alone"
# Weights by which a network is tried that made no number below 0.
TRIALS = 32


def examine_networks(recipe: Recipe, seed: int, device: torch.device, *, has_micro_batches: bool = False) -> None:
    """Try the networks of a recipe on a few pictures, unless both are of this project.

    They must make and take what `build_generator` and `build_discriminator` say, in fp32 on `device`; draw the same
    from the same seed; have gradients, all of them; and be copied by `copy.deepcopy`. Where each looks at a few images
    of a batch alone, none may depend on others.

    Raises:
        NetworkInvalid: the first thing that one of them does not do.
    """
    if is_ours(recipe.generator) and is_ours(recipe.discriminator):
        return
    _Examination(recipe, seed, device, has_micro_batches).run()


class _Examination:
    def __init__(self, recipe: Recipe, seed: int, device: torch.device, has_micro_batches: bool) -> None:
        self._recipe = recipe
        self._seed = seed
        self._device = device
        self._has_micro_batches = has_micro_batches
        self._draws = Draws(seed, device, WorkerGroup())
        count = PACKS * recipe.pack
        self._first = noise_inputs(recipe, seed, count).to(device)
        labels = torch.arange(count, device=device) % recipe.conditioning.classes if recipe.conditioning else None
        self._labels = () if labels is None else (labels,)

    def run(self) -> None:
        generator, discriminator = self._build()
        self._check_weights(generator, discriminator)
        images = self._generate(generator)
        self._check_images(images)
        logits = self._discriminate(discriminator, images)
        self._check_logits(logits)
        self._check_sameness(images, logits)
        self._check_gradients(generator, discriminator)
        self._check_single_images(generator, discriminator, images.detach())
        for role, network in (("generator", generator), ("discriminator", discriminator)):
            with told(f"{role}: copy.deepcopy"):
                copy.deepcopy(network)
        self._check_sign(generator)

    def _build(self) -> tuple[nn.Module, nn.Module]:
        generator, discriminator = build_networks(self._recipe, self._seed, self._draws)
        return move(generator, self._device).train(), move(discriminator, self._device).train()

    def _generate(self, generator: nn.Module) -> Tensor:
        self._draws.begin_step(0)
        first = "pictures [B, C, h, w]" if self._recipe.super_resolution else "latents [B, latent_size]"
        with told(f"generator: {self._given(first)}"):
            images: Tensor = generator(self._first, *self._labels)
        return images

    def _discriminate(self, discriminator: nn.Module, images: Tensor) -> Tensor:
        with told(f"discriminator: {self._given('pictures [B, C, H, W]')}"):
            logits: Tensor = discriminator(images, *self._labels)
        return logits

    def _given(self, first: str) -> str:
        return f"forward, given {first}{' and labels int64 [B]' if self._labels else ''}"

    def _check_weights(self, generator: nn.Module, discriminator: nn.Module) -> None:
        again = self._build()
        for role, network, other in zip(ROLES, (generator, discriminator), again, strict=True):
            weights = list(network.named_parameters())
            if not any(weight.requires_grad for _, weight in weights):
                raise NetworkInvalid(f"{role}: has no weights that could be trained")
            for (name, weight), (_, twin) in zip(weights, other.named_parameters(), strict=False):
                if weight.dtype != torch.float32:
                    raise NetworkInvalid(f"{role}: its weight {name} is {_dtype(weight)}, expected float32")
                if not torch.equal(weight, twin):
                    raise NetworkInvalid(
                        f"{role}: its weight {name} begins otherwise when it is built again; draw with torch's own "
                        "generator, which begins at the seed of the job"
                    )

    def _check_images(self, images: object) -> None:
        expected = (len(self._first), *self._recipe.data.shape)
        _check_tensor("generator", images, expected)
        assert isinstance(images, Tensor)  # noqa: S101 # for who reads types
        most = images.detach().abs().max().item()
        if self._recipe.pictures and most > LARGEST:
            raise NetworkInvalid(
                f"generator: makes numbers up to {most:.3g}, expected pictures within [-1, 1]; end it with torch.tanh"
            )

    def _check_sign(self, generator: nn.Module) -> None:
        """First pictures may be all light by chance; those of other weights are not, unless the network ends so."""
        if self._recipe.pictures is None:
            return
        network = copy.deepcopy(generator)
        for trial in range(TRIALS):
            with torch.no_grad():
                if not self._generate(network).min() >= 0:  # nor where it is not a number
                    return
            _shake(network, strength=1.0, seed=trial)
        raise NetworkInvalid(
            "generator: makes no number below 0, expected pictures within [-1, 1]; end it with torch.tanh, "
            "not with a sigmoid or a ReLU"
        )

    def _check_logits(self, logits: object) -> None:
        _check_tensor("discriminator", logits, (PACKS,))

    def _check_sameness(self, images: Tensor, logits: Tensor) -> None:
        generator, discriminator = self._build()
        again = self._generate(generator)
        if not torch.equal(images, again) or not torch.equal(logits, self._discriminate(discriminator, again)):
            raise NetworkInvalid(
                "generator, discriminator: give other numbers when the same step is repeated; draw with torch's own "
                "generator or the argument `draws`, which begin each step anew"
            )

    def _check_gradients(self, generator: nn.Module, discriminator: nn.Module) -> None:
        for network in (generator, discriminator):
            network.zero_grad(set_to_none=True)
            _shake(network, strength=0.01)
        logits = self._discriminate(discriminator, self._generate(generator))
        with told("generator, discriminator: backward"):
            # Not their sum, which BatchNorm may make a constant.
            (logits * torch.arange(1, len(logits) + 1, device=self._device)).sum().backward()
        for role, network in zip(ROLES, (generator, discriminator), strict=True):
            trained = [(name, weight.grad) for name, weight in network.named_parameters() if weight.requires_grad]
            without = [name for name, gradient in trained if gradient is None]
            if without:
                more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
                raise NetworkInvalid(
                    f"{role}: no gradient reaches {', '.join(without[:NAMED])}{more}; "
                    "use all weights, and detach nothing"
                )
            gradients = [gradient for _, gradient in trained if gradient is not None]
            if not all(torch.isfinite(gradient).all() for gradient in gradients):
                raise NetworkInvalid(f"{role}: has gradients that are not finite at its first step")
            if not any(gradient.any() for gradient in gradients):
                raise NetworkInvalid(
                    f"{role}: all its gradients are 0 at its first step, so that it would learn nothing"
                )

    def _check_single_images(self, generator: nn.Module, discriminator: nn.Module, images: Tensor) -> None:
        """A gradient penalty takes the gradient at each picture, whatever the others of its batch are; of micro-batches
        each is what it would be within the whole."""
        if self._has_micro_batches:
            latents = self._first.clone().requires_grad_(True)
            self._draws.begin_step(0)
            _check_first(
                "generator", generator(latents, *self._labels)[: self._recipe.pack], latents, self._recipe.pack, MICRO
            )
        penalty = f"loss.kind: {self._recipe.loss.kind} penalises the gradient at each picture"
        if self._has_micro_batches or self._recipe.loss.penalises_gradients:
            points = images.requires_grad_(True)
            reason = penalty if self._recipe.loss.penalises_gradients else MICRO
            _check_first(
                "discriminator", self._discriminate(discriminator, points)[:1], points, self._recipe.pack, reason
            )
        if self._recipe.loss.penalises_gradients:
            logits = self._discriminate(discriminator, points)
            with told(f"discriminator: its gradient has no gradient, but {penalty}"):
                (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
                (logits.sum() + gradient.square().sum()).backward()


def _check_first(role: str, first: Tensor, inputs: Tensor, pack: int, reason: str) -> None:
    """Raise NetworkInvalid where what is made of the first pack of inputs depends on others."""
    (gradient,) = torch.autograd.grad(first.sum(), inputs)
    if gradient[pack:].any():
        raise NetworkInvalid(f"{role}: mixes the pictures of a batch, as BatchNorm does, but {reason}")


@torch.no_grad()
def _shake(network: nn.Module, strength: float, seed: int = 0) -> None:
    """Move all weights: a layer that begins at 0 lets no gradient through in its first step, and then does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for weight in network.parameters():
            weight.add_(strength * torch.randn(weight.shape).to(weight.device))


def _check_tensor(role: str, found: object, expected: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor):
        raise NetworkInvalid(f"{role}: returns {type(found).__name__}, expected a tensor {list(expected)}")
    if tuple(found.shape) != expected:
        raise NetworkInvalid(f"{role}: returns a tensor {list(found.shape)}, expected {list(expected)}")
    if found.dtype != torch.float32:
        raise NetworkInvalid(f"{role}: returns {_dtype(found)}, expected float32")
    if not torch.isfinite(found).all():
        raise NetworkInvalid(f"{role}: returns numbers that are not finite")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
