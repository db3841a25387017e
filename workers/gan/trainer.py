"""Trainer: a GAN in training, as a generator of Progress over images."""

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ganservice.errors import Diverged
from ganservice.job import Progress
from ganservice.recipe import Adam, Recipe
from workers.gan.losses import NonSaturating
from workers.gan.networks import ALONE, build_networks
from workers.gan.randomness import Draws, Order
from workers.gan.replicas import Replicas

MEANS = ("loss_g", "loss_d", "d_real", "d_fake", "grad_norm_g", "grad_norm_d")


class Trainer:
    """G, D, the sampling copy of G (EMA), both optimisers and the count of images seen.

    Everything random derives from (seed, images seen): a trainer that loads another's state goes on bit for bit as
    the other would have, on the same device and number of threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Tensor,
        seed: int,
        device: torch.device,
        replicas: Replicas = ALONE,
    ) -> None:
        """`images` is the whole training set, uint8 [N, C, H, W]; it is moved to `device`."""
        self.images_seen = 0
        self._recipe = recipe
        self._device = device
        self._replicas = replicas
        self._images = images.to(device)
        self._order = Order(seed, len(images))
        self._draws = Draws(seed, device, replicas)
        generator, discriminator = build_networks(recipe, seed, self._draws, replicas)
        # Convolutions on channels-last tensors are a few percent faster on CPU and GPU alike.
        self._g = _placed(generator, device).train()
        self._d = _placed(discriminator, device).train()
        self._ema: nn.Module = copy.deepcopy(self._g).eval().requires_grad_(False)
        self._ema_weight = 1 - 0.5 ** (recipe.batch_size / recipe.ema_half_life_images)
        self._adam_g = _adam(self._g, recipe.optimiser_g)
        self._adam_d = _adam(self._d, recipe.optimiser_d)
        self._loss = NonSaturating(recipe.loss, self._draws)
        # Sums of what Progress tells: they stay on the device, so that no step waits for the host, and are read
        # once per report.
        self._sums = torch.zeros(len(MEANS), device=device)

    def train(self, total_images: int, report_every_images: int) -> Iterator[Progress]:
        """Train up to `total_images`, yielding every `report_every_images` (in whole steps) and at the end.

        Raises:
            Diverged: before the report of a span in which a loss or gradient was not finite.
        """
        batch = self._recipe.batch_size
        report_steps = max(1, report_every_images // batch)
        first, started = self.images_seen // batch, time.perf_counter()
        while self.images_seen < total_images:
            self._step()
            step = self.images_seen // batch
            if step % report_steps == 0 or self.images_seen >= total_images:
                means = self._read_means(step - first)
                span_s = time.perf_counter() - started
                yield Progress(
                    images=self.images_seen,
                    step=step,
                    images_per_s=(step - first) * batch / span_s,
                    step_s=span_s / (step - first),
                    **means,
                )
                first, started = step, time.perf_counter()

    @torch.no_grad()
    def sample(self, latents: Tensor) -> Tensor:
        """Pictures by the sampling copy of G, on the CPU.

        Float [B, latent_size] -> float [B, channels, size, size] in [-1, 1].
        """
        images: Tensor = self._ema(latents.to(self._device))
        return images.cpu()

    @property
    def sampling_generator(self) -> nn.Module:
        """The EMA copy of G, in evaluation mode; the training networks never leave training mode."""
        return self._ema

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume. The tensors are the live ones: copy them before the next step."""
        return {
            "images_seen": self.images_seen,
            "g": self._g.state_dict(),
            "d": self._d.state_dict(),
            "ema": self._ema.state_dict(),
            "adam_g": self._adam_g.state_dict(),
            "adam_d": self._adam_d.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._g.load_state_dict(state["g"])
        self._d.load_state_dict(state["d"])
        self._ema.load_state_dict(state["ema"])
        self._adam_g.load_state_dict(state["adam_g"])
        self._adam_d.load_state_dict(state["adam_d"])
        self.images_seen = state["images_seen"]

    def _step(self) -> None:
        """One step of D, one of G with fresh latents, and the sampling copy follows."""
        self._draws.begin_step(self.images_seen)
        loss_d, d_real, d_fake, norm_d = self._discriminator_step()
        loss_g, norm_g = self._generator_step()
        self._follow()
        self._sums += torch.stack([loss_g, loss_d, d_real, d_fake, norm_g, norm_d])
        self.images_seen += self._recipe.batch_size

    def _discriminator_step(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with self._autocast():
            with torch.no_grad():
                fake = self._g(self._latents())
            real_logits, fake_logits = self._d(self._real_batch()), self._d(fake)
            loss = self._loss.discriminator(real_logits, fake_logits)
        norm = self._optimise(self._d, self._adam_d, loss)
        real, fake_probability = (logits.detach().float().sigmoid().mean() for logits in (real_logits, fake_logits))
        return loss.detach(), real, fake_probability, norm

    def _generator_step(self) -> tuple[Tensor, Tensor]:
        # Frozen, D's weights get no gradients that nobody would use.
        self._d.requires_grad_(False)
        with self._autocast():
            loss = self._loss.generator(self._d(self._g(self._latents())))
        norm = self._optimise(self._g, self._adam_g, loss)
        self._d.requires_grad_(True)
        return loss.detach(), norm

    def _optimise(self, network: nn.Module, adam: torch.optim.Adam, loss: Tensor) -> Tensor:
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._replicas.average_gradients(network.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        adam.step()
        return norm

    @torch.no_grad()
    def _follow(self) -> None:
        torch._foreach_lerp_(list(self._ema.parameters()), list(self._g.parameters()), self._ema_weight)
        for mine, theirs in zip(self._ema.buffers(), self._g.buffers(), strict=True):
            mine.copy_(theirs)

    def _latents(self) -> Tensor:
        return self._draws.normal(self._recipe.batch_size, self._recipe.latent_size)

    def _real_batch(self) -> Tensor:
        chosen = self._replicas.own_rows(self._order.indices(self.images_seen, self._recipe.batch_size))
        pixels = self._images[chosen.to(self._device, non_blocking=True)]
        return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16")

    def _read_means(self, steps: int) -> dict[str, float]:
        means = self._sums / steps
        self._replicas.average(means)
        self._sums.zero_()
        values = dict(zip(MEANS, means.tolist(), strict=True))
        wrong = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise Diverged(f"not finite in the {steps} steps before {self.images_seen} images: {', '.join(wrong)}")
        return values


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    # torch's own types leave memory_format out of Module.to.
    placed: nn.Module = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _adam(network: nn.Module, asked: Adam) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), asked.lr, asked.betas, asked.eps, fused=True)
