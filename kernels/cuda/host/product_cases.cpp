// Products, convolutions and attention: kernels with tensor cores, and with shared memory whose extent
// the launch says. Shapes have tiles that are not whole, and blocks that share a sum.
#include "cases.h"
#include "attention.cu"
#include "attention_exact.cu"
#include "conv.cu"
#include "matmul.cu"
#include "matmul_tensor.cu"

namespace {

// How a kernel of products is launched, and the kinds of A (and of C) and of B.
struct Tiles { u32 rows, columns, threads, a_kind, b_kind; };

// In two parts of k; B as [k][n], or `along` k as [n][k].
template <class A, class B, class Kernel> bool product(Kernel kernel, Tiles tiles, bool along, u32 m, u32 n, u32 k) {
    u32 splits = 2, k_split = (k / 2 + 63) / 64 * 64, vector = 16 / sizeof(A);
    std::vector<A> a = numbers<A>(m * k), c(m * n), bias = numbers<A>(n);
    std::vector<B> b = numbers<B>(k * n);
    std::vector<f32> partial(splits * m * n);
    ProductShape shape = {};
    shape.a_batch = m * k, shape.b_batch = k * n, shape.c_batch = m * n;
    shape.batch = 1, shape.m = m, shape.n = n, shape.k = k, shape.splits = splits, shape.k_split = k_split;
    shape.a_row = k, shape.a_column = 1, shape.c_row = n;
    shape.b_row = along ? 1 : n, shape.b_column = along ? k : 1;
    shape.a_kind = tiles.a_kind, shape.b_kind = tiles.b_kind;
    shape.a_vector = k % vector == 0, shape.b_vector = (along ? k : n) % vector == 0;
    Target to = {bias.data(), nullptr, c.data(), partial.data()};
    Ending ending = {};
    u32 down = (m + tiles.rows - 1) / tiles.rows, across = (n + tiles.columns - 1) / tiles.columns;
    host::launch(flat(down * across * splits), flat(tiles.threads), chance(),
                 [&] { kernel(a.data(), b.data(), to, shape, ending); });
    host::launch(flat(2), flat(256), chance(), [&] { matmul_::matmul_finish(to, shape, ending); });
    std::vector<f64> want(m * n);
    for (u32 i = 0; i < m * n; i++) {
        want[i] = real(bias[i % n]);
        for (u32 j = 0; j < k; j++)
            want[i] += real(a[i / n * k + j]) * real(b[j * shape.b_row + i % n * shape.b_column]);
    }
    return close("a product", c, want, 5e-5 + 2 * epsilon<A>());
}

bool matmul_case() {
    auto tiles = [](u32 side, u32 threads) { return Tiles{side, side, threads, KIND_F32, KIND_F16}; };
    return product<f32, f16>(matmul_::matmul_small, tiles(32, 64), false, 33, 40, 200) &&
           product<f32, f16>(matmul_::matmul_middle, tiles(64, 128), false, 65, 67, 150) &&
           product<f32, f16>(matmul_::matmul_large, tiles(128, 256), false, 130, 129, 140);
}

bool matmul_tensor_case() {
    using namespace matmul_tensor_;
    Tiles half = {32, 64, 128, KIND_F16, KIND_F16}, brain = {64, 64, 128, KIND_BF16, KIND_BF16};
    auto flat_kernel = entry_matmul_tensor_flat_f16::matmul_tensor_flat_f16;
    auto along_kernel = entry_matmul_tensor_flat_along_f16::matmul_tensor_flat_along_f16;
    auto brain_kernel = entry_matmul_tensor_small_bf16::matmul_tensor_small_bf16;
    return product<f16, f16>(flat_kernel, half, false, 40, 72, 136) &&
           product<f16, f16>(along_kernel, half, true, 33, 65, 131) &&
           product<bf16, bf16>(brain_kernel, brain, false, 65, 24, 96);
}

// Extents of a case of attention.
struct Heads { u32 dim, queries, keys; bool causal, masked; };

template <class T> f64 score_of(const T *q, const T *k, u32 dim, f64 scale) {
    f64 sum = 0;
    for (u32 d = 0; d < dim; d++) sum += real(q[d]) * real(k[d]);
    return sum * scale;
}

// Two sequences of two heads that share their keys.
template <class T, class Kernel> bool attention(Kernel kernel, Heads own, u32 rows, u32 threads, size_t shared) {
    u32 heads = 2, sequences = 2, width = heads * own.dim;
    std::vector<T> q = numbers<T>(sequences * own.queries * width), k = numbers<T>(sequences * own.keys * own.dim);
    std::vector<T> v = numbers<T>(k.size()), mask = numbers<T>(own.queries * own.keys), y(q.size());
    AttentionShape shape = {};
    shape.heads = heads, shape.kv_heads = 1, shape.head_dim = own.dim, shape.sequences = sequences;
    shape.queries = own.queries, shape.keys = own.keys, shape.q_row = shape.y_row = width;
    shape.k_row = shape.v_row = own.dim, shape.mask_query = own.keys, shape.mask_key = 1;
    shape.causal = own.causal, shape.vectors = own.dim * sizeof(T) % 16 == 0, shape.scale = 0.25f;
    u32 blocks = (own.queries + rows - 1) / rows * sequences * heads;
    const T *no_mask = nullptr;
    auto body = [&] { kernel(q.data(), k.data(), v.data(), own.masked ? mask.data() : no_mask, nullptr, y.data(), shape); };
    host::launch(flat(blocks), flat(threads), chance(), body, shared);
    std::vector<f64> want(q.size());
    for (u32 i = 0; i < sequences * own.queries * heads; i++) {
        u32 query = i / heads % own.queries, sequence = i / heads / own.queries;
        u32 seen = own.causal ? query + 1 + own.keys - own.queries : own.keys;
        std::vector<f64> weights(seen);
        f64 sum = 0;
        for (u32 key = 0; key < seen; key++) {
            f64 score = score_of(q.data() + i * own.dim, k.data() + (sequence * own.keys + key) * own.dim, own.dim, 0.25);
            sum += weights[key] = std::exp(score + (own.masked ? real(mask[query * own.keys + key]) : 0));
        }
        for (u32 key = 0; key < seen; key++)
            for (u32 d = 0; d < own.dim; d++)
                want[i * own.dim + d] += weights[key] / sum * real(v[(sequence * own.keys + key) * own.dim + d]);
    }
    return close("attention", y, want, 2 * epsilon<T>());
}

bool attention_exact_case() {
    auto small = attention_::entry_attention_exact_32_f32::attention_exact_32_f32;
    auto large = attention_::entry_attention_exact_256_f32::attention_exact_256_f32;
    auto bytes = [](u32 columns, u32 rows, u32 keys) { return 4 * ((rows + keys) * (columns + 4) + rows * (keys + 4)); };
    return attention<f32>(small, {20, 9, 70, true, false}, 64, 256, bytes(32, 64, 64)) &&
           attention<f32>(large, {130, 3, 19, false, true}, 32, 256, bytes(256, 32, 16));
}

bool attention_tensor_case() {
    auto held = attention_::entry_attention_32_f16::attention_32_f16;
    auto large = attention_::entry_attention_256_bf16::attention_256_bf16;
    auto bytes = [](u32 columns, u32 rows) { return 2 * rows * (columns + 8); };
    return attention<f16>(held, {24, 5, 70, true, false}, 128, 128, bytes(32, 128)) &&
           attention<bf16>(large, {132, 3, 18, false, true}, 64, 128, bytes(256, 96));
}

// A window of 3x3 over an image of 6x5, channels last; two blocks share each sum.
template <class T, class Tiled, class Join> bool conv(Tiled tiled, Join join, u32 channels, u32 filters) {
    u32 high = 6, wide = 5, outputs = high * wide, taps = 9;
    std::vector<T> x = numbers<T>(outputs * channels), w = numbers<T>(filters * taps * channels), y(outputs * filters);
    std::vector<T> bias = numbers<T>(filters);
    ConvShape shape = {};
    shape.groups = shape.images = 1, shape.channels = channels, shape.filters = filters, shape.taps = taps;
    for (u32 i = 0; i < 3; i++) {
        shape.input[i] = shape.output[i] = i == 0 ? 1 : i == 1 ? high : wide;
        shape.kernel[i] = i == 0 ? 1 : 3, shape.stride[i] = shape.dilation[i] = 1, shape.before[i] = i == 0 ? 0 : 1;
    }
    shape.x_image = outputs * channels, shape.x_channel = 1;
    shape.x_axis[0] = outputs * channels, shape.x_axis[1] = wide * channels, shape.x_axis[2] = channels;
    shape.y_image = outputs * filters, shape.y_filter = 1, shape.y_position = filters;
    shape.w_filter = channels * taps, shape.w_channel = 1, shape.w_tap = channels, shape.last = 1;
    u32 vector = 16 / sizeof(T);
    shape.x_vectors = channels % vector == 0, shape.w_vectors = channels * taps % vector == 0;
    shape.terms = (channels * taps / 2 + 31) / 32 * 32, shape.splits = (channels * taps + shape.terms - 1) / shape.terms;
    std::vector<f32> partial(shape.splits * outputs * filters);
    Ending ending = {};
    const T *residual = nullptr;
    host::launch({(outputs + 63) / 64, (filters + 63) / 64, shape.splits}, flat(128), chance(), [&] {
        tiled(x.data(), w.data(), bias.data(), residual, y.data(), partial.data(), shape, ending);
    });
    host::launch(flat(2), flat(256), chance(), [&] { join(partial.data(), bias.data(), residual, y.data(), shape, ending); });
    std::vector<f64> want(y.size());
    for (u32 i = 0; i < y.size(); i++) {
        u32 filter = i % filters, line = i / filters / wide, column = i / filters % wide;
        want[i] = real(bias[filter]);
        for (u32 tap = 0; tap < taps; tap++) {
            u32 from_line = line + tap / 3 - 1, from = column + tap % 3 - 1;
            if (from_line >= high || from >= wide) continue;
            for (u32 c = 0; c < channels; c++)
                want[i] += real(x[(from_line * wide + from) * channels + c]) * real(w[(filter * taps + tap) * channels + c]);
        }
    }
    return close("a convolution", y, want, 5e-5 + 2 * epsilon<T>());
}

bool conv_case() {
    using namespace conv_;
    auto join = entry_conv_join_f32::conv_join_f32;
    auto half_join = entry_conv_join_f16::conv_join_f16;
    return conv<f32>(entry_conv_tiles_f32::conv_tiles_f32, join, 8, 20) &&
           conv<f16>(entry_conv_tiles_f16::conv_tiles_f16, half_join, 8, 18) &&
           conv<f16>(entry_conv_tiles_f16::conv_tiles_f16, half_join, 9, 17);
}

}  // namespace

std::vector<Case> product_cases() {
    return {{"matmul", matmul_case}, {"matmul_tensor", matmul_tensor_case}, {"attention_exact", attention_exact_case},
            {"attention_tensor", attention_tensor_case}, {"conv", conv_case}};
}
