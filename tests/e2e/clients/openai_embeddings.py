"""Embeddings and models with an unmodified openai client."""

import argparse
import base64
import json
import math
import struct
import sys

import openai

TEXTS = ["The cat sits on the mat.", "A cat is sitting on a mat.", "Quarterly tax report", ""]


def check(condition, text):
    """Ends the script with `text` unless `condition` holds."""
    if not condition:
        sys.exit(f"openai_embeddings.py: {text}")


def refused(name, kind, call, **fields):
    """Runs `call`, which must raise `kind` with these fields in its error object."""
    try:
        call()
    except kind as error:
        for field, expected in fields.items():
            got = getattr(error, field)
            check(got == expected, f"{name}: {field} is {got!r}, expected {expected!r}")
        return str(error)
    except openai.OpenAIError as error:
        sys.exit(f"openai_embeddings.py: {name}: expected {kind.__name__}, got {error!r}")
    sys.exit(f"openai_embeddings.py: {name}: expected {kind.__name__}, the call succeeded")


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings(client, model):
    # The client asks for base64 by itself and decodes it.
    default = client.embeddings.create(model=model, input=TEXTS)
    check(default.object == "list" and default.model == model, f"answer {default.model}")
    check([one.index for one in default.data] == [0, 1, 2, 3], "indices are not 0 to 3")
    vectors = [one.embedding for one in default.data]
    length = len(vectors[0])
    check(all(len(vector) == length for vector in vectors), "vectors of several lengths")
    check(all(math.isfinite(x) for vector in vectors for x in vector), "a value is not finite")

    floats = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    # JSON carries the shortest text that rounds to the same f32, not the same f64.
    singles = [list(struct.unpack(f"<{length}f", struct.pack(f"<{length}f", *one.embedding)))
               for one in floats.data]
    check(singles == vectors, "float and base64 differ")
    raw = client.embeddings.with_raw_response.create(
        model=model, input=TEXTS[0], encoding_format="base64"
    )
    text = json.loads(raw.text)["data"][0]["embedding"]
    unpacked = list(struct.unpack(f"<{length}f", base64.b64decode(text)))
    check(unpacked == vectors[0], "one text alone differs from the same text in a batch")
    same = client.embeddings.create(model=model, input=TEXTS[0], dimensions=length)
    check(same.data[0].embedding == vectors[0], "dimensions changed the vector")

    usage = default.usage
    check(usage.prompt_tokens == usage.total_tokens, f"usage {usage}")
    near, far = cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2])
    return {"length": length, "tokens": usage.prompt_tokens, "near": near, "far": far}


def models(client, model):
    listed = [one.id for one in client.models.list()]
    check(model.split("@")[0] in listed, f"{model} is not in {listed}")
    found = client.models.retrieve(model)
    check(found.id == model and found.object == "model", f"model {found}")
    check(found.created > 0 and found.owned_by, f"model {found}")
    return listed


def errors(client, url, model):
    create = client.embeddings.create
    stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="am_00000000_" + "A" * 43)
    return {
        "bad key": refused(
            "bad key",
            openai.AuthenticationError,
            lambda: stranger.embeddings.create(model=model, input="x"),
            status_code=401,
            code="invalid_api_key",
        ),
        "unknown model": refused(
            "unknown model",
            openai.NotFoundError,
            lambda: create(model="no-such-model", input="x"),
            code="model_not_found",
            param="model",
        ),
        "retrieve unknown": refused(
            "retrieve unknown",
            openai.NotFoundError,
            lambda: client.models.retrieve("no-such-model"),
            code="model_not_found",
        ),
        "no text": refused(
            "no text", openai.BadRequestError, lambda: create(model=model, input=[]), param="input"
        ),
        "token ids": refused(
            "token ids",
            openai.BadRequestError,
            lambda: create(model=model, input=[1, 2, 3]),
            param="input",
        ),
        "too many": refused(
            "too many",
            openai.BadRequestError,
            lambda: create(model=model, input=["x"] * 2049),
            param="input",
        ),
        "dimensions": refused(
            "dimensions",
            openai.BadRequestError,
            lambda: create(model=model, input="x", dimensions=1),
            param="dimensions",
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="http://HOST:PORT")
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", required=True, help="an embedding model")
    parser.add_argument("--min-gap", type=float, help="least cosine(near) - cosine(far)")
    options = parser.parse_args()
    client = openai.OpenAI(base_url=f"{options.url}/v1", api_key=options.key, max_retries=0)
    seen = embeddings(client, options.model)
    if options.min_gap is not None:
        gap = seen["near"] - seen["far"]
        check(gap >= options.min_gap, f"similar texts are not nearer: gap {gap}")
    seen["models"] = models(client, options.model)
    seen["errors"] = errors(client, options.url, options.model)
    print(json.dumps({"passed": True, "seen": seen}))


if __name__ == "__main__":
    main()
