// Kernels on small inputs beside sums in f64, under a sanitizer. Launches are those of the `.rs` files
// beside the kernels; buffers are exactly as long as their operands.
//
//     cases [--seed N] [--all] [NAME ...]     a line a case; status 0 if all hold
#include "cases.h"
#include "arg_extreme.cu"
#include "attention_decode.cu"
#include "channel_norm.cu"
#include "cumulative.cu"
#include "gemv.cu"
#include "norm.cu"
#include "ragged_pool.cu"
#include "reduce.cu"
#include "softmax.cu"
#include "strided.cu"
#include "top_k.cu"
#include <cstdlib>

namespace {

// Threads of a row, as `row_grid` of lanes.rs.
void over_rows(u32 rows, u32 n, u32 part, const std::function<void()> &body) {
    if (n <= 32 * ROW_ITEMS) {
        u32 groups = std::min(8u, rows);
        return host::launch(flat((rows + groups - 1) / groups), {32, groups, 1}, chance(), body);
    }
    u32 threads = std::min(((n + part - 1) / part + 31) / 32 * 32, 512u);
    host::launch(flat(rows), flat(threads), chance(), body);
}

template <class T, class Kernel> bool softmax_of_rows(Kernel kernel, u32 rows, u32 n, u32 skip) {
    Operand<T> x(numbers<T>((size_t)rows * n), skip), y(std::vector<T>((size_t)rows * n), skip);
    u32 part = Part<T>::COUNT, vector = skip == 0 && n % part == 0;
    over_rows(rows, n, part, [&] { kernel(x.data(), y.data(), rows, n, 0, vector); });
    std::vector<f64> want;
    for (u32 row = 0; row < rows; row++) {
        f64 sum = 0;
        for (u32 i = 0; i < n; i++) sum += std::exp(real(x.data()[row * n + i]));
        for (u32 i = 0; i < n; i++) want.push_back(std::exp(real(x.data()[row * n + i])) / sum);
    }
    return close("softmax of rows", y.content(), want, epsilon<T>());
}

bool softmax_rows_case() {
    using namespace softmax_;
    auto f32_kernel = entry_softmax_rows_f32::softmax_rows_f32;
    auto f16_kernel = entry_softmax_rows_f16::softmax_rows_f16;
    return softmax_of_rows<f32>(f32_kernel, 9, 33, 0) && softmax_of_rows<f32>(f32_kernel, 2, 600, 0) &&
           softmax_of_rows<f32>(f32_kernel, 2, 1025, 1) && softmax_of_rows<f16>(f16_kernel, 3, 1032, 0) &&
           softmax_of_rows<f16>(f16_kernel, 11, 31, 1);
}

bool softmax_columns_case() {
    u32 outer = 2, n = 70, inner = 21, columns = outer * inner;
    std::vector<f32> x = numbers<f32>(outer * n * inner), y(x.size());
    host::launch(flat((columns + 31) / 32), {32, 8, 1}, chance(), [&] {
        softmax_::entry_softmax_columns_f32::softmax_columns_f32(x.data(), y.data(), columns, n, inner, 0);
    });
    std::vector<f64> want(x.size());
    for (u32 column = 0; column < columns; column++) {
        size_t start = (size_t)(column / inner) * n * inner + column % inner;
        f64 sum = 0;
        for (u32 i = 0; i < n; i++) sum += std::exp((f64)x[start + i * inner]);
        for (u32 i = 0; i < n; i++) want[start + i * inner] = std::exp((f64)x[start + i * inner]) / sum;
    }
    return close("softmax of columns", y, want, 2e-6);
}

template <class T, class Kernel> bool layer_norm(Kernel kernel, u32 rows, u32 n, u32 skip) {
    Operand<T> x(numbers<T>((size_t)rows * n), skip), y(std::vector<T>((size_t)rows * n), skip);
    Operand<T> weight(numbers<T>(n), skip), bias(numbers<T>(n), skip);
    u32 part = Part<T>::COUNT, vector = skip == 0 && n % part == 0;
    NormRows operands = {x.data(), nullptr, weight.data(), bias.data(), nullptr, y.data(), rows, n};
    over_rows(rows, n, part, [&] { kernel(operands, 0, 1e-3f, vector); });
    std::vector<f64> want;
    for (u32 row = 0; row < rows; row++) {
        T *own = x.data() + (size_t)row * n;
        f64 mean = 0, squares = 0;
        for (u32 i = 0; i < n; i++) mean += real(own[i]) / n;
        for (u32 i = 0; i < n; i++) squares += (real(own[i]) - mean) * (real(own[i]) - mean) / n;
        for (u32 i = 0; i < n; i++)
            want.push_back((real(own[i]) - mean) / std::sqrt(squares + (f64)1e-3f) * real(weight.data()[i]) + real(bias.data()[i]));
    }
    return close("layer norm", y.content(), want, 2 * epsilon<T>());
}

bool norm_case() {
    auto f32_kernel = norm_::entry_norm_f32::norm_f32;
    auto bf16_kernel = norm_::entry_norm_bf16::norm_bf16;
    return layer_norm<f32>(f32_kernel, 5, 40, 0) && layer_norm<f32>(f32_kernel, 2, 1000, 0) &&
           layer_norm<f32>(f32_kernel, 2, 777, 1) && layer_norm<bf16>(bf16_kernel, 2, 1032, 0);
}

bool group_norm_case() {
    u32 outer = 2, channels = 6, inner = 150, groups = 2, n = channels / groups * inner;
    std::vector<f32> x = numbers<f32>(outer * channels * inner), y(x.size());
    std::vector<f32> scale = numbers<f32>(channels), bias = numbers<f32>(channels);
    ChannelRows rows = {x.data(), scale.data(), bias.data(), y.data(), channels, inner};
    host::launch(flat(outer * groups), flat(128), chance(), [&] {
        channel_norm_::entry_group_norm_f32::group_norm_f32(rows, groups, 1e-3f, n, 0);
    });
    std::vector<f64> want;
    for (size_t i = 0; i < x.size(); i++) {
        size_t start = i / n * n, channel = i / inner % channels;
        f64 mean = 0, squares = 0;
        for (u32 j = 0; j < n; j++) mean += (f64)x[start + j] / n;
        for (u32 j = 0; j < n; j++) squares += (x[start + j] - mean) * (x[start + j] - mean) / n;
        want.push_back((x[i] - mean) / std::sqrt(squares + (f64)1e-3f) * scale[channel] + bias[channel]);
    }
    return close("group norm", y, want, 4e-6);
}

bool reduce_rows_case() {
    using namespace reduce_;
    u32 rows = 2, n = 700, slices = 3, slice = 240;
    std::vector<f32> x = numbers<f32>(rows * n), y(rows), partial(rows * slices);
    ReduceLanes lanes = {rows, n, 1, n, 1, slice};
    host::launch({rows, slices, 1}, flat(64), chance(), [&] {
        entry_reduce_rows_f32::reduce_rows_f32(x.data(), y.data(), partial.data(), lanes, SUM, 1);
    });
    host::launch(flat(1), {8, 32, 1}, chance(), [&] {
        entry_reduce_finish_f32::reduce_finish_f32(partial.data(), y.data(), lanes, slices, SUM);
    });
    std::vector<f64> want(rows);
    for (u32 i = 0; i < rows * n; i++) want[i / n] += x[i];
    return close("sums of rows in slices", y, want, 1e-4);
}

bool reduce_columns_case() {
    using namespace reduce_;
    u32 outer = 2, n = 90, inner = 20;
    std::vector<i64> x = numbers<i64>(outer * n * inner), y(outer * inner);
    ReduceLanes lanes = {outer * inner, n, 1, n, inner, n};
    host::launch(flat((outer * inner + 31) / 32), {32, 8, 1}, chance(), [&] {
        entry_reduce_columns_i64::reduce_columns_i64(x.data(), y.data(), nullptr, lanes, MAX);
    });
    std::vector<f64> want(outer * inner, -1e9);
    for (u32 i = 0; i < x.size(); i++) {
        f64 &own = want[i / (n * inner) * inner + i % inner];
        own = std::max(own, (f64)x[i]);
    }
    return close("maxima of columns", y, want, 0);
}

bool arg_extreme_case() {
    u32 lanes = 5, n = 600;
    std::vector<i32> x = numbers<i32>(lanes * n);
    std::vector<i64> y(lanes);
    host::launch(flat(lanes), {1, 256, 1}, chance(), [&] {
        arg_extreme_::entry_arg_extreme_i32::arg_extreme_i32(x.data(), y.data(), lanes, n, 1, 1);
    });
    std::vector<f64> want;
    for (u32 lane = 0; lane < lanes; lane++) {
        auto own = x.begin() + lane * n;
        want.push_back((f64)(std::max_element(own, own + n) - own));
    }
    return close("first of the largest", y, want, 0);
}

bool cumulative_case() {
    u32 n = 2500;
    std::vector<i32> x = numbers<i32>(n), y(n);
    ScanLanes scan = {1, n, 1, 0, 1};
    host::launch(flat(1), flat(256), chance(), [&] {
        cumulative_::entry_cumulative_tiles_i32::cumulative_tiles_i32(x.data(), y.data(), scan);
    });
    std::vector<f64> want(n);
    f64 sum = 0;
    for (u32 i = n; i-- > 0;) want[i] = sum += x[i];
    return close("running sums backwards", y, want, 0);
}

bool best(u32 n, u32 k, u32 threads) {
    u32 rows = 2;
    std::vector<f32> x = numbers<f32>(rows * n), values(rows * k);
    std::vector<i64> indices(rows * k);
    host::launch(flat(rows), flat(threads), chance(), [&] {
        top_k_::entry_top_k_f32::top_k_f32(x.data(), values.data(), indices.data(), n, k, 1);
    });
    std::vector<f64> want;
    for (u32 row = 0; row < rows; row++) {
        std::vector<u32> order(n);
        for (u32 i = 0; i < n; i++) order[i] = i;
        const f32 *own = x.data() + row * n;
        std::stable_sort(order.begin(), order.end(), [&](u32 a, u32 b) { return own[a] > own[b]; });
        want.insert(want.end(), order.begin(), order.begin() + k);
    }
    return close("places of the best", indices, want, 0);
}

bool top_k_case() { return best(100, 8, 64) && best(3000, 50, 1024); }

bool strided_case() {
    u32 rows = 70, columns = 45;
    std::vector<u16> x(rows * columns), y(rows * columns);
    for (u16 &own : x) own = (u16)chance();
    Strides layout = {2, rows * columns, {rows, columns}, {(i32)columns, 1}, {1, (i32)rows}};
    host::launch(flat(3), flat(256), chance(), [&] {
        strided_::entry_strided_squares_b16::strided_squares_b16(x.data(), y.data(), layout);
    });
    std::vector<f64> want(rows * columns);
    for (u32 i = 0; i < rows * columns; i++) want[i % columns * rows + i / columns] = x[i];
    return close("a matrix turned round", y, want, 0);
}

bool attention_decode_case() {
    u32 heads = 2, dim = 40, keys = 300, splits = 2, sequences = 2, width = heads * dim;
    std::vector<f32> q = numbers<f32>(sequences * width), k = numbers<f32>(sequences * keys * width);
    std::vector<f32> v = numbers<f32>(k.size()), y(q.size()), partial(sequences * heads * splits * (dim + 2));
    DecodeShape shape = {};
    shape.heads = shape.kv_heads = heads, shape.head_dim = dim, shape.keys = keys, shape.splits = splits;
    shape.q_row = shape.k_row = shape.v_row = shape.y_row = width;
    shape.rows = sequences * keys, shape.lanes = 8, shape.vectors = 1, shape.scale = 0.25f;
    const f32 *mask = nullptr;
    host::launch(flat(sequences * heads * splits), flat(128), chance(), [&] {
        attention_decode_::entry_attention_decode_f32::attention_decode_f32(q.data(), k.data(), v.data(), mask, nullptr, nullptr, y.data(), partial.data(), shape);
    });
    host::launch(flat(sequences * heads), flat(128), chance(), [&] {
        attention_decode_::entry_attention_join_f32::attention_join_f32(partial.data(), y.data(), heads, dim, splits, width);
    });
    std::vector<f64> want(q.size());
    for (u32 row = 0; row < sequences * heads; row++) {
        u32 column = row % heads * dim, sequence = row / heads;
        std::vector<f64> weights(keys);
        f64 sum = 0;
        for (u32 key = 0; key < keys; key++) {
            f64 score = 0;
            for (u32 d = 0; d < dim; d++)
                score += (f64)q[sequence * width + column + d] * k[(sequence * keys + key) * width + column + d];
            sum += weights[key] = std::exp(score * 0.25);
        }
        for (u32 key = 0; key < keys; key++)
            for (u32 d = 0; d < dim; d++)
                want[sequence * width + column + d] += weights[key] / sum * v[(sequence * keys + key) * width + column + d];
    }
    return close("one query to many keys", y, want, 2e-5);
}

// Few rows times a matrix whose rows are dense, then one whose columns are.
bool gemv_case() {
    u32 m = 3, n = 72, k = 80;
    std::vector<f32> bias = numbers<f32>(n);
    std::vector<f16> a = numbers<f16>(m * k), b = numbers<f16>(k * n), c(m * n), bias16(n);
    for (u32 i = 0; i < n; i++) bias16[i] = from_f32<f16>(bias[i]);
    ProductShape shape = {};
    shape.a_batch = m * k, shape.b_batch = k * n, shape.c_batch = m * n;
    shape.batch = 1, shape.m = m, shape.n = n, shape.k = k, shape.splits = 1, shape.k_split = k;
    shape.a_row = k, shape.a_column = 1, shape.b_row = n, shape.b_column = 1, shape.c_row = n;
    shape.a_kind = shape.b_kind = KIND_F16, shape.a_vector = shape.b_vector = 1;
    Target to = {bias16.data(), nullptr, c.data(), nullptr};
    Ending ending = {};
    auto right = [&](u32 i, u32 column) { return real(b[i * shape.b_row + column * shape.b_column]); };
    auto holds = [&] {
        std::vector<f64> want(m * n);
        for (u32 i = 0; i < m * n; i++) {
            want[i] = real(bias16[i % n]);
            for (u32 j = 0; j < k; j++) want[i] += real(a[i / n * k + j]) * right(j, i % n);
        }
        return close("few rows times a matrix", c, want, epsilon<f16>());
    };
    host::launch(flat(1), flat(256), chance(), [&] {
        gemv_::entry_gemv_rows_few_f16::gemv_rows_few_f16(a.data(), b.data(), to, shape, ending);
    });
    if (!holds()) return false;
    // Two warps share their columns.
    shape.b_row = 1, shape.b_column = k, shape.k_split = 2;
    host::launch(flat((n + 15) / 16), flat(256), chance(), [&] {
        gemv_::entry_gemv_columns_few_f16::gemv_columns_few_f16(a.data(), b.data(), to, shape, ending);
    });
    return holds();
}

bool ragged_pool_case() {
    u32 rows = 60, columns = 37;
    std::vector<f32> x = numbers<f32>(rows * columns);
    std::vector<u32> offsets = {0, 3, 3, 40, 60};
    u32 sequences = (u32)offsets.size() - 1;
    std::vector<f32> y(sequences * columns);
    RaggedRows ragged = {nullptr, nullptr, rows, columns, rows, 0};
    host::launch({sequences, 1, 1}, {32, 8, 1}, chance(), [&] {
        ragged_pool_::entry_ragged_pool_f32::ragged_pool_f32(x.data(), offsets.data(), y.data(), ragged, ragged_pool_::MEAN, 0);
    });
    std::vector<f64> want(y.size());
    for (u32 sequence = 0; sequence < sequences; sequence++)
        for (u32 row = offsets[sequence]; row < offsets[sequence + 1]; row++)
            for (u32 i = 0; i < columns; i++)
                want[sequence * columns + i] += (f64)x[row * columns + i] / (offsets[sequence + 1] - offsets[sequence]);
    return close("means of sequences", y, want, 1e-5);
}

const Case CASES[] = {
    {"softmax_rows", softmax_rows_case}, {"softmax_columns", softmax_columns_case}, {"norm", norm_case},
    {"group_norm", group_norm_case}, {"reduce_rows", reduce_rows_case}, {"reduce_columns", reduce_columns_case},
    {"arg_extreme", arg_extreme_case}, {"cumulative", cumulative_case}, {"top_k", top_k_case},
    {"strided", strided_case}, {"attention_decode", attention_decode_case},
    {"gemv", gemv_case}, {"ragged_pool", ragged_pool_case},
};

}  // namespace

int main(int count, char **words) {
    u64 seed = 1;
    u32 rounds = 1, failed = 0;
    std::vector<std::string> names;
    for (int i = 1; i < count; i++) {
        std::string word = words[i];
        if (word == "--seed" && i + 1 < count) seed = std::strtoull(words[++i], nullptr, 10);
        else if (word == "--all") rounds = 20;
        else names.push_back(word);
    }
    std::vector<Case> all(std::begin(CASES), std::end(CASES));
    for (const Case &own : product_cases()) all.push_back(own);
    for (const Case &own : all) {
        if (!names.empty() && std::find(names.begin(), names.end(), own.name) == names.end()) continue;
        bool holds = true;
        for (u32 round = 0; round < rounds && holds; round++) {
            chance.seed(seed + round);
            holds = own.run();
        }
        failed += !holds;
        std::printf("case %s: %s\n", own.name, holds ? "ok" : "FAILED");
        std::fflush(stdout);
    }
    return failed > 0;
}
