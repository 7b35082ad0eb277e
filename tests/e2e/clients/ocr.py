"""RapidOCR over a running server with an unmodified tritonclient, beside itself on ONNX Runtime.

Text is drawn, found, turned upright and read twice: once as the package does it, and once with its
three models (`ocr-det`, `ocr-cls`, `ocr-rec`) asked over HTTP. Texts must be equal, boxes within a
pixel and scores within 1 %, and what was drawn must be what was read.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import tritonclient.http as triton

LINES = [
    (40, 30, 40, "INVOICE 2026-117"),
    (40, 110, 30, "Two sandboxed plugins"),
    (40, 170, 30, "Total due 41.90 EUR"),
    (520, 110, 26, "Page 3 of 12"),
    (40, 250, 34, "Thank you for your order"),
]
# Drawn upside down, for the model that turns lines.
TURNED = (560, 260, 30, "upside down")


def check(condition, text):
    """Ends the script with `text` unless `condition` holds."""
    if not condition:
        sys.exit(f"ocr.py: {text}")


class Served:
    """Stands where RapidOCR has an ONNX Runtime session, and asks a model of the server instead."""

    def __init__(self, session, client, key, model):
        self.session, self.client, self.key, self.model = session, client, key, model
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        tensor = triton.InferInput("x", list(x.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(x, np.float32))
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.client.infer(self.model, [tensor], headers=headers)
        return [answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]]

    def __getattr__(self, name):
        """The list of characters lies in the model's file."""
        return getattr(self.session, name)


def picture(scripts):
    sys.path.insert(0, str(scripts))
    from pictures import text_picture

    shown = text_picture(820, 330, LINES).copy()
    x, y, size, text = TURNED
    turned = text_picture(240, 50, [(8, 6, size, text)])[::-1, ::-1]
    shown[y : y + 50, x : x + 240] = turned
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--rapidocr", required=True, help="folder of the package")
    parser.add_argument("--scripts", required=True, type=pathlib.Path, help="folder of pictures.py")
    options = parser.parse_args()
    sys.path.insert(0, options.rapidocr)
    from rapidocr_onnxruntime import RapidOCR

    shown = picture(options.scripts)
    expected, _ = RapidOCR()(shown)
    served = RapidOCR()
    client = triton.InferenceServerClient(options.url, network_timeout=300, connection_timeout=300)
    wrap = lambda session, model: Served(session, client, options.key, model)
    served.text_det.infer = wrap(served.text_det.infer, "ocr-det")
    served.text_cls.infer = wrap(served.text_cls.infer, "ocr-cls")
    served.text_rec.session = wrap(served.text_rec.session, "ocr-rec")
    got, _ = served(shown)
    check(expected is not None and got is not None, "no text was found")
    texts = lambda found: [text for _, text, _ in found]
    check(texts(got) == texts(expected), f"expected {texts(expected)}, got {texts(got)}")
    drawn = {text.replace(" ", "").lower() for *_, text in [*LINES, TURNED]}
    read = {text.replace(" ", "").lower() for text in texts(got)}
    check(drawn == read, f"drawn {sorted(drawn)}, read {sorted(read)}")
    for (box, text, score), (their_box, _, their_score) in zip(got, expected):
        distance = np.abs(np.array(box) - np.array(their_box)).max()
        check(distance <= 1, f"{text}: box {box}, expected {their_box}")
        check(abs(score - their_score) <= 0.01, f"{text}: score {score}, expected {their_score}")
    stages = (served.text_det.infer, served.text_cls.infer, served.text_rec.session)
    check(all(stage.calls for stage in stages), "a model was not asked")
    print(json.dumps({"texts": texts(got), "calls": [stage.calls for stage in stages]}))


if __name__ == "__main__":
    main()
