"""Replaces the words of a list: `text` [batch] to `redacted` [batch].

`__init__` runs once for a configuration; every request then starts from the memory that it left.
"""

import re

from aimass import BATCH, DType, InputError, Signature, Tensor
from aimass.processor import Processor

MASK_CHARACTERS_MAX = 16


class Redact(Processor):
    def __init__(self, config):
        self.words = {word.lower() for word in config.get("words", [])}

    def describe(self):
        return (
            Signature()
            .input("text", DType.BYTES, [BATCH])
            .output("redacted", DType.BYTES, [BATCH])
        )

    def process(self, inputs, parameters):
        mask = parameters.get("mask", "***")
        if not isinstance(mask, str) or not 1 <= len(mask) <= MASK_CHARACTERS_MAX:
            message = f"mask: expected 1 to {MASK_CHARACTERS_MAX} characters, got {mask!r}"
            raise InputError("parameter", message)
        text = inputs["text"]
        redacted = [self.redact(string, mask) for string in text.texts("text")]
        return {"redacted": Tensor.strings(text.shape, redacted)}

    def redact(self, text, mask):
        def replace(word):
            return mask if word[0].lower() in self.words else word[0]

        return re.sub(r"\w+", replace, text)
