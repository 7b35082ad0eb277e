"""Makes `mel.json`: mel bands in float64 numpy, by the definitions of librosa's `stft` and `filters.mel`.

    python make_mel.py
"""

import json
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
RATE, FFT, HOP, BANDS = 8_000, 64, 24, 10


def mel_of(hz):
    return np.where(hz < 1_000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1_000) / np.log(6.4))


def hz_of(mel):
    return np.where(mel < 15, mel * 200 / 3, 1_000 * np.exp((mel - 15) * np.log(6.4) / 27))


def filters():
    edges = hz_of(np.linspace(mel_of(np.array(0.0)), mel_of(np.array(RATE / 2)), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


def main():
    time = np.arange(300) / RATE
    samples = (np.sin(2 * np.pi * (200 + 4_000 * time) * time) * 0.5).round(4)
    padded = np.pad(samples, FFT // 2, mode="reflect")
    starts = np.arange(0, len(padded) - FFT + 1, HOP)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    frames = np.stack([padded[start : start + FFT] for start in starts]) * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    bands = np.log(np.maximum(power @ filters(), 1e-10))
    content = {"samples": samples.tolist(), "shape": list(bands.shape), "log_mel": bands.round(6).reshape(-1).tolist()}
    (HERE / "mel.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
