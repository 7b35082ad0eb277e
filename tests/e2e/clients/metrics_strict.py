"""Reads /metrics on standard input with Prometheus' own parser and holds it to the text format.

Prints the names of all metrics, one a line. Fails on a metric without type or help, one that comes twice, a
sample twice, a histogram whose buckets go down or whose last one is not its count, and a counter that
does not end in _total.
"""

import sys

from prometheus_client.parser import text_string_to_metric_families

text = sys.stdin.read()
seen, samples = set(), set()
for family in text_string_to_metric_families(text):
    name = family.name + ("_total" if family.type == "counter" else "")
    assert family.type in ("counter", "gauge", "histogram"), (name, family.type)
    assert family.documentation, f"{name} has no help"
    assert name not in seen, f"{name} comes twice"
    seen.add(name)
    buckets = {}
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in samples, f"{key} comes twice"
        samples.add(key)
        assert sample.value >= 0, key
        if family.type == "histogram":
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            part = buckets.setdefault(labels, {"bounds": [], "count": None})
            if sample.name.endswith("_bucket"):
                part["bounds"].append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                part["count"] = sample.value
    for labels, part in buckets.items():
        bounds = part["bounds"]
        assert bounds == sorted(bounds), f"{name}{labels}: {bounds}"
        assert bounds[-1] == (float("inf"), part["count"]), f"{name}{labels}: {bounds}"
assert len([line for line in text.splitlines() if line.startswith("# TYPE")]) == len(seen)
print("\n".join(sorted(seen)))
