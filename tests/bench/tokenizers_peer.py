"""Hugging Face `tokenizers`, asked line by line: tokenizers_peer.py tokenizer.json BATCH

["a text", ..]  ->  [seconds, tokens]
"""

import json
import sys
import time

from tokenizers import Tokenizer

tokenizer, batch = Tokenizer.from_file(sys.argv[1]), int(sys.argv[2])
tokenizer.no_padding()
for line in sys.stdin:
    texts = json.loads(line)
    start = time.perf_counter()
    encoded = [tokenizer.encode_batch_fast(texts[at : at + batch]) for at in range(0, len(texts), batch)]
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, sum(len(one.ids) for part in encoded for one in part)]), flush=True)
