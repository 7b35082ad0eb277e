"""Pictures made here: text that a person would read, and smooth noise."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def text_picture(width, height, lines):
    """Dark text on light ground, u8 [height, width, 3]; `lines` are (x, y, size, text)."""
    picture = Image.new("RGB", (width, height), (246, 244, 240))
    draw = ImageDraw.Draw(picture)
    for x, y, size, text in lines:
        draw.text((x, y), text, fill=(20, 24, 40), font=ImageFont.load_default(size))
    return np.asarray(picture)


def noise(random, *shape):
    """Smooth colored noise in -1..1 with some hard edges, [batch, channels, height, width]."""
    batch, channels, height, width = shape
    coarse = random.standard_normal((batch, channels, height // 8 + 2, width // 8 + 2))
    fine = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, 3 : 3 + height, 5 : 5 + width]
    mixed = np.tanh(fine + 0.1 * random.standard_normal(shape))
    return mixed.astype(np.float32)


def channels_first(pictures, mean, deviation):
    """Pictures [height, width, 3] as normalized f32 [batch, 3, height, width]."""
    x = (np.stack(pictures) / 255.0 - np.array(mean)) / np.array(deviation)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(np.float32))
