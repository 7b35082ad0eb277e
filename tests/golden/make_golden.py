"""Makes the golden files of all-MiniLM-L6-v2 beside this script.

    python make_golden.py MODEL_FOLDER [--check MODEL.onnx]

MODEL_FOLDER holds `tokenizer.json` and `model.safetensors`. Written are

- `texts.json`: the texts, in pure ASCII JSON;
- `token_ids.json`: their token ids from the `tokenizers` library, `[CLS]` and `[SEP]` included;
- `embeddings.f32`: row-major little-endian f32 [texts, 384], of the float64 reference in `bert.py`;
- `golden.json`: counts, digests of the model's files, and the versions that made the numbers.

The tokenizer file asks for padding and truncation to 128 tokens; both are switched off here and
truncation is set to 512 tokens, the model's last position, specials included: the longest text
keeps its first 510 tokens between `[CLS]` and `[SEP]`. Everything else is as the file says:
`BertNormalizer` (clean text, spaces around Chinese characters, lower case and, because
`strip_accents` is null, without accents), `BertPreTokenizer`, WordPiece with words of at most 100
characters, `[CLS] A [SEP]`. With `--check` the embeddings are compared with ONNX Runtime's.
"""

import argparse
import hashlib
import json
import pathlib
import platform

import numpy as np
import tokenizers

from bert import Bert
from texts import texts

TOKENS_MAX = 512
HERE = pathlib.Path(__file__).parent


def tokenize(path, all_texts):
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    return [tokenizer.encode(text).ids for text in all_texts]


def largest_difference(onnx_path, all_ids, embeddings):
    """Between these embeddings and those of ONNX Runtime, one text at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for ids, expected in zip(all_ids, embeddings):
        inputs = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
        }
        mean = session.run(["last_hidden_state"], inputs)[0][0].astype(np.float64).mean(axis=0)
        largest = max(largest, np.abs(mean / np.linalg.norm(mean) - expected).max())
    return largest


def write_json(name, value, **options):
    text = json.dumps(value, ensure_ascii=True, **options)
    (HERE / name).write_text(text + "\n", encoding="ascii")


def write_rows(name, rows):
    """A JSON array with one row a line, so that a change reads well."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    (HERE / name).write_text(f"[\n{lines}\n]\n", encoding="ascii")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--check", metavar="ONNX")
    arguments = parser.parse_args()

    all_texts = texts()
    all_ids = tokenize(arguments.model / "tokenizer.json", all_texts)
    bert = Bert(arguments.model / "model.safetensors")
    embeddings = np.array([bert.embed(ids) for ids in all_ids])

    write_rows("texts.json", all_texts)
    write_rows("token_ids.json", all_ids)
    embeddings.astype("<f4").tofile(HERE / "embeddings.f32")
    summary = {
        "texts": len(all_texts),
        "dimensions": embeddings.shape[1],
        "tokens_max": TOKENS_MAX,
        "tokens_total": sum(map(len, all_ids)),
        "model_sha256": {
            name: sha256(arguments.model / name) for name in ("model.safetensors", "tokenizer.json")
        },
        "made_with": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    write_json("golden.json", summary, indent=2)
    print(f"{len(all_texts)} texts, {summary['tokens_total']} tokens")
    if arguments.check:
        difference = largest_difference(arguments.check, all_ids, embeddings)
        print(f"largest difference from ONNX Runtime: {difference:.2e}")


if __name__ == "__main__":
    main()
