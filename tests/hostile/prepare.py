"""What the inputs are made of and thrown at: a sound data set, a trained job, its checkpoint and its generator."""

import json

from tests.hostile.ground import Ground
from tests.published import write_generator
from tests.specs import draw_shapes

DATA_SET = "shapes"
BASE = {
    "name": "base",
    "images": 640,
    "report_every_images": 320,
    "recipe": {
        "data": {"dataset": DATA_SET, "image_size": 16, "channels": 1},
        "latent_size": 8,
        "generator": {"kind": "mlp", "widths": [16]},
        "discriminator": {"kind": "mlp", "widths": [16]},
        "conditioning": {"classes": 2},
        "batch_size": 32,
    },
    "checkpoints": {"every_images": 320},
    "samples": {"every_images": 320, "rows": 1, "columns": 2},
}

# The folder of a generator that enlarges pictures, which nobody has trained.
ENLARGER = "enlarger"
ENLARGING = {
    "data": {"dataset": DATA_SET, "image_size": 16, "channels": 1},
    "generator": {"kind": "edsr", "width": 4, "blocks": 1},
    "super_resolution": {"factor": 2},
    "latent_size": 0,
}


def prepare(ground: Ground) -> None:
    """Make it, by the commands of a user."""
    folder = ground.service.folder / "shapes"
    folder.mkdir()
    draw_shapes(folder, DATA_SET)
    ground.ganctl("data", "import", str(folder), "--name", DATA_SET, "--size", "16", refused=False)
    with ground.file("base.yaml", json.dumps(BASE).encode()) as path:
        base = ground.ganctl("run", str(path), refused=False).stdout.split()[0]
    bundle = ground.service.folder / "bundle"
    ground.ganctl("fetch", base, "--into", str(bundle), refused=False)
    write_generator(ground.service.folder / ENLARGER, ENLARGING, graph=None)
    if ground.case.violations:
        raise RuntimeError(f"what is sound does not work: {ground.case.violations}, {ground.case.commands}")
    ground.found = {
        "base": base,
        "spec": ground.store.objects.get(f"jobs/{base}/spec.yaml"),
        "checkpoint": ground.store.objects.get(ground.store.checkpoint_keys(base)[0]),
        "bundle": {path.name: path.read_bytes() for path in bundle.iterdir()},
        "on": json.dumps(BASE | {"name": "on", "images": 704, "max_attempts": 1}).encode(),
    }
