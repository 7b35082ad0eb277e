"""Operators of `ai.onnx.ml`: encoders, scalers, linear models, trees, support vectors."""

import numpy as np
from onnx import TensorProto, helper

from extra_layers import FLOAT, normal
from graphs import F32, I64, Graph

ML = "ai.onnx.ml"
TEXT = TensorProto.STRING
DTYPES = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32}
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")

GRAPHS = []


def case(name, build):
    """Registers `build(random, g)`, which answers the calls, as a graph of this name."""

    def graph(random):
        g = Graph(15)
        g.imports = [helper.make_opsetid(ML, 3)]
        calls = build(random, g)
        return g.model(), calls

    graph.__name__ = name
    GRAPHS.append((graph, FLOAT))


def elem(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def texts(*values):
    return np.array(values, dtype=object)


def one(name, op, dims, calls, out, *, dtype=np.float32, outputs=1, **attributes):
    """A graph of one node with one input `x`; `out` are the element types of its outputs."""

    def build(random, g):
        x = g.input("x", TEXT if dtype is str else elem(dtype), dims)
        results = g.node(op, [x], outputs, domain=ML, **attributes)
        for result, kind in zip([results] if outputs == 1 else results, out, strict=True):
            g.output(result, kind)
        return [{"x": x} for x in calls(random)]

    case(name, build)


def rows(width, *heights, scale=1.0):
    return lambda random: [normal(random, height, width, scale=scale) for height in heights]


def fixed(*arrays):
    return lambda random: list(arrays)


# ---- features ----

for kind in ("f32", "i64"):
    values = np.arange(12).reshape(3, 4).astype(DTYPES[kind])

    def pick(random, g, values=values):
        x = g.input("x", elem(values.dtype), ["n", 4])
        g.output(g.node("ArrayFeatureExtractor", [x, g.ints(3, 0, 0)], domain=ML), elem(values.dtype))
        return [{"x": values}, {"x": values[:1]}]

    case(f"array_feature_extractor_{kind}", pick)

one(
    "binarizer",
    "Binarizer",
    ["n", 3],
    rows(3, 1, 4),
    [F32],
    threshold=0.25,
)
for norm in ("MAX", "L1", "L2"):
    zero = np.zeros((2, 3), np.float32)
    zero[1] = [3, -4, 1]
    one(f"normalizer_{norm}", "Normalizer", ["n", 3], fixed(zero, zero[1:]), [F32], norm=norm)
one("scaler", "Scaler", ["n", 3], rows(3, 1, 5), [F32], offset=[1.0, 0.5, -2.0], scale=[2.0, 0.1, 3.0])
one("scaler_of_one_number", "Scaler", ["n", 3], rows(3, 2), [F32], offset=[1.0], scale=[0.5])
one(
    "scaler_of_whole_numbers",
    "Scaler",
    ["n", 2],
    fixed(np.array([[1, 2], [3, -4]], np.int64)),
    [F32],
    dtype=np.int64,
    offset=[1.0, 0.5],
    scale=[2.0, 0.1],
)
gaps = np.array([[1, np.nan, 3], [np.nan, 5, np.nan]], np.float32)
one(
    "imputer_of_nan",
    "Imputer",
    ["n", 3],
    fixed(gaps, gaps[:1]),
    [F32],
    imputed_value_floats=[7.0, 8.0, 9.0],
    replaced_value_float=float("nan"),
)
one(
    "imputer_of_a_number",
    "Imputer",
    ["n", 3],
    fixed(np.array([[0, 1, 0]], np.float32)),
    [F32],
    imputed_value_floats=[-1.0],
    replaced_value_float=0.0,
)
one(
    "imputer_of_whole_numbers",
    "Imputer",
    ["n", 3],
    fixed(np.array([[5, 1, 5], [2, 5, 2**40]], np.int64)),
    [I64],
    dtype=np.int64,
    imputed_value_int64s=[2**50, 1, 2],
    replaced_value_int64=5,
)


def vectorizer(random, g):
    x, y = g.input("x", F32, ["n", 2]), g.input("y", F32, ["n", 3])
    g.output(g.node("FeatureVectorizer", [x, y], domain=ML, inputdimensions=[2, 3]), F32)
    return [{"x": normal(random, n, 2), "y": normal(random, n, 3)} for n in (1, 4)]


case("feature_vectorizer", vectorizer)

# ---- encoders ----

words = texts("b", "a", "zz", "", "c")
one(
    "label_encoder_text_to_int",
    "LabelEncoder",
    ["n"],
    fixed(words, words[:1]),
    [I64],
    dtype=str,
    keys_strings=["a", "b", "c"],
    values_int64s=[10, 20, 30],
    default_int64=-7,
)
one(
    "label_encoder_text_to_text",
    "LabelEncoder",
    ["n", 2],
    fixed(words[:4].reshape(2, 2)),
    [TEXT],
    dtype=str,
    keys_strings=["a", "b"],
    values_strings=["A", "B"],
    default_string="?",
)
one(
    "label_encoder_int_to_text",
    "LabelEncoder",
    ["n"],
    fixed(np.array([3, 1, 2, 9], np.int64)),
    [TEXT],
    dtype=np.int64,
    keys_int64s=[1, 2, 3],
    values_strings=["x", "y", "z"],
)
one(
    "label_encoder_int_to_float",
    "LabelEncoder",
    ["n", 2],
    fixed(np.array([[3, 1], [-5, 9]], np.int64), np.array([[2**62, -(2**63)]], np.int64)),
    [F32],
    dtype=np.int64,
    keys_int64s=[1, 3, -5],
    values_floats=[0.5, 1.5, 2.5],
    default_float=-1.0,
)
one(
    "label_encoder_of_scattered_ints",
    "LabelEncoder",
    ["n"],
    fixed(np.array([2**40, 7, -(2**50), 8], np.int64)),
    [I64],
    dtype=np.int64,
    keys_int64s=[2**40, -(2**50), 7],
    values_int64s=[1, 2, 3],
)
one(
    "label_encoder_float_to_float",
    "LabelEncoder",
    ["n"],
    fixed(np.array([0.5, -0.0, 3.0, 7.0], np.float32)),
    [F32],
    keys_floats=[0.5, 0.0, 3.0],
    values_floats=[1.0, 2.0, 4.0],
    default_float=-2.0,
)
one(
    "category_mapper_to_int",
    "CategoryMapper",
    ["n"],
    fixed(words),
    [I64],
    dtype=str,
    cats_int64s=[5, 6],
    cats_strings=["a", "b"],
    default_int64=-3,
)
one(
    "category_mapper_to_text",
    "CategoryMapper",
    ["n"],
    fixed(np.array([5, 6, 7], np.int64)),
    [TEXT],
    dtype=np.int64,
    cats_int64s=[5, 6],
    cats_strings=["a", "b"],
    default_string="none",
)
one(
    "one_hot_encoder_of_ints",
    "OneHotEncoder",
    ["n", 2],
    fixed(np.array([[3, 1], [2, 9]], np.int64)),
    [F32],
    dtype=np.int64,
    cats_int64s=[1, 2, 3],
)
one(
    "one_hot_encoder_of_floats",
    "OneHotEncoder",
    ["n"],
    fixed(np.array([3.0, 1.0], np.float32)),
    [F32],
    cats_int64s=[1, 2, 3],
    zeros=0,
)
one(
    "one_hot_encoder_of_texts",
    "OneHotEncoder",
    ["n"],
    fixed(words),
    [F32],
    dtype=str,
    cats_strings=["c", "a", "b"],
)

# ---- linear models ----

for transform in TRANSFORMS:
    one(
        f"linear_regressor_{transform}",
        "LinearRegressor",
        ["n", 3],
        rows(3, 1, 4),
        [F32],
        coefficients=[0.5, -1.0, 0.25, 1.0, 0.0, -0.5],
        intercepts=[0.1, -0.2],
        targets=2,
        post_transform=transform,
    )
    one(
        f"linear_classifier_of_three_{transform}",
        "LinearClassifier",
        ["n", 3],
        rows(3, 1, 6),
        [I64, F32],
        outputs=2,
        coefficients=[0.5, -1.0, 0.25, 1.0, 0.0, -0.5, -1.0, 1.0, 0.3],
        intercepts=[0.1, -0.2, 0.0],
        classlabels_ints=[4, 2, 9],
        multi_class=1,
        post_transform=transform,
    )
for transform in ("NONE", "LOGISTIC"):
    one(
        f"linear_classifier_of_two_texts_{transform}",
        "LinearClassifier",
        ["n", 3],
        rows(3, 1, 6),
        [TEXT, F32],
        outputs=2,
        coefficients=[-0.5, 1.0, -0.25, 0.5, -1.0, 0.25],
        intercepts=[0.1, -0.1],
        classlabels_strings=["no", "yes"],
        post_transform=transform,
    )
    one(
        f"linear_classifier_of_one_row_{transform}",
        "LinearClassifier",
        ["n", 3],
        rows(3, 1, 6),
        [I64, F32],
        outputs=2,
        coefficients=[0.5, -1.0, 0.25],
        intercepts=[-0.1],
        classlabels_ints=[3, 8],
        post_transform=transform,
    )

# ---- trees ----

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def grow(random, depth, features, modes, levels):
    """A tree as (mode, feature, value, missing, yes, no); a leaf is an empty tuple."""
    if depth == 0 or random.random() < 0.1:
        return ()
    mode = modes[random.integers(len(modes))]
    value = float(levels[random.integers(len(levels))])
    branches = [grow(random, depth - 1, features, modes, levels) for _ in range(2)]
    return (mode, int(random.integers(features)), value, int(random.integers(2)), *branches)


LEVELS = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0], np.float32)


def flatten(trees, missing):
    """The attributes `nodes_*` of trees, and their leaves as (tree, node)."""
    columns = {
        name: []
        for name in (
            "treeids nodeids featureids values modes truenodeids falsenodeids "
            "missing_value_tracks_true"
        ).split()
    }
    leaves = []

    def add(tree, node):
        own = next(ids)
        at = len(columns["treeids"])
        mode, feature, value, tracks, *branches = node or ("LEAF", 0, 0.0, 0)
        row = (tree, own, feature, value, mode, 0, 0, tracks)
        for name, entry in zip(columns, row, strict=True):
            columns[name].append(entry)
        if branches:
            columns["truenodeids"][at] = add(tree, branches[0])
            columns["falsenodeids"][at] = add(tree, branches[1])
        else:
            leaves.append((tree, own))
        return own

    for tree, root in enumerate(trees):
        ids = iter(range(10**6))
        add(tree, root)
    if not missing:
        del columns["missing_value_tracks_true"]
    return {f"nodes_{name}": values for name, values in columns.items()}, leaves


def forest(random, count, depth, modes, missing):
    return flatten([grow(random, depth, 4, modes, LEVELS) for _ in range(count)], missing)


def samples(random, missing):
    """Rows on the levels that trees compare with, beside them, and with gaps."""
    calls = []
    for height in (1, 9):
        x = normal(random, height, 4)
        on_level = random.random(x.shape) < 0.4
        x[on_level] = random.choice(LEVELS, on_level.sum())
        if missing:
            x[random.random(x.shape) < 0.2] = np.nan
        calls.append({"x": x})
    return calls


def regressor(name, count, depth, modes, missing=False, targets=1, per_leaf=1, **attributes):
    def build(random, g):
        nodes, leaves = forest(random, count, depth, modes, missing)
        votes = [
            (*leaf, (leaf[0] + vote) % targets, float(random.normal()))
            for leaf in leaves
            for vote in range(per_leaf)
        ]
        trees, ids, to, weights = map(list, zip(*votes))
        x = g.input("x", F32, ["n", 4])
        result = g.node(
            "TreeEnsembleRegressor",
            [x],
            domain=ML,
            n_targets=targets,
            target_treeids=trees,
            target_nodeids=ids,
            target_ids=to,
            target_weights=weights,
            **nodes,
            **attributes,
        )
        g.output(result, F32)
        return samples(random, missing)

    case(f"tree_regressor_{name}", build)


regressor("small", 1, 2, MODES[:1])
regressor("deep", 20, 8, MODES[:1])
regressor("of_a_leaf", 1, 0, MODES[:1])
regressor("missing", 10, 5, MODES[:1], missing=True)
for mode in MODES:
    regressor(f"{mode}", 6, 4, [mode])
    regressor(f"{mode}_missing", 6, 4, [mode], missing=True)
regressor("of_all_modes", 10, 5, MODES, missing=True)
regressor("targets", 9, 4, MODES[:1], targets=3, base_values=[0.5, -1.0, 2.0])
regressor("many_votes", 9, 4, MODES[:1], targets=3, per_leaf=2)
for function in ("SUM", "AVERAGE", "MIN", "MAX"):
    regressor(f"{function}", 8, 3, MODES[:1], aggregate_function=function, base_values=[0.75])
    regressor(f"{function}_targets", 8, 3, MODES[:1], targets=2, aggregate_function=function)
regressor("logistic", 8, 3, MODES[:1], targets=3, post_transform="LOGISTIC")


def classifier(name, labels, vote, count=8, depth=4, **attributes):
    """`vote(random, leaf)` answers the (class, weight) pairs of a leaf."""

    def build(random, g):
        nodes, leaves = forest(random, count, depth, MODES[:1], False)
        votes = [(*leaf, *pair) for leaf in leaves for pair in vote(random, leaf)]
        trees, ids, to, weights = map(list, zip(*votes))
        textual = isinstance(labels[0], str)
        own = {"classlabels_strings" if textual else "classlabels_int64s": labels}
        x = g.input("x", F32, ["n", 4])
        label, scores = g.node(
            "TreeEnsembleClassifier",
            [x],
            2,
            domain=ML,
            class_treeids=trees,
            class_nodeids=ids,
            class_ids=to,
            class_weights=weights,
            **nodes,
            **own,
            **attributes,
        )
        g.output(label, TEXT if textual else I64)
        g.output(scores, F32)
        return samples(random, False)

    case(f"tree_classifier_{name}", build)


def shares(classes, scale=1.0):
    return lambda random, leaf: list(enumerate((random.dirichlet(np.ones(classes)) * scale).tolist()))


def score(random, leaf):
    return [(0, float(random.normal()))]


def by_tree(classes):
    return lambda random, leaf: [(leaf[0] % classes, float(random.normal()))]


for transform in TRANSFORMS:
    classifier(f"of_three_{transform}", [5, 2, 7], shares(3), post_transform=transform)
    classifier(f"boosted_{transform}", [0, 1, 2], by_tree(3), count=9, post_transform=transform)
for transform in ("NONE", "LOGISTIC"):
    classifier(f"of_scores_{transform}", [0, 1], score, post_transform=transform)
    classifier(
        f"of_scores_with_base_{transform}", [3, 4], score, post_transform=transform, base_values=[0.3]
    )
    chance = lambda random, leaf: [(0, float(random.random()) / 8)]
    classifier(f"of_chances_{transform}", ["no", "yes"], chance, post_transform=transform)
classifier("of_texts", ["a", "b", "c"], shares(3), base_values=[0.1, 0.2, 0.3])


def ensemble(name, mode, **attributes):
    """`TreeEnsemble` of opset 5: two trees that share a node."""

    def build(random, g):
        g.imports = [helper.make_opsetid(ML, 5)]
        tensor = lambda kind, values: helper.make_tensor("t", kind, [len(values)], values)
        x = g.input("x", F32, ["n", 4])
        result = g.node(
            "TreeEnsemble",
            [x],
            domain=ML,
            n_targets=2,
            tree_roots=[0, 2],
            nodes_featureids=[0, 1, 2],
            nodes_splits=tensor(F32, [0.25, -0.5, 0.5]),
            nodes_modes=tensor(TensorProto.UINT8, [mode, 0, mode]),
            nodes_truenodeids=[1, 0, 3],
            nodes_trueleafs=[0, 1, 1],
            nodes_falsenodeids=[2, 1, 4],
            nodes_falseleafs=[1, 1, 1],
            leaf_targetids=[0, 1, 0, 1, 0],
            leaf_weights=tensor(F32, [1.0, 2.0, 3.0, 4.0, 5.0]),
            **attributes,
        )
        g.output(result, F32)
        return samples(random, True)

    case(f"tree_ensemble_{name}", build)


ensemble("less_or_equal", 0)
ensemble("not_equal", 5, aggregate_function=0)
ensemble("largest", 3, aggregate_function=3, nodes_missing_value_tracks_true=[1, 0, 1])


def wide_trees(random, g):
    nodes, leaves = forest(random, 5, 4, MODES[:1], False)
    values = nodes.pop("nodes_values")
    wide = lambda values: helper.make_tensor("t", TensorProto.DOUBLE, [len(values)], values)
    x = g.input("x", TensorProto.DOUBLE, ["n", 4])
    result = g.node(
        "TreeEnsembleRegressor",
        [x],
        domain=ML,
        n_targets=1,
        nodes_values_as_tensor=wide([value + 1e-12 for value in values]),
        target_treeids=[leaf[0] for leaf in leaves],
        target_nodeids=[leaf[1] for leaf in leaves],
        target_ids=[0] * len(leaves),
        target_weights_as_tensor=wide(random.normal(size=len(leaves)).tolist()),
        **nodes,
    )
    g.output(result, F32)
    return [{"x": call["x"].astype(np.float64)} for call in samples(random, False)]


case("tree_regressor_of_doubles", wide_trees)

# ---- support vectors ----

SUPPORTS = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, -1.0, -1.0]
POINTS = rows(2, 1, 7)
for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
    common = {"kernel_type": kernel, "kernel_params": [0.3, 0.1, 3.0], "support_vectors": SUPPORTS}
    one(
        f"svm_regressor_{kernel}",
        "SVMRegressor",
        ["n", 2],
        POINTS,
        [F32],
        coefficients=[0.5, -0.25, 1.0, -0.3],
        n_supports=4,
        rho=[0.2],
        **common,
    )
    one(
        f"svm_classifier_of_three_{kernel}",
        "SVMClassifier",
        ["n", 2],
        POINTS,
        [I64, F32],
        outputs=2,
        coefficients=[0.5, -0.25, 1.0, -0.3, 0.1, 0.2, -0.4, 0.6],
        vectors_per_class=[2, 1, 1],
        rho=[-0.4, 0.1, -0.1],
        classlabels_ints=[3, 1, 2],
        **common,
    )
one(
    "svm_regressor_of_one_class",
    "SVMRegressor",
    ["n", 2],
    POINTS,
    [F32],
    coefficients=[0.5, -0.25, 1.0, -0.3],
    n_supports=4,
    rho=[-0.5],
    one_class=1,
    **common,
)
PAIR = {
    "coefficients": [0.5, 0.25, -1.0, -0.3],
    "vectors_per_class": [2, 2],
    "rho": [0.05],
    **common,
    "kernel_type": "RBF",
}
for transform in ("NONE", "LOGISTIC"):
    one(
        f"svm_classifier_of_two_{transform}",
        "SVMClassifier",
        ["n", 2],
        POINTS,
        [TEXT, F32],
        outputs=2,
        classlabels_strings=["a", "b"],
        post_transform=transform,
        **PAIR,
    )
one(
    "svm_classifier_with_chances_of_two",
    "SVMClassifier",
    ["n", 2],
    POINTS,
    [I64, F32],
    outputs=2,
    classlabels_ints=[0, 1],
    prob_a=[-1.2],
    prob_b=[0.1],
    **PAIR,
)
one(
    "svm_classifier_with_chances_of_three",
    "SVMClassifier",
    ["n", 2],
    POINTS,
    [I64, F32],
    outputs=2,
    coefficients=[0.5, -0.25, 1.0, -0.3, 0.1, 0.2, -0.4, 0.6],
    vectors_per_class=[2, 1, 1],
    rho=[-0.4, 0.1, -0.1],
    classlabels_ints=[0, 1, 2],
    prob_a=[-1.2, -0.8, -2.5],
    prob_b=[0.1, 0.2, 0.0],
    **{**common, "kernel_type": "RBF"},
)
one(
    "svm_classifier_linear",
    "SVMClassifier",
    ["n", 2],
    POINTS,
    [I64, F32],
    outputs=2,
    coefficients=[0.5, 0.25, -0.5, 0.1, 0.3, 0.3],
    rho=[0.2],
    kernel_type="LINEAR",
    kernel_params=[0.0, 0.0, 0.0],
    classlabels_ints=[0, 1, 2],
)


# ---- classifiers as converters write them ----

for kind, labels in (("ints", [3, 5, 9]), ("texts", ["a", "b", "c"])):

    def classifier(random, g, kind=kind, labels=labels):
        x = g.input("x", F32, ["n", 2])
        own = {"classlabels_ints": labels} if kind == "ints" else {"classlabels_strings": labels}
        label, chances = g.node(
            "LinearClassifier",
            [x],
            2,
            domain=ML,
            coefficients=[0.5, 0.25, -0.5, 0.1, 0.3, -0.3],
            intercepts=[0.2, 0.0, -0.1],
            post_transform="SOFTMAX",
            multi_class=1,
            **own,
        )
        key = "classlabels_int64s" if kind == "ints" else "classlabels_strings"
        maps = g.node("ZipMap", [chances], domain=ML, **{key: labels})
        g.output(label, I64 if kind == "ints" else TEXT)
        keys = TensorProto.INT64 if kind == "ints" else TEXT
        scores = helper.make_tensor_type_proto(F32, [])
        maps_of = helper.make_sequence_type_proto(helper.make_map_type_proto(keys, scores))
        g.outputs.append(helper.make_value_info(maps, maps_of))
        return [{"x": normal(random, rows, 2)} for rows in (1, 4)]

    case(f"zip_map_of_{kind}", classifier)
