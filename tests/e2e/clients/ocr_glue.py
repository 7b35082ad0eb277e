"""Pictures to the model `ocr`, which asks three others, beside RapidOCR on ONNX Runtime.

One picture has six lines, one of them upside down; one has a line that runs upwards; one is a single
low line; one has no text. All come in one call, and one comes again as base64 in plain JSON. Texts must be
equal but for spaces, of which the recognizer is least sure, boxes within two pixels and scores within 5 %:
OpenCV scales pictures in whole numbers, the plugin does not.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request

import numpy as np
import tritonclient.http as triton
from ocr import check, picture

PIXELS, SCORE = 2, 0.05


def pictures(scripts):
    first = picture(scripts)
    from pictures import text_picture

    upwards = np.full((420, 420, 3), 255, np.uint8)
    line = text_picture(300, 60, [(10, 8, 34, "bottom to top")])
    upwards[60:360, 40:100] = np.rot90(line)
    upwards[300:360, 110:410] = text_picture(300, 60, [(10, 8, 34, "left to right")])
    low = text_picture(500, 44, [(6, 4, 30, "One line of 44 pixels")])
    return [first, upwards, low, np.full((64, 64, 3), 255, np.uint8)]


def bare(text):
    return text.replace(" ", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--rapidocr", required=True, help="folder of the package")
    parser.add_argument("--scripts", required=True, type=pathlib.Path, help="folder of pictures.py")
    options = parser.parse_args()
    sys.path.insert(0, options.rapidocr)
    import cv2
    from rapidocr_onnxruntime import RapidOCR

    shown = pictures(options.scripts)
    files = [cv2.imencode(".png", pixels)[1].tobytes() for pixels in shown]
    client = triton.InferenceServerClient(options.url, network_timeout=300, connection_timeout=300)
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, np.object_))
    headers = {"Authorization": f"Bearer {options.key}"}
    # The client adds its own headers to those that it is given.
    answer = client.infer("ocr", [tensor], headers=dict(headers))
    texts = [text.decode() for text in answer.as_numpy("text")]
    scores, boxes = answer.as_numpy("score"), answer.as_numpy("boxes")
    offsets = answer.as_numpy("offsets")
    check(len(offsets) == len(shown) + 1, f"offsets {offsets}")
    engine, lines, farthest, apart = RapidOCR(), 0, 0.0, 0.0
    for index, pixels in enumerate(shown):
        expected = engine(pixels)[0] or []
        own = range(offsets[index], offsets[index + 1])
        wanted, got = [bare(text) for _, text, _ in expected], [bare(texts[at]) for at in own]
        check(wanted == got, f"picture {index}: expected {wanted}, got {got}")
        for at, (box, text, score) in zip(own, expected):
            distance = float(np.abs(boxes[at] - np.array(box)).max())
            check(distance <= PIXELS, f"{text}: box {boxes[at].tolist()}, expected {box}")
            check(abs(scores[at] - score) <= SCORE, f"{text}: score {scores[at]}, expected {score}")
            farthest, apart = max(farthest, distance), max(apart, abs(scores[at] - score))
        lines += len(own)
    check(lines >= 9, f"only {lines} lines: {texts}")
    body = {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1],
                    "data": [base64.b64encode(files[0]).decode()]}],
        "parameters": {"encoding": "base64"},
    }
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(
        f"http://{options.url}/v2/models/ocr/infer", json.dumps(body).encode(), headers
    )
    try:
        outputs = json.load(urllib.request.urlopen(request))["outputs"]
    except urllib.error.HTTPError as refused:
        sys.exit(f"ocr_glue.py: {refused}: {refused.read().decode()}")
    again = next(output["data"] for output in outputs if output["name"] == "text")
    check(again == texts[: offsets[1]], f"as base64: {again}")
    print(json.dumps({"texts": texts, "pixels apart": farthest, "scores apart": float(apart)}))


if __name__ == "__main__":
    main()
