"""Networks that judge, as files."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(path: Path, channels: int = 1) -> str:
    """Write a network that sees 16 numbers in a picture of 16 px. Returns its sha256."""
    matrix = np.random.default_rng(0).normal(size=(256 * channels, 16)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pictures"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["features"]),
        ],
        "network",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["N", channels, 16, 16])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 16])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
