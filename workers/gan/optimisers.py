"""The optimisers of G and D, as a recipe has them work after so many images."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ganservice.recipe import Adam
from ganservice.recipe.optimisers import at
from workers.gan.checkpoint import check_moments


class UncompiledAdam(torch.optim.Adam):
    """Torch's Adam, that no compiler ever sees.

    Torch hides these methods from its compiler, and imports it to do so: a second of a processor before the first step.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


def build_adam(network: nn.Module, options: Adam, is_recorded: bool = False) -> UncompiledAdam:
    """The optimiser of a network's weights.

    Where its steps are recorded its learning rate lies on their device, as a tensor: a recording would keep a number.
    """
    weights = list(network.parameters())
    lr = torch.tensor(options.lr, device=weights[0].device) if is_recorded else options.lr
    adam = UncompiledAdam(weights, lr, _betas(options, 0), options.eps, fused=True, capturable=is_recorded)
    # Torch warns of one whose steps could be recorded and are not, as are those before a recording.
    adam._warned_capturable_if_run_uncaptured = True  # noqa: SLF001
    return adam


def set_rates(adam: torch.optim.Adam, options: Adam, images: int, lazy_steps: int | None) -> None:
    """Have an optimiser learn as its recipe says after `images` images.

    Where it takes one more step every `lazy_steps` steps, it takes smaller ones, that forget less, so that its rate by
    images is as asked for (Karras et al. 2020, "StyleGAN2", appendix B). None where it takes no more.
    """
    share = lazy_steps / (lazy_steps + 1) if lazy_steps else 1.0
    first, second = _betas(options, images)
    for param_group in adam.param_groups:
        lr = options.lr * options.schedule.share(images) * share
        if isinstance(param_group["lr"], Tensor):
            param_group["lr"].fill_(lr)
        else:
            param_group["lr"] = lr
        param_group["betas"] = (first**share, second**share)


def load_moments(adam: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Go on from the moments of `state`, by the optimiser's own options.

    One that is not of its weights raises whatever it leads to, see `MISFITS` in `checkpoint.py`.
    """
    options = [{key: value for key, value in group.items() if key != "params"} for group in adam.param_groups]
    adam.load_state_dict(state)
    for param_group, own in zip(adam.param_groups, options, strict=True):
        param_group.update(own)
    check_moments(adam)


def _betas(options: Adam, images: int) -> tuple[float, float]:
    return options.betas[0], at(options.betas[1], images)
