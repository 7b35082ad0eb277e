"""Runs the model's plan `main` and turns its output `y` into probabilities.

The request parameter `sharpness` (default 1) multiplies the logits first. The code is written as if
it were alone: the host joins its plan calls with those of other requests.
"""

from aimass import BATCH, DType, InputError, Signature, Tensor, dynamic
from aimass import ops
from aimass.model import Model, Plan


class Glue(Model):
    def describe(self):
        return (
            Signature()
            .input("x", DType.F32, [BATCH, dynamic("features")])
            .output("probabilities", DType.F32, [BATCH, dynamic("classes")])
        )

    def process(self, inputs, parameters):
        sharpness = parameters.get("sharpness", 1.0)
        if not isinstance(sharpness, (int, float)) or not 0.01 <= sharpness <= 100:
            raise InputError("parameter", f"sharpness: expected 0.01 to 100, got {sharpness!r}")
        logits = Plan("main").run({"x": inputs["x"]})["y"]
        if sharpness != 1:
            logits = ops.run("mul", logits, Tensor.f32([1], [sharpness]))[0]
        return {"probabilities": ops.softmax(logits, axis=1)}
