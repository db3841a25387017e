"""Trainer: a GAN in training, as a generator of Progress over images."""

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from ganservice.job import Progress
from ganservice.recipe import Precision, Recipe
from workers.gan.augment import build_augment
from workers.gan.augment.adaptation import build_adaptation
from workers.gan.data.examples import Examples
from workers.gan.engine import Eager, Graphs, StepPart, find_engine
from workers.gan.gradient_exchange import GradientExchange
from workers.gan.held_out import HeldOut
from workers.gan.losses import build_loss, value
from workers.gan.micro_batches import MicroBatches
from workers.gan.networks import ALONE, build_networks, move
from workers.gan.networks.layers import freeze, without_gradients
from workers.gan.optimisers import build_adam, load_moments, set_rates
from workers.gan.path_length import PathLength, build_path_length
from workers.gan.pauses import Paused, Pauses
from workers.gan.precision import Choice, autocast, bf16_pays, choose_precision, slows_in_bf16
from workers.gan.randomness import Draws
from workers.gan.real_batches import Labels, RealBatches
from workers.gan.resolution import shrink
from workers.gan.sampling_copy import SamplingCopy
from workers.gan.step_means import StepMeans
from workers.gan.transfer import Transfer, compare, fitting
from workers.gan.worker_group import WorkerGroup

# Of images and labels the loss, or none, and further means over them.
LossOf = Callable[[Tensor, Labels], tuple[Tensor | None, list[Tensor]]]


class Trainer:
    """G, D, the sampling copy of G (EMA), both optimisers and the count of images seen.

    `generator` and `discriminator` are the networks that train; they never leave training mode. `train` runs whole
    steps and reports on them; `step`, or `next_batch`, `discriminator_step` and `generator_step`, are for who looks at
    one.

    Everything random derives from (seed, images seen): a trainer that loads another's state goes on bit for bit as
    the other would have, on the same device and number of threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        examples: Examples,
        seed: int,
        device: torch.device,
        group: WorkerGroup = ALONE,
        held_out: Examples | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        """`examples` is the whole training set, `held_out` some that are never learned, for whoever reports; `device`
        gets of them what fits. Networks look at `micro_batch_size` images at a time, else at all of this worker's.
        Every worker of a gang does this at once."""
        self.images_seen = 0
        self.steps = 0
        self._recipe = recipe
        self._device = device
        self._group = group
        # One slow worker would keep all others waiting.
        self.bf16_pays = not group.any(not bf16_pays(device))
        self._draws = Draws(seed, device, group)
        self._batches = RealBatches(recipe, examples, seed, device, self._draws, group)
        self._held_out = held_out and HeldOut(
            self._batches, RealBatches(recipe, held_out, seed, device, self._draws, group)
        )
        generator, discriminator = build_networks(recipe, seed, self._draws, group)
        self.generator = move(generator, device).train()
        self.discriminator = move(discriminator, device).train()
        self.choice = self._choose_precision()
        freeze(self.discriminator, recipe.freeze_d)
        self._pieces = MicroBatches(micro_batch_size, self._draws, (self.generator, self.discriminator))
        self._sampling_copy = SamplingCopy(self.generator, recipe, seed, self._batches, device)
        self.engine_choice, recorder = find_engine(recipe, device, group, micro_batch_size, self._draws)
        self._adam_g = build_adam(self.generator, recipe.optimiser_g, recorder is not None)
        self._adam_d = build_adam(self.discriminator, recipe.optimiser_d, recorder is not None)
        self._exchange_g, self._exchange_d = (
            GradientExchange(each, group) for each in (self.generator, self.discriminator)
        )
        self._loss = build_loss(recipe.loss, self._draws, recipe.pack)
        self._path_length = build_path_length(recipe, self._draws, group, device)
        self._adaptation = build_adaptation(recipe, device, group)
        self._augment = build_augment(recipe.augment, self._draws)
        self._means = StepMeans(self._loss.gives_probabilities, device, group)
        self._span: dict[str, Any] | None = None  # of all workers, while they pause between two reports
        # That the sampling copy takes over in a step: where recordings find it, if any are made.
        self._ema_share: float | Tensor = torch.zeros((), device=device) if recorder else 0.0
        self._engine = Graphs(recorder, self._changed_by_steps, self._draws.generators) if recorder else Eager()

    def train(
        self, total_images: int, report_every_images: int, is_pause_wanted: Callable[[], bool] = lambda: False
    ) -> Iterator[Progress]:
        """Train up to `total_images`, yielding every `report_every_images` (in whole steps) and at the end.

        Called again, it goes on, and so does a trainer that loads its state: no report differs for the pause.

        Raises:
            Diverged: before the report, or the pause, of a span in which a loss or gradient was not finite.
            Paused: a worker wants a pause; on all of them, between two reports.
        """
        report_steps = max(1, report_every_images // self._recipe.images_per_step)
        self._span = None
        pauses = Pauses(is_pause_wanted, self._group)
        first, started = self.steps, time.perf_counter()
        while self.images_seen < total_images:
            self.step()
            is_paused = pauses.is_due()
            if self.steps % report_steps == 0 or self.images_seen >= total_images:
                steps = self.steps - first
                means: dict[str, Any] = self._means.read(self.images_seen)
                span_s = time.perf_counter() - started
                means["d_held_out_gap"] = self._held_out and self._held_out.gap(self.discriminate, self.images_seen)
                yield Progress(
                    images=self.images_seen,
                    step=self.steps,
                    images_per_s=steps * self._recipe.images_per_step / span_s,
                    step_s=span_s / steps,
                    augment_probability=float(self._probability) if self._recipe.augment.may_change else None,
                    **means,
                )
                first, started = self.steps, time.perf_counter()
            elif is_paused:
                self._span = self._means.gather(self.images_seen)
                raise Paused

    @torch.no_grad()
    def sample(self, *inputs: Tensor) -> Tensor:
        """What the sampling copy of G makes, on the CPU.

        Latents float [B, latent_size], and labels int64 [B] if the recipe has conditioning, to images float
        [B, channels, size, size] in [-1, 1], or to points float [B, 2]. With `super_resolution` small pictures instead.
        """
        samples: Tensor = self.sampling_generator(*(values.to(self._device) for values in inputs))
        return samples.cpu()

    def glimpse(self, *inputs: Tensor) -> Tensor:
        """As `sample`, of so many inputs that their own statistics will do: cheap enough for every report."""
        return self._sampling_copy.glimpse(*(values.to(self._device) for values in inputs)).cpu()

    @torch.no_grad()
    def discriminate(self, examples: Tensor, labels: Labels = ()) -> Tensor:
        """D's logits of points float [B, 2], or of images with their labels, without dropout; on the CPU.

        A D that looks at packs is shown each of them as often as a pack has places.
        """
        packs = (values.to(self._device).repeat_interleave(self._recipe.pack, dim=0) for values in (examples, *labels))
        logits: Tensor = copy.deepcopy(self.discriminator).eval()(*packs)
        return logits.cpu()

    @property
    def sampling_generator(self) -> nn.Module:
        """The sampling copy of G, in evaluation mode."""
        return self._sampling_copy.network

    @property
    def precision(self) -> Precision:
        """The number format of forward and backward passes."""
        return self.choice.precision

    @property
    def engine_trouble(self) -> str | None:
        """Why steps are given to the device one operation after the other, where they were to be recorded."""
        return self._engine.trouble

    @property
    def labels(self) -> tuple[float, float] | None:
        """What D's probabilities are to be of generated and of real images, in the mean; None where it gives none."""
        return self._loss.labels

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume. The tensors are the live ones: copy them before the next step."""
        return {
            "images_seen": self.images_seen,
            "steps": self.steps,
            "precision": self.precision,
            "g": self.generator.state_dict(),
            "d": self.discriminator.state_dict(),
            "ema": self.sampling_generator.state_dict(),
            "adam_g": self._adam_g.state_dict(),
            "adam_d": self._adam_d.state_dict(),
        } | {key: part for key, part in self._parts_by_recipe() if part}

    def _parts_by_recipe(self) -> Iterator[tuple[str, Any]]:
        """What only some recipes, or some moments, have."""
        yield "span", self._span
        yield "path_length", self._path_length and self._path_length.state_dict()
        yield "adaptation", self._adaptation and self._adaptation.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; how the recipe has its optimisers work holds, not what the state says of that.

        Its precision is kept if the recipe leaves the choice and every device of the gang has it. One that is not of
        these networks raises whatever it leads to, see `MISFITS` in `checkpoint.py`.
        """
        self.load_weights(state)
        load_moments(self._adam_g, state["adam_g"])
        load_moments(self._adam_d, state["adam_d"])
        if self._path_length and "path_length" in state:  # else of another recipe, that had none
            self._path_length.load_state_dict(state["path_length"])
        if self._adaptation and "adaptation" in state:  # else of another recipe, or of before there was one
            self._adaptation.load_state_dict(state["adaptation"])
        if span := state.get("span"):
            self._means.go_on(span)
        self.images_seen = state["images_seen"]
        self.steps = state["steps"]
        # A checkpoint from before precision was written down leaves the choice.
        self.choice = self._choose_precision(state.get("precision"))

    def _choose_precision(self, checkpoint: Precision | None = None) -> Choice:
        pays = self.bf16_pays and not slows_in_bf16(self._device, self.generator, self.discriminator)
        return choose_precision(self._recipe.precision_option, pays, checkpoint)

    def take_fitting_weights(self, state: dict[str, Any]) -> Transfer:
        """Begin with what of the networks of `state` fits these, by name and shape. Raises DataInvalid if nothing."""
        transfer = compare(self.generator, self.discriminator, state)
        own = {"g": self.generator, "d": self.discriminator, "ema": self._sampling_copy.network}
        whole = {part: network.state_dict() for part, network in own.items()}
        self.load_weights({part: whole[part] | fitting(whole[part], state[part]) for part in own})
        return transfer

    def load_weights(self, state: dict[str, Any]) -> None:
        """Begin with the networks of `state` and nothing else of it."""
        self._engine.forget()
        self.generator.load_state_dict(state["g"])
        self.discriminator.load_state_dict(state["d"])
        self._sampling_copy.load_state_dict(state["ema"])

    def step(self) -> None:
        """Take the steps of D, then one of G with fresh latents; the sampling copy follows."""
        # Penalties in every step are part of D's own; path lengths are a further step of G even then.
        of_g, of_d = self._lazy_steps_of_g, self._lazy_steps_of_d
        set_rates(self._adam_g, self._recipe.optimiser_g, self.images_seen, of_g)
        set_rates(self._adam_d, self._recipe.optimiser_d, self.images_seen, of_d)
        for _ in range(self._recipe.d_steps):
            real, labels = self.next_batch()
            numbers = self._run("d", self._is_due(of_d), self._adam_d, self._add_discriminator_step, real, labels)
            if self._adaptation:
                self._adaptation.observe(numbers[-2], len(real) // self._recipe.pack, self._recipe.batch_size)
        half_life = self._recipe.ema.half_life(self.images_seen)
        ema_share = 1 - 0.5 ** (self._recipe.images_per_step / half_life)
        if isinstance(self._ema_share, Tensor):
            self._ema_share.fill_(ema_share)
        else:
            self._ema_share = ema_share
        self._run("g", self._is_due(of_g), self._adam_g, self._add_generator_step, real, labels)
        self._sampling_copy.has_moved()
        self._means.count_step()
        self.steps += 1

    @property
    def _lazy_steps_of_g(self) -> int | None:
        return self._path_length.every_steps if self._path_length else None

    @property
    def _lazy_steps_of_d(self) -> int | None:
        return self._recipe.loss.lazy_steps if self._recipe.loss.lazy_steps > 1 else None

    def _is_due(self, every_steps: int | None) -> bool:
        return every_steps is not None and self.steps % every_steps == 0

    def _run(
        self, network: str, is_lazy_due: bool, adam: torch.optim.Adam, part: StepPart, real: Tensor, labels: Labels
    ) -> list[Tensor]:
        """Run a part of a step, with all that the host decides of it and that changes from step to step."""
        weights = self._loss.weights(self.images_seen) if network == "d" else ()
        probability = self._probability if not self._adaptation else None
        numbers = (weights, probability, *(group["betas"] for group in adam.param_groups))
        return self._engine.run((network, is_lazy_due), numbers, part, real, *labels)

    def _add_discriminator_step(self, real: Tensor, *labels: Tensor) -> list[Tensor]:
        numbers = self.discriminator_step(real, labels)
        self._means.add_discriminator(numbers, 1 / self._recipe.d_steps)
        return numbers

    def _add_generator_step(self, real: Tensor, *labels: Tensor) -> list[Tensor]:
        numbers = self.generator_step(real, labels)
        self._means.add_generator(numbers)
        self._sampling_copy.follow(self.generator, self._ema_share)
        return numbers

    def _changed_by_steps(self) -> list[Tensor]:
        """All that the parts of a step change, which stays where it is."""
        of_networks = [
            tensor
            for network in (self.generator, self.discriminator)
            for tensor in (*network.parameters(), *network.buffers())
        ]
        of_optimisers = [
            tensor
            for adam in (self._adam_g, self._adam_d)
            for moments in adam.state.values()
            for tensor in moments.values()
        ]
        of_paths = [self._path_length.state_dict()["mean"]] if self._path_length else []
        of_reports = self._means.sums.unbind()  # one by one, for some are thousands of times others
        tensors = [*of_networks, *of_optimisers, *of_paths, *self._sampling_copy.tensors(), *of_reports]
        return [tensor.detach() for tensor in tensors]

    def next_batch(self) -> tuple[Tensor, Labels]:
        """Begin the draws of the next step and return this worker's rows of its real batch, in the range of G's."""
        self._draws.begin_step(self.images_seen)
        batch = self._batches.after(self.images_seen)
        self.images_seen += self._recipe.batch_size
        return batch

    def discriminator_step(self, real: Tensor, labels: Labels) -> list[Tensor]:
        """Update D once and return the loss, the norm of the gradients and the means that a report gives of D."""
        lazy_steps = self._recipe.loss.lazy_steps
        fakes: list[Tensor] = []

        def loss_of(real: Tensor, labels: Labels) -> tuple[Tensor, list[Tensor]]:
            with autocast(self.precision, self._device):
                with torch.no_grad():
                    fake = self.generator(self._given(real), *labels)
                fakes.append(fake)
                real_logits, fake_logits = self._judge(real, labels), self._judge(fake, labels)
                loss = self._loss.discriminator(real_logits, fake_logits)
                penalty = self._penalty(real, fake, labels) if lazy_steps == 1 else None
            numbers = [loss.detach(), *self._numbers(real_logits.detach().float(), fake_logits.detach().float())]
            return loss if penalty is None else loss + penalty, numbers

        norm, loss, *numbers = self._optimise(self._exchange_d, self._adam_d, loss_of, real, labels)
        if self._is_due(self._lazy_steps_of_d):
            of_pieces = iter(fakes)

            def lazy_penalty_of(real: Tensor, labels: Labels) -> tuple[Tensor | None, list[Tensor]]:
                with autocast(self.precision, self._device):
                    penalty = self._penalty(real, next(of_pieces), labels)
                return None if penalty is None else lazy_steps * penalty, []

            self._optimise(self._exchange_d, self._adam_d, lazy_penalty_of, real, labels)
        return [loss, norm, *numbers]

    def generator_step(self, real: Tensor, labels: Labels) -> list[Tensor]:
        """Update G once and return the loss and the norm of the gradients; `real` is for losses that compare, and for
        super-resolution the pictures that G is to make of them made small."""

        def loss_of(real: Tensor, labels: Labels) -> tuple[Tensor, list[Tensor]]:
            with autocast(self.precision, self._device):
                real_logits = self._judge(real, labels) if self._loss.compares else None
                fake = self.generator(self._given(real), *labels)
                loss = self._loss.generator(self._judge(fake, labels), real_logits)
                if task := self._recipe.super_resolution:
                    loss = loss + task.reconstruction * l1_loss(fake.float(), real)
            return loss, [loss.detach()]

        with without_gradients(self.discriminator):
            norm, loss = self._optimise(self._exchange_g, self._adam_g, loss_of, real, labels)
        if self._path_length and self._is_due(self._lazy_steps_of_g):
            of_penalty = self._path_step(self._path_length, real, labels)
            norm = norm + 0 * of_penalty  # not finite where either is not: no later loss of this step would show it
        return [loss, norm]

    def _path_step(self, path_length: PathLength, real: Tensor, labels: Labels) -> Tensor:
        """Update G once by its path lengths and return the norm of the gradients."""

        def lengths_of(real: Tensor, labels: Labels) -> Tensor:
            # Of every second row, as published to save memory: of half of each worker's, whatever their number.
            halves = (values[::2] for values in (self._given(real), *labels))
            return path_length.lengths(self.generator, next(halves), tuple(halves))

        is_whole = self._pieces.count(real) == 1
        if not is_whole:
            # Each is compared with a mean over all of them: pieces are looked at twice.
            with self._draws.ahead():
                lengths = [lengths_of(*each[:2]).detach() for each in self._pieces.split(real, labels)]
            path_length.follow(torch.cat(lengths))

        def penalty_of(real: Tensor, labels: Labels) -> tuple[Tensor, list[Tensor]]:
            lengths = lengths_of(real, labels)
            if is_whole:
                path_length.follow(lengths)
            return path_length.penalty(lengths), []

        (norm,) = self._optimise(self._exchange_g, self._adam_g, penalty_of, real, labels)
        return norm

    def _numbers(self, real_logits: Tensor, fake_logits: Tensor) -> list[Tensor]:
        """The means that a report gives of D beside its loss."""
        numbers = [real_logits.mean(), fake_logits.mean()]
        if self._loss.gives_probabilities:
            numbers += [real_logits.sigmoid().mean(), fake_logits.sigmoid().mean(), value(real_logits, fake_logits)]
        return [*numbers, *self._loss.accuracies(real_logits, fake_logits)]

    @property
    def _probability(self) -> float | Tensor:
        """With which an image undergoes each change of the augmentation."""
        if self._adaptation:
            return self._adaptation.probability
        return self._recipe.augment.probability_at(self.images_seen)

    def _penalty(self, real: Tensor, fake: Tensor, labels: Labels) -> Tensor | None:
        """Of D and the augmentation together, at the picture before it (Karras et al. 2020, "StyleGAN2-ADA")."""
        return self._loss.penalty(lambda images: self._judge(images, labels), real, fake, self.images_seen)

    def _judge(self, images: Tensor, labels: Labels) -> Tensor:
        """D's logits of pictures, which it sees augmented."""
        logits: Tensor = self.discriminator(self._augment(images, self._probability), *labels)
        return logits

    def _optimise(
        self, exchange: GradientExchange, adam: torch.optim.Adam, loss_of: LossOf, real: Tensor, labels: Labels
    ) -> list[Tensor]:
        """Take a step by the mean loss over the pieces of a batch, and return the norm of its gradients and the means
        of the other numbers; take none where there is no loss."""
        adam.zero_grad(set_to_none=True)
        of_pieces = []
        count = self._pieces.count(real)
        for images, of_images, share in self._pieces.split(real, labels):
            loss, numbers = loss_of(images, of_images)
            if loss is None:
                return []
            of_pieces.append(numbers)
            if len(of_pieces) < count:
                (share * loss).backward()
            else:
                exchange.backward(share * loss)
        weights = (weight for param_group in adam.param_groups for weight in param_group["params"])
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        adam.step()
        return [norm, *(torch.stack(numbers).mean() for numbers in zip(*of_pieces, strict=True))]

    def _given(self, real: Tensor) -> Tensor:
        """What G is given beside labels: fresh latents, or the pictures of a batch made small."""
        if task := self._recipe.super_resolution:
            return shrink(real, task.factor)
        return self._draws.normal(self._recipe.batch_size, self._recipe.latent_size)
