"""ONNX Runtime as a user would run it: asked line by line by the benchmark, in JSON.

peer.py MODEL.onnx MODEL_FOLDER THREADS

{"batch": 8, "seq": 128, "reps": 3, "ids": [..]}  -> {"ms": median}        token ids in, hidden states out
{"texts": [..], "batch": 8}                       -> {"seconds": s}        text in, unit vectors out, padded batches
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

started = time.perf_counter()
model, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_truncation(512)
tokenizer.enable_padding()


def hidden(ids, mask):
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def embed(texts):
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([e.ids for e in encoded], dtype=np.int64)
    mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
    weights = mask[..., None].astype(np.float32)
    pooled = (hidden(ids, mask) * weights).sum(1) / weights.sum(1)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def encode(question):
    ids = np.array(question["ids"], dtype=np.int64).reshape(question["batch"], question["seq"])
    mask = np.ones_like(ids)
    times = []
    for _ in range(question["reps"]):
        start = time.perf_counter()
        hidden(ids, mask)
        times.append((time.perf_counter() - start) * 1e3)
    return {"ms": statistics.median(times)}


def embed_all(question):
    texts, batch = question["texts"], question["batch"]
    start = time.perf_counter()
    for at in range(0, len(texts), batch):
        embed(texts[at : at + batch])
    return {"seconds": time.perf_counter() - start}


embed(["warm"])
print(json.dumps({"start_ms": (time.perf_counter() - started) * 1e3}), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps(embed_all(question) if "texts" in question else encode(question)), flush=True)
