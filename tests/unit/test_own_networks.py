"""Networks that users write themselves, as these are imported, built and examined before a training."""

import re
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from ganservice.code_folder import pack, unpack
from ganservice.errors import DigestMismatch, NetworkInvalid, RequestError
from ganservice.recipe import Recipe
from ganservice.spec import TrainSpec
from workers.gan.data.examples import Examples
from workers.gan.networks import build_networks
from workers.gan.networks.examination import examine_networks
from workers.gan.networks.own import import_code
from workers.gan.randomness import Draws
from workers.gan.sizes import network_sizes
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
EXAMPLE = Path(__file__).parents[1] / "own_networks" / "my_networks"
PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
# G and D that do what they must; each broken one replaces some lines.
SOUND = """
    import torch
    from torch import nn

    class G(nn.Module):
        def __init__(self, latent_size):
            super().__init__()
            self.map = nn.Linear(latent_size, 64)

        def forward(self, latents):
            return self.map(latents).view(-1, 1, 8, 8).tanh()

    class D(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(64, 1)

        def forward(self, images):
            return self.map(images.flatten(1)).flatten()

    def generator(latent_size):
        return G(latent_size)

    def discriminator():
        return D()
"""
MADE = "return self.map(latents).view(-1, 1, 8, 8).tanh()"
JUDGED = "return self.map(images.flatten(1)).flatten()"
BROKEN: dict[str, tuple[str, str, str]] = {
    "a module that is not there": (
        "import torch\n",
        "import torch, no_such_module\n",
        "line 2: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "a function that is not there": (
        "def generator",
        "def generater",
        "generator: there is no such function in my_code, which has generater, discriminator",
    ),
    "one that raises": (
        "return G(latent_size)",
        "raise KeyError('size')",
        "generator: my_code/__init__.py, line 22: KeyError: 'size'",
    ),
    "one that leaves the process": (
        "return G(latent_size)",
        "raise SystemExit(3)",
        "generator: my_code/__init__.py, line 22: SystemExit: 3",
    ),
    "no module": ("return D()", "return 5", "discriminator: returned int, expected a torch.nn.Module"),
    "another shape": (
        "view(-1, 1, 8, 8)",
        "view(-1, 1, 4, 16)",
        "generator: returns a tensor [4, 1, 4, 16], expected [4, 1, 8, 8]",
    ),
    "two outputs": (MADE, MADE + ", 1", "generator: returns tuple, expected a tensor [4, 1, 8, 8]"),
    "a column of logits": (".flatten()\n", "\n", "discriminator: returns a tensor [4, 1], expected [4]"),
    "probabilities of none": (
        JUDGED,
        "return images.mean(dim=(1, 2, 3)) / 0",
        "discriminator: returns numbers that are not finite",
    ),
    "doubles": (MADE, MADE + ".double()", "generator: returns float64, expected float32"),
    "weights in halves": (
        "self.map = nn.Linear(64, 1)",
        "self.map = nn.Linear(64, 1).half()",
        "discriminator: its weight map.weight is float16, expected float32",
    ),
    "pictures from 0 to 1": (
        ".tanh()",
        ".sigmoid()",
        "generator: makes no number below 0, expected pictures within [-1, 1]",
    ),
    "pictures from 0 to 255": (".tanh()", ".tanh() * 255", "generator: makes numbers up to "),
    "chance of its own": (
        MADE,
        "import random; " + MADE + " * random.random()",
        "generator, discriminator: give other numbers when the same step is repeated",
    ),
    "weights by chance": (
        "return D()",
        "import random; d = D(); d.map.bias.data.fill_(random.random()); return d",
        "discriminator: its weight map.bias begins otherwise",
    ),
    "no weights": (
        MADE,
        "return latents.view(-1, 1, 8, 8).tanh()",
        "generator: no gradient reaches map.weight, map.bias",
    ),
    "frozen": ("return D()", "return D().requires_grad_(False)", "discriminator: has no weights that could be trained"),
    "detached": (
        MADE,
        "return self.map(latents).detach().view(-1, 1, 8, 8).tanh()",
        "generator: no gradient reaches map.weight, map.bias",
    ),
    "an error in forward": (
        MADE,
        "return self.mop(latents)",
        "forward, given latents [B, latent_size]: my_code/__init__.py, line 11: AttributeError: 'G'",
    ),
    "a mix of pictures": (
        JUDGED,
        "x = images.flatten(1); return self.map(x - x.mean(dim=0)).flatten()",
        "discriminator: mixes the pictures of a batch, as BatchNorm does, but loss.kind: wgan_gp",
    ),
    "a gradient without one": (
        JUDGED,
        "return self.map(torch.cdist(images[:, 0], torch.eye(8).expand(4, 8, 8)).flatten(1)).flatten()",
        "discriminator: its gradient has no gradient, but loss.kind: wgan_gp penalises the gradient at each picture: ",
    ),
    "a shape that is not known": (
        "self.map = nn.Linear(64, 1)",
        "self.map = nn.LazyLinear(1)",
        "discriminator: its weight map.weight has no shape yet",
    ),
    "work on what it is given": (
        JUDGED,
        "return self.map(images.relu_().flatten(1)).flatten()",
        "discriminator: changes what it is given; leave out inplace=True and the like at its beginning",
    ),
    "something kept that was not there": (
        MADE,
        "self.register_buffer('last', latents[0].detach()); " + MADE,
        "generator: keeps last [64] once it has run, nothing of that name until then",
    ),
    "something kept in the shape of a batch": (
        "self.map = nn.Linear(64, 1)\n",
        (
            "self.map = nn.Linear(64, 1); self.register_buffer('last', torch.zeros(1))\n"
            "        self.register_forward_hook(lambda module, _, out: setattr(module, 'last', out.detach()))\n"
        ),
        "discriminator: keeps last [4] once it has run, [1] of that name until then",
    ),
    "other samples than pictures": (
        MADE,
        "made = self.map(latents).view(-1, 1, 8, 8).tanh(); return made if self.training else (made, latents)",
        "generator, in evaluation mode: returns tuple, expected a tensor [1, 1, 8, 8]",
    ),
    "an error in evaluation mode": (
        MADE,
        "assert self.training; " + MADE,
        "generator: forward in evaluation mode, for one picture: my_code/__init__.py, line 11: AssertionError",
    ),
    "a lock": (
        "self.map = nn.Linear(64, 1)",
        "self.map = nn.Linear(64, 1); import threading; self.lock = threading.Lock()",
        "discriminator: copy.deepcopy: TypeError: cannot pickle '_thread.lock' object",
    ),
}


def recipe(folder: Path, digest: str, size: int = 8, **more: Any) -> Recipe:
    own: dict[str, Any] = {
        "generator": {"kind": "own", "function": "generator"},
        "discriminator": {"kind": "own", "function": "discriminator"},
    }
    data = {"dataset": "digits", "image_size": size, "channels": 1}
    code = {"folder": folder.name, "digest": digest}
    return Recipe.model_validate({"data": data, "code": code, "latent_size": 64, "batch_size": 8} | own | more)


def written(folder: Path, source: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(textwrap.dedent(source))
    return folder


def changed(parent: Path, sound: str, other: str) -> Path:
    """A folder of what does all that it must, but for this."""
    source = textwrap.dedent(SOUND)
    assert source.count(sound) == 1, "another change than was meant"
    return written(parent / "my_code", source.replace(sound, other))


def imported(folder: Path, **more: Any) -> Recipe:
    packed = pack(folder)
    import_code(folder, packed.digest)
    return recipe(folder, packed.digest, **more)


def examine(folder: Path, **more: Any) -> None:
    examine_networks(imported(folder, **more), 0, CPU)


def test_what_does_all_that_it_must_is_let_in(tmp_path: Path) -> None:
    examine(written(tmp_path / "my_code", SOUND), loss={"kind": "wgan_gp"})
    options = {"function": "generator", "kind": "own", "options": {"width": 4}}
    examine(EXAMPLE, size=28, generator=options, conditioning={"classes": 3})


@pytest.mark.parametrize("fault", BROKEN)
def test_what_does_not_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    sound, broken, told = BROKEN[fault]
    folder = changed(tmp_path, sound, broken)
    with pytest.raises(NetworkInvalid) as caught:
        examine(folder, loss={"kind": "wgan_gp"})
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_the_files_import_for_themselves_is_not_called(tmp_path: Path) -> None:
    folder = written(tmp_path / "my_code", "from os import mkdir\n" + textwrap.dedent(SOUND))
    generator = {"kind": "own", "function": "mkdir", "options": {"path": str(tmp_path / "made")}}
    with pytest.raises(NetworkInvalid) as caught:
        examine(folder, generator=generator)
    assert str(caught.value) == "mkdir: is of posix, expected a function that the files of my_code define"
    assert not (tmp_path / "made").exists()


def test_a_function_is_given_all_that_the_handbook_names(tmp_path: Path) -> None:
    table = PAGE.split("**What a function is given.**")[1].split("**What it must return.**")[0]
    names = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert "latent_size" in names
    examine(
        written(tmp_path / "my_code", SOUND.replace("def generator(latent_size)", f"def generator({', '.join(names)})"))
    )


def test_an_argument_for_which_nothing_is_given_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "my_code", SOUND.replace("generator(latent_size)", "generator(latent_size, depth)"))
    with pytest.raises(NetworkInvalid, match="nothing is given for its argument depth; give it in options"):
        examine(folder)


def test_an_option_that_the_function_does_not_take_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "my_code", SOUND)
    generator = {"kind": "own", "function": "generator", "options": {"widht": 4}}
    with pytest.raises(NetworkInvalid, match=r"options.widht: generator has no such argument; it takes latent_size"):
        examine(folder, generator=generator)


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("my_code", {}, "holds no Python file"),
        ("my_code", {"a.py": "def f(:"}, "a.py, line 1: "),
        ("my_code", {"a.py": "\0"}, "cannot contain null bytes"),
        ("my_code", {"a.py": b"\xff"}, "expected UTF-8"),
        ("my_code", {"a.py": "x = 1\n" * 200_000}, "is larger than 1,048,576 bytes"),
        ("my_code", {f"m{each}.py": "" for each in range(201)}, "holds more than 200 Python files"),
        ("my code", {"a.py": ""}, "expected a name of letters, digits and underscores"),
        ("json", {"a.py": ""}, "is called as a module of Python is"),
    ],
)
def test_a_folder_that_cannot_be_code_is_refused_before_anything_of_it_is_run(
    tmp_path: Path, name: str, files: dict[str, str | bytes], told: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for path, text in files.items():
        (folder / path).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RequestError) as caught:
        pack(folder)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_links_lead_nowhere(tmp_path: Path) -> None:
    folder = written(tmp_path / "my_code", SOUND)
    (folder / "secret.py").symlink_to("/etc/hostname")
    with pytest.raises(RequestError, match=r"secret.py: is a link; copy the file into the folder"):
        pack(folder)


def test_a_folder_that_is_a_link_is_refused_and_not_left_out(tmp_path: Path) -> None:
    folder, blocks = (written(tmp_path / name, SOUND) for name in ("my_code", "blocks"))
    (folder / "blocks").symlink_to(blocks)
    with pytest.raises(RequestError, match=r"^recipe.code: .*my_code/blocks: is a link; copy the folder there$"):
        pack(folder)


def test_the_same_files_have_the_same_digest_wherever_they_lie(tmp_path: Path) -> None:
    here, there = (written(tmp_path / place / "my_code", SOUND) for place in ("a", "b"))
    (there / "__pycache__").mkdir()
    (there / "notes.txt").write_text("not code")
    assert pack(here).digest == pack(there).digest
    (there / "more.py").write_text("")
    assert pack(here).digest != pack(there).digest


def test_a_stored_folder_is_itself_or_refused(tmp_path: Path) -> None:
    packed = pack(written(tmp_path / "my_code", SOUND))
    again = unpack(packed.text, packed.digest, "the store")
    assert again == packed
    with pytest.raises(DigestMismatch):
        unpack(packed.text.replace(b"Linear", b"Bilinear"), packed.digest, "the store")
    with pytest.raises(DigestMismatch):
        unpack(b'{"format": 1, "name": "a", "files": {"../a.py": ""}}', packed.digest, "the store")
    cached = again.cached(tmp_path / "cache")
    (cached / "__init__.py").write_text("raise SystemExit")
    assert pack(again.cached(tmp_path / "cache")) == packed, "what somebody changed in the cache is written anew"


def test_the_later_of_two_folders_of_one_name_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for place in ("a", "b"):
        source = SOUND.replace("self.map = nn.Linear(64, 1)", f"self.map = nn.Linear(64, 1); self.place = {place!r}")
        folder = written(tmp_path / place / "my_code", source)
        packed = pack(folder)
        import_code(folder, packed.digest)
        discriminator = build_networks(recipe(folder, packed.digest), 0, Draws(0, CPU, WorkerGroup()))[1]
        assert discriminator.place == place


# What is unusual, and works: with micro-batches, adaptive augmentation, frozen layers and several workers.
UNUSUAL: dict[str, tuple[str, str]] = {
    "latents are ignored": (MADE, "return self.map(torch.ones_like(latents)).view(-1, 1, 8, 8).tanh()"),
    "latents are ignored but for one number": (
        MADE,
        "return self.map(latents[:, :1].expand(-1, latents.shape[1])).view(-1, 1, 8, 8).tanh()",
    ),
    "another tensor takes the place of what it keeps": (
        "self.map = nn.Linear(64, 1)\n",
        (
            "self.map = nn.Linear(64, 1); self.register_buffer('seen', torch.zeros(()))\n"
            "        self.register_forward_hook(lambda module, _, out: setattr(module, 'seen', module.seen + 1))\n"
        ),
    ),
    "a layer that has two names": (
        "self.map = nn.Linear(64, 1)\n",
        "self.map = nn.Linear(64, 1); self.all = nn.Sequential(self.map)\n",
    ),
    "weights beside all layers": (
        "self.map = nn.Linear(64, 1)\n",
        (
            "self.map = nn.Linear(64, 1); self.bias = nn.Parameter(torch.zeros(1))\n"
            "        self.register_forward_hook(lambda module, _, out: out + module.bias)\n"
        ),
    ),
    "a part that never learns": (
        "self.map = nn.Linear(64, 1)\n",
        "self.map = nn.Linear(64, 1); self.map.bias.requires_grad_(False)\n",
    ),
}
ADAPTIVE = {"changes": ["flip", "scale"], "probability": {"kind": "adaptive", "speed_images": 50}}


def trained(asked: Recipe, micro_batch_size: int | None) -> Trainer:
    images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(asked, Examples(images), 0, CPU, micro_batch_size=micro_batch_size)
    list(trainer.train(32, 16))
    return trainer


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_unusual_learns_in_pieces_what_it_would_as_a_whole(tmp_path: Path, what: str) -> None:
    folder = changed(tmp_path, *UNUSUAL[what])
    asked = imported(folder, augment=ADAPTIVE, loss={"kind": "hinge"}, precision="fp32")
    examine_networks(asked, 0, CPU, micro_batch_size=2)
    whole, pieces = (trained(asked, size) for size in (None, 2))
    for part in ("g", "d", "ema"):
        for name, weight in whole.state_dict()[part].items():
            torch.testing.assert_close(pieces.state_dict()[part][name], weight, rtol=0, atol=1e-3, msg=name)
    alike = trained(asked, None)
    alike.load_state_dict(whole.state_dict())
    assert alike.sample(torch.zeros(1, 64)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("what", UNUSUAL)
def test_frozen_layers_of_what_is_unusual_are_frozen_or_told_in_one_line(tmp_path: Path, what: str) -> None:
    asked = imported(changed(tmp_path, *UNUSUAL[what]), freeze_d=1)
    with pytest.raises(NetworkInvalid, match=r"^recipe.freeze_d: found 1, but D has 1 layers, of which"):
        trained(asked, None)


def test_layers_of_which_only_the_frozen_ones_would_learn_are_told(tmp_path: Path) -> None:
    two = "self.map = nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 1)); self.map[1].requires_grad_(False)"
    asked = imported(changed(tmp_path, "self.map = nn.Linear(64, 1)", two), freeze_d=1)
    with pytest.raises(NetworkInvalid, match=r"^recipe.freeze_d: found 1, but no layer of D behind those learns"):
        trained(asked, None)


def test_one_picture_alone_has_the_shape_that_many_have(tmp_path: Path) -> None:
    asked = imported(changed(tmp_path, JUDGED, "return self.map(images.flatten(1)).squeeze()"))
    examine_networks(asked, 0, CPU, micro_batch_size=2)
    with pytest.raises(NetworkInvalid, match=r"^discriminator: returns a tensor \[\], expected \[1\]$"):
        examine_networks(asked, 0, CPU, micro_batch_size=1)


@pytest.mark.parametrize("code", ["while True: pass", "import threading; threading.Event().wait()"])
def test_code_that_does_not_end_is_given_up_by_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """`submit --dry-run` waited for ever."""
    monkeypatch.setattr("workers.gan.sizes.LIMIT_S", 0.5)
    folder = tmp_path / "hanging"
    folder.mkdir()
    (folder / "__init__.py").write_text(code)
    own = {"generator": {"kind": "own", "function": "generator"}, "discriminator": {"kind": "mlp"}}
    data = {"dataset": "shapes", "image_size": 8, "channels": 1}
    asked = Recipe.model_validate({"data": data, "code": {"folder": str(folder)}} | own)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(NetworkInvalid, match=r"recipe.code: was tried for 0.5 s and did not end; .* --dry-run"):
        network_sizes(TrainSpec(name="tiny", images=64, recipe=asked))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
