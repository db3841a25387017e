"""What a network that is none of this project must do, tried before its first step: each fault in one clear line."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

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


def examine_networks(recipe: Recipe, seed: int, device: torch.device, micro_batch_size: int | None = None) -> None:
    """Try the networks of a recipe on a few pictures, unless both are of this project.

    They must make and take what `build_generator` and `build_discriminator` say, in fp32 on `device`; draw the same
    from the same seed; leave what they are given as it is; have gradients, all of them; keep nothing that they had not
    when they were built; and be copied by `copy.deepcopy`. Where each looks at `micro_batch_size` images of a batch
    alone, none may depend on others.

    Raises:
        NetworkInvalid: the first thing that one of them does not do.
    """
    if is_ours(recipe.generator) and is_ours(recipe.discriminator):
        return
    _Examination(recipe, seed, device, micro_batch_size).run()


class _Examination:
    def __init__(self, recipe: Recipe, seed: int, device: torch.device, micro_batch_size: int | None) -> None:
        self._recipe = recipe
        self._seed = seed
        self._device = device
        self._micro_batch_size = micro_batch_size
        self._draws = Draws(seed, device, WorkerGroup())
        count = PACKS * recipe.pack
        self._first = noise_inputs(recipe, seed, count).to(device)
        labels = torch.arange(count, device=device) % recipe.conditioning.classes if recipe.conditioning else None
        self._labels = () if labels is None else (labels,)

    def run(self) -> None:
        generator, discriminator = self._build()
        states = [_shapes(network) for network in (generator, discriminator)]
        self._check_weights(generator, discriminator)
        images = self._generate(generator)
        self._check_images(images)
        logits = self._discriminate(discriminator, images)
        self._check_logits(logits)
        self._check_sameness(images, logits)
        self._check_gradients(generator, discriminator)
        self._check_single_images(generator, discriminator, images.detach())
        for role, network, state in zip(ROLES, (generator, discriminator), states, strict=True):
            _check_state(role, network, state)
        for role, network in (("generator", generator), ("discriminator", discriminator)):
            with told(f"{role}: copy.deepcopy"):
                copy.deepcopy(network)
        self._check_sign(generator)
        self._check_single_sample(generator)

    def _build(self) -> tuple[nn.Module, nn.Module]:
        generator, discriminator = build_networks(self._recipe, self._seed, self._draws)
        return move(generator, self._device).train(), move(discriminator, self._device).train()

    def _generate(self, generator: nn.Module) -> Tensor:
        self._draws.begin_step(0)
        first = "pictures [B, C, h, w]" if self._recipe.super_resolution else "latents [B, latent_size]"
        with told(f"generator: {self._given(first)}"), unchanged("generator", self._first):
            images: Tensor = generator(self._first, *self._labels)
        return images

    def _discriminate(self, discriminator: nn.Module, images: Tensor) -> Tensor:
        with told(f"discriminator: {self._given('pictures [B, C, H, W]')}"), unchanged("discriminator", images):
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

    def _check_single_sample(self, generator: nn.Module) -> None:
        """Samples are drawn in evaluation mode, of any number of pictures."""
        with told("generator: forward in evaluation mode, for one picture"), torch.no_grad():
            image = copy.deepcopy(generator).eval()(self._first[:1], *(labels[:1] for labels in self._labels))
        _check_tensor("generator, in evaluation mode", image, (1, *self._recipe.data.shape))

    def _check_piece(self, generator: nn.Module, discriminator: nn.Module, images: Tensor, size: int) -> None:
        """What a network takes for one piece with all others, such as one picture alone, may be another shape."""
        size = min(size, len(images))
        labels = [each[:size] for each in self._labels]
        with told(f"generator, given {size} of a batch"):
            made = generator(self._first[:size], *labels)
        _check_tensor("generator", made, (size, *self._recipe.data.shape))
        with told(f"discriminator, given {size} of a batch"):
            logits = discriminator(images[:size], *labels)
        _check_tensor("discriminator", logits, (size // self._recipe.pack,))

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
        points, pack = images.requires_grad_(True), self._recipe.pack
        penalty = f"loss.kind: {self._recipe.loss.kind} penalises the gradient at each picture"
        if self._micro_batch_size is not None:
            self._check_piece(generator, discriminator, images.detach(), self._micro_batch_size)
            latents = self._first.clone().requires_grad_(True)
            self._draws.begin_step(0)
            _check_first("generator", generator(latents, *self._labels)[:pack], latents, pack, MICRO)
        if self._micro_batch_size is not None or self._recipe.loss.penalises_gradients:
            reason = penalty if self._recipe.loss.penalises_gradients else MICRO
            _check_first("discriminator", self._discriminate(discriminator, points)[:1], points, pack, reason)
        if self._recipe.loss.penalises_gradients:
            logits = self._discriminate(discriminator, points)
            with told(f"discriminator: its gradient has no gradient, but {penalty}"):
                (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
                (logits.sum() + gradient.square().sum()).backward()


def _check_first(role: str, first: Tensor, inputs: Tensor, pack: int, reason: str) -> None:
    """Raise NetworkInvalid where what is made of the first pack of inputs depends on others."""
    if not first.requires_grad:
        return
    (gradient,) = torch.autograd.grad(first.sum(), inputs, allow_unused=True)
    if gradient is not None and gradient[pack:].any():
        raise NetworkInvalid(f"{role}: mixes the pictures of a batch, as BatchNorm does, but {reason}")


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _check_state(role: str, network: nn.Module, built: dict[str, torch.Size]) -> None:
    """Raise NetworkInvalid where a network keeps something else than as it was built: no checkpoint would fit it."""
    for name, shape in _shapes(network).items():
        if built.get(name) != shape:
            before = list(built[name]) if name in built else "nothing"
            raise NetworkInvalid(
                f"{role}: keeps {name} {list(shape)} once it has run, {before} of that name until then; register what "
                "it keeps where it is built, in one shape"
            )


@contextmanager
def unchanged(role: str, inputs: Tensor) -> Iterator[None]:
    """Raise NetworkInvalid where the block changes its inputs, which others look at too."""
    before = inputs.detach().clone()
    yield
    if not torch.equal(inputs.detach(), before):
        raise NetworkInvalid(f"{role}: changes what it is given; leave out inplace=True and the like at its beginning")


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
