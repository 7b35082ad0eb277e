"""Makes the pictures and sounds of this folder, and what Pillow and soundfile read out of them.

    pip install numpy==2.4.6 pillow==13.0.0 soundfile scikit-image && python make_media.py

The pictures are "astronaut" (NASA, public domain) and "coffee" (Rachel Michetti, CC0) of scikit-image. `cases.json` lists each file with the
channels asked for, the extents, and how far a decoder may be off; expected samples lie beside it in
NAME.raw: u8, or little-endian f32. What no library writes (16-bit color, interlaced rows, YCCK, CMYK
without Adobe's marker) is written here by hand.
"""

import importlib.util
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import soundfile
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 45, 37
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
cases = []


def sample(name):
    package = pathlib.Path(importlib.util.find_spec("skimage").origin).parent
    return Image.open(package / "data" / name).convert("RGB")


def keep(name, data, shape, expected, **more):
    (HERE / name).write_bytes(data)
    stem = f"{name}.{shape[2]}" if len(shape) == 3 else name
    (HERE / f"{stem}.raw").write_bytes(expected.tobytes())
    cases.append({"file": name, "shape": shape, "expected": f"{stem}.raw", **more})


def image(name, data, channels, mean=0.0, most=0):
    """A picture as Pillow reads it, upright; `mean` and `most` bound the difference."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    # Alpha of a color that is declared transparent is known only on the way through RGBA.
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    pixels = np.asarray(picture.convert(MODES[channels])).reshape(picture.height, picture.width, -1)
    keep(name, data, list(pixels.shape), pixels, mean=mean, most=most)


def saved(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def turned(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def jpegs(picture):
    loose = {"mean": 0.4, "most": 4}
    for channels in MODES:
        image("color-420.jpg", saved(picture, "JPEG", quality=90, subsampling=2), channels, **loose)
    for name, options in {
        "color-444.jpg": {"subsampling": 0},
        "color-422.jpg": {"subsampling": 1},
        "progressive-420.jpg": {"subsampling": 2, "progressive": True},
        "restarts.jpg": {"subsampling": 2, "restart_marker_blocks": 2},
        "rgb.jpg": {"keep_rgb": True},
        "turned-6.jpg": {"exif": turned(6), "subsampling": 0},
        "turned-5.jpg": {"exif": turned(5), "subsampling": 0},
    }.items():
        image(name, saved(picture, "JPEG", quality=90, **options), 3, **loose)
    for channels in (1, 3):
        gray = saved(picture.convert("L"), "JPEG", quality=90)
        image("gray.jpg", gray, channels, mean=0.05, most=2)
    inks = saved(picture.convert("CMYK"), "JPEG", quality=90)
    image("cmyk-adobe.jpg", inks, 3, mean=0.05, most=2)
    image("cmyk-adobe.jpg", inks, 1, mean=0.05, most=2)
    at = inks.index(b"\xff\xee")
    length = 2 + struct.unpack(">H", inks[at + 2 : at + 4])[0]
    image("cmyk-plain.jpg", inks[:at] + inks[at + length :], 3, mean=0.05, most=2)
    ycck = inks[: at + length - 1] + b"\x02" + inks[at + length :]
    image("ycck-adobe.jpg", ycck, 3, mean=0.05, most=2)


def png(width, height, color, depth, rows, interlaced=False, extra=b""):
    """A PNG of rows of packed samples, `rows(x0, dx, y)` without their filter byte."""

    def chunk(name, body):
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b"".join(
        b"\0" + rows(x0, dx, y) for x0, y0, dx, dy in passes if x0 < width for y in range(y0, height, dy)
    )
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def pngs(picture):
    rgb = np.asarray(picture)
    gray = picture.convert("L")
    alpha = picture.convert("RGBA")
    alpha.putalpha(gray)
    for channels in MODES:
        image("color.png", saved(picture, "PNG"), channels)
        image("color-alpha.png", saved(alpha, "PNG"), channels)
        image("gray-alpha.png", saved(alpha.convert("LA"), "PNG"), channels)
        palette = picture.quantize(16)
        image("palette.png", saved(palette, "PNG"), channels)
    image("palette-alpha.png", saved(picture.quantize(200), "PNG", transparency=bytes(range(200))), 4)
    image("gray.png", saved(gray, "PNG"), 1)
    image("gray.png", saved(gray, "PNG"), 3)
    image("turned-8.png", saved(picture, "PNG", exif=turned(8)), 3)
    deep = np.asarray(gray).astype(np.uint16) * 251 + 17
    image("gray-16.png", saved(Image.fromarray(deep), "PNG"), 1)
    for depth in (1, 2, 4):
        levels = np.asarray(gray) >> (8 - depth)

        def row(x0, dx, y):
            bits = np.unpackbits(levels[y, x0::dx, None].astype(np.uint8), axis=1)[:, 8 - depth :]
            return np.packbits(bits.reshape(-1)).tobytes()

        image(f"gray-{depth}.png", png(WIDTH, HEIGHT, 0, depth, row), 1)
    wide = rgb.astype(">u2") * 257 - (rgb > 0)
    narrowed = png(WIDTH, HEIGHT, 2, 16, lambda x0, dx, y: wide[y, x0::dx].astype(">u2").tobytes())
    keep("color-16.png", narrowed, [HEIGHT, WIDTH, 3], (wide >> 8).astype(np.uint8), mean=0.0, most=0)
    woven = png(WIDTH, HEIGHT, 2, 8, lambda x0, dx, y: rgb[y, x0::dx].tobytes(), interlaced=True)
    for channels in MODES:
        image("interlaced.png", woven, channels)


def webps(picture):
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    for channels in MODES:
        image("lossless.webp", saved(picture, "WEBP", lossless=True), channels)
        exact = saved(alpha, "WEBP", lossless=True, exact=True)
        image("lossless-alpha.webp", exact, channels)
        image("lossy.webp", saved(picture, "WEBP", quality=80), channels)
        image("lossy-alpha.webp", saved(alpha, "WEBP", quality=80), channels)
    image("turned-3.webp", saved(picture, "WEBP", lossless=True, exif=turned(3)), 3)


def sounds():
    time = np.arange(400) / 8_000
    tones = [np.sin(2 * np.pi * (220 * (1 + channel)) * time) * 0.9**channel for channel in range(6)]
    for name, channels, subtype, format in [
        ("pcm-u8.wav", 1, "PCM_U8", "WAV"),
        ("pcm-16.wav", 2, "PCM_16", "WAV"),
        ("pcm-24.wav", 1, "PCM_24", "WAV"),
        ("pcm-32.wav", 1, "PCM_32", "WAV"),
        ("float-32.wav", 2, "FLOAT", "WAV"),
        ("float-64.wav", 1, "DOUBLE", "WAV"),
        ("extensible-24x6.wav", 6, "PCM_24", "WAVEX"),
    ]:
        file = io.BytesIO()
        frames = np.stack(tones[:channels], axis=1)
        soundfile.write(file, frames, 8_000, subtype=subtype, format=format)
        data = file.getvalue()
        expected, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        keep(name, data, list(expected.shape), expected, rate=rate)


def main():
    picture = sample("astronaut.png").crop((120, 20, 345, 205)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    jpegs(picture)
    pngs(picture)
    webps(picture)
    sounds()
    coffee = sample("coffee.png").resize((640, 480), Image.Resampling.LANCZOS)
    (HERE / "coffee.jpg").write_bytes(saved(coffee, "JPEG", quality=85))
    (HERE / "coffee.webp").write_bytes(saved(coffee, "WEBP", quality=60))
    small = coffee.resize((320, 240), Image.Resampling.LANCZOS)
    (HERE / "coffee-progressive.jpg").write_bytes(saved(small, "JPEG", quality=60, progressive=True))
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
