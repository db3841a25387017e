"""Networks in files of ONNX, which anybody may have sent, and pixels at low resolution."""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from ganservice.errors import DataInvalid
from ganservice.judging import Scaling
from workers.gan.evaluation.features import FeatureNetwork, onnx_network, pixels

PLAIN = Scaling(mean=(0.0,), std=(1.0,))
Sizes = Sequence[int | str | None]


def model(
    sizes: Sizes = ("N", 3, 4, 4),
    out: Sizes = ("N", 5),
    extra: Sequence[onnx.NodeProto] = (),
    change: Callable[[onnx.ModelProto], object] = lambda _: None,
    **named: Any,
) -> bytes:
    """A network that multiplies the pixels by a matrix."""
    inputs = int(np.prod([size for size in sizes[1:] if isinstance(size, int)]))
    matrix = np.random.default_rng(0).normal(size=(inputs, int(out[-1] or 5))).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["pictures"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["features"]),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **named)
    change(made)
    data: bytes = made.SerializeToString()
    return data


def load(folder: Path, data: bytes, scaling: Scaling = PLAIN) -> FeatureNetwork:
    path = folder / "network.onnx"
    path.write_bytes(data)
    return onnx_network(path, hashlib.sha256(data).hexdigest(), scaling)


def features(network: FeatureNetwork, pictures: Tensor) -> Tensor:
    return torch.cat([part for part, _ in network.see([pictures])])


def by_hand(values: Tensor, data: bytes) -> Tensor:
    matrix = numpy_helper.to_array(onnx.load_model_from_string(data).graph.initializer[0])
    return values.flatten(1) @ torch.from_numpy(matrix.copy())


def draw(*sizes: int) -> Tensor:
    return torch.randint(0, 256, sizes, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_pictures_are_scaled_as_asked_for(tmp_path: Path) -> None:
    data, pictures = model(), draw(7, 3, 4, 4)
    torch.testing.assert_close(features(load(tmp_path, data), pictures), by_hand(pictures / 255, data))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (pictures / 255 - mean[:, None, None]) / std[:, None, None]
    of_imagenet = load(tmp_path, data, Scaling())
    torch.testing.assert_close(features(of_imagenet, pictures), by_hand(scaled, data))
    assert of_imagenet.resize == "bilinear 4 x 4, less 0.485 0.456 0.406, over 0.229 0.224 0.225"
    assert (of_imagenet.name, of_imagenet.digest) == ("onnx", hashlib.sha256(data).hexdigest())
    assert not of_imagenet.has_logits


def test_nobody_is_told_that_a_network_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    load(tmp_path, model())
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_grey_and_coloured_pictures_are_made_what_the_network_takes(tmp_path: Path) -> None:
    grey, colours = draw(3, 1, 4, 4), draw(3, 3, 4, 4)
    of_colours, of_grey = model(), model(("N", 1, 4, 4))
    expected = by_hand((grey / 255).expand(-1, 3, -1, -1), of_colours)
    torch.testing.assert_close(features(load(tmp_path, of_colours), grey), expected)
    luma = (colours / 255 * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    torch.testing.assert_close(features(load(tmp_path, of_grey), colours), by_hand(luma, of_grey))
    transparent = torch.cat([colours, torch.zeros(3, 1, 4, 4, dtype=torch.uint8)], dim=1)
    white = by_hand(torch.ones(3, 3, 4, 4), of_colours)
    torch.testing.assert_close(features(load(tmp_path, of_colours), transparent), white)
    torch.testing.assert_close(features(load(tmp_path, of_grey), transparent), by_hand(torch.ones(3, 1, 4, 4), of_grey))
    # Of three numbers for colours, grey pictures get the mean.
    scaled = (grey / 255 - 0.449) / 0.226
    torch.testing.assert_close(features(load(tmp_path, of_grey, Scaling()), grey), by_hand(scaled, of_grey))


def test_pictures_are_brought_to_the_size_that_the_file_states(tmp_path: Path) -> None:
    data = model()
    flat = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    torch.testing.assert_close(features(load(tmp_path, data), flat), by_hand(flat[..., :4, :4] / 255, data))
    pool = helper.make_node("GlobalAveragePool", ["pictures"], ["means"])
    squeeze = helper.make_node("Flatten", ["means"], ["features"])

    def average(made: onnx.ModelProto) -> None:
        del made.graph.node[:]
        made.graph.node.extend([pool, squeeze])

    of_any = load(tmp_path, model(("N", 3, "H", "W"), ("N", 3), change=average))
    pictures = draw(2, 3, 9, 6)
    torch.testing.assert_close(features(of_any, pictures), (pictures / 255).mean(dim=(2, 3)))
    assert of_any.resize.startswith("none, ")


@pytest.mark.parametrize("batch", [1, 4])
def test_a_file_that_takes_so_many_pictures_at_once_is_given_as_many(tmp_path: Path, batch: int) -> None:
    data, pictures = model((batch, 3, 4, 4), (batch, 5)), draw(10, 3, 4, 4)
    torch.testing.assert_close(features(load(tmp_path, data), pictures), by_hand(pictures / 255, data))


# What is not run


def external(made: onnx.ModelProto) -> None:
    [weights] = made.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret")


def in_memory(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")


def hidden(made: onnx.ModelProto) -> None:
    """Weights of another file, in a branch of a branch."""
    secret = numpy_helper.from_array(np.zeros(1, np.float32), "secret")
    secret.data_location = TensorProto.EXTERNAL
    out = [helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1])]
    inner = helper.make_graph([helper.make_node("Constant", [], ["secret"], value=secret)], "inner", [], out)
    branch = helper.make_node("If", ["which"], ["secret"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([branch], "outer", [], out)
    made.graph.node.append(helper.make_node("If", ["which"], ["unused"], then_branch=outer, else_branch=outer))


def with_function(made: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    made.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


BODY = helper.make_graph([], "body", [], [])
NAN = helper.make_node("Log", ["minus"], ["features"])


def not_finite(made: onnx.ModelProto) -> None:
    made.graph.node[1].output[0] = "product"
    made.graph.node.extend(
        [helper.make_node("Abs", ["product"], ["size"]), helper.make_node("Neg", ["size"], ["minus"])]
    )
    made.graph.node.append(NAN)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "onnxruntime cannot load it"),
        (b"\xff" * 1_000, "is no file of ONNX"),
        (model()[:300], "is no file of ONNX"),
        (model(change=external), "keeps weights in another file"),
        (model(change=in_memory), "keeps weights in another file"),
        (model(change=hidden), "keeps weights in another file"),
        (model(change=with_function), "defines functions of its own"),
        (model(extra=[helper.make_node("Own", ["flat"], ["x"], domain="own\x1b[2J")]), r"operator of own\\x1b"),
        (model(extra=[helper.make_node("Loop", ["", ""], ["x"], body=BODY)]), "has a Loop"),
        (model(extra=[helper.make_node("NoSuch", ["flat"], ["x"])]), "onnxruntime cannot load it"),
        (model(("N", 4, 4, 4)), "takes pictures of 4 channels, expected 1 or 3"),
        (model(("N", "C", 4, 4)), "of any number of channels"),
        (model(("N", 3, 1, 1_025)), "takes pictures of 1 x 1,025 px"),
        (model(("N", 48)), "expected one input"),
        (model((2_000, 3, 4, 4), (2_000, 5)), "takes 2,000 pictures at once"),
        (model(("N", 3, 4, 4), ("N", 5, 1)), "has no output of two dimensions"),
        (model(("N", 3, 1, 1), ("N", 9_000)), "gives 9,000 numbers of a picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_not_run_say_why_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DataInvalid, match=says) as caught:
        load(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}")
    assert len(str(caught.value)) < 500


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"not finite; look at judging\.scaling"):
        features(load(tmp_path, model(change=not_finite)), draw(2, 3, 4, 4))


def test_a_network_that_does_not_do_what_it_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"has sizes \[4, 96\], expected 2 pictures and at most 8,192 numbers"):
        features(load(tmp_path, model(change=_places)), torch.full((2, 3, 4, 4), 9, dtype=torch.uint8))
    fails = model(extra=[helper.make_node("Reshape", ["flat", "shape"], ["unused"])], change=_with_shape)
    with pytest.raises(DataInvalid, match="onnx: the network cannot be run"):
        features(load(tmp_path, fails), draw(2, 3, 4, 4))


def _places(made: onnx.ModelProto) -> None:
    """Where pictures are not black, of which nobody knows beforehand how much it is."""
    del made.graph.node[:]
    made.graph.node.append(helper.make_node("NonZero", ["pictures"], ["places"]))
    made.graph.node.append(helper.make_node("Cast", ["places"], ["features"], to=TensorProto.FLOAT))
    for size in made.graph.output[0].type.tensor_type.shape.dim:
        size.ClearField("dim_value")


def _with_shape(made: onnx.ModelProto) -> None:
    made.graph.initializer.append(numpy_helper.from_array(np.array([7, 7]), "shape"))
    made.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [7, 7]))
    made.graph.node[-1].output[0] = "unused"


def test_another_file_is_refused_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hunter2")
    with pytest.raises(DataInvalid, match="is not the file with sha256 0000"):
        onnx_network(tmp_path / "secret", "0" * 64, PLAIN)


def test_without_onnxruntime_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataInvalid, match=r"pip install 'ganservice\[onnx\]', or choose another network"):
        load(tmp_path, model())


# Pixels


@pytest.mark.parametrize(
    ("sizes", "values"), [((1, 28, 28), 49), ((3, 64, 64), 192), ((1, 6, 5), 30), ((1, 29, 9), 40), ((3, 8, 16), 192)]
)
def test_pixels_are_averages_of_blocks(sizes: tuple[int, int, int], values: int) -> None:
    pictures = draw(3, *sizes)
    found = features(pixels(), pictures)
    assert found.shape == (3, values)
    block = [-(-side // 8) for side in sizes[1:]]
    first, last = pictures[0, 0, : block[0], : block[1]], pictures[2, -1]
    rows, columns = ((side - 1) // size * size for side, size in zip(last.shape, block, strict=True))
    assert found[0, 0].item() == pytest.approx(first.float().mean().item() / 255)
    assert found[2, -1].item() == pytest.approx(last[rows:, columns:].float().mean().item() / 255)
    assert not pixels().has_logits
    assert (pixels().name, len(pixels().digest)) == ("pixels", 64)
