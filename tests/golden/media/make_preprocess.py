"""Makes the fixtures of `plugins/image-preprocess` with Pillow and numpy.

    python make_preprocess.py          (after make_media.py, with the same packages)

Pillow resizes bytes and rounds to bytes after each axis; the plugin rounds nowhere. So the answers may
differ by one level of 255 and a little, more where a cubic amplifies it: `LEVELS`, divided by 255 and by
the smallest deviation.
"""

import base64
import io
import json
import pathlib

import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent.parent.parent / "plugins" / "image-preprocess" / "fixtures"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
LEVELS = {"bilinear": 1.05, "bicubic": 1.25}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def expected(file, config):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    picture = picture.convert("L" if config.get("color") == "gray" else "RGB")
    size = config.get("size", {"height": 224, "width": 224})
    if "shortest_edge" in size:
        edge = size["shortest_edge"]
        width, height = picture.size
        if height <= width:
            target = (width * edge // height, edge)
        else:
            target = (edge, height * edge // width)
    else:
        target = (size["width"], size["height"])
    picture = picture.resize(target, FILTERS[config.get("filter", "bilinear")])
    pixels = np.asarray(picture).astype(np.float64).reshape(target[1], target[0], -1)
    if "crop" in config:
        height, width = config["crop"]["height"], config["crop"]["width"]
        top, left = (target[1] - height) // 2, (target[0] - width) // 2
        pixels = pixels[top : top + height, left : left + width]
    if config.get("color") == "bgr":
        pixels = pixels[..., ::-1]
    pixels = pixels * config.get("scale", 1 / 255)
    pixels = (pixels - config.get("mean", 0.0)) / config.get("std", 1.0)
    return pixels if config.get("layout") == "nhwc" else pixels.transpose(2, 0, 1)


def case(name, config, files):
    images = [(HERE / file).read_bytes() for file in files]
    pixels = np.stack([expected(image, config) for image in images])
    inputs = {"name": "image", "datatype": "BYTES", "shape": [len(files)]}
    outputs = {"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape)}
    scale = config.get("scale", 1 / 255) / min(config.get("std", [1.0]))
    return {
        "name": name,
        "config": {**config, "encoding": "base64"},
        "inputs": [{**inputs, "data": [base64.b64encode(image).decode() for image in images]}],
        "outputs": [{**outputs, "data": [round(float(x), 5) for x in pixels.reshape(-1)]}],
        "tolerance": round(LEVELS[config.get("filter", "bilinear")] * scale, 6),
    }


def refused(name, config, data, error, **more):
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}]
    return {"name": name, "config": config, "inputs": inputs, "error": error, **more}


def main():
    small = {"height": 8, "width": 10}
    cases = [
        case("bilinear, made smaller", {"size": small}, ["color.png"]),
        case("bicubic, as CLIP", {"size": small, "filter": "bicubic", **IMAGENET}, ["color.png"]),
        case("made larger", {"size": {"height": 50, "width": 12}}, ["color.png"]),
        case("bicubic, made larger", {"size": {"height": 9, "width": 52}, "filter": "bicubic"}, ["color.png"]),
        case(
            "the short edge, then the middle",
            {"size": {"shortest_edge": 12}, "crop": {"height": 9, "width": 10}, **IMAGENET},
            ["color.png", "turned-8.png", "lossless.webp"],
        ),
        case("blue first, channels last", {"size": small, "color": "bgr", "layout": "nhwc"}, ["color-alpha.png"]),
        case("gray, as bytes", {"size": small, "color": "gray", "scale": 1.0}, ["color.png"]),
        case("a JPEG that lies on its side", {"size": small, "scale": 1.0}, ["turned-6.jpg"]),
        refused("a file that is no picture", {}, ["not a picture"], "media"),
        refused("base64 that is none", {"encoding": "base64"}, ["????"], "base64"),
        refused("another encoding", {}, ["x"], "parameter", parameters={"encoding": "hex"}),
        refused("too many pictures", {"images_max": 1}, ["x", "y"], "images"),
        refused("a short edge without a crop", {"size": {"shortest_edge": 9}}, ["x"], "config"),
        {
            "name": "no pictures at all",
            "config": {"size": small},
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [0], "data": []}],
            "outputs": [{"name": "pixels", "datatype": "FP32", "shape": [0, 3, 8, 10], "data": []}],
        },
    ]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (FIXTURES / "cases.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
