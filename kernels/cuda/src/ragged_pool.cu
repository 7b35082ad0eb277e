// One row out of the rows of each sequence, or out of the rows of a table that it names.
#include "indices.cuh"
#include "row.cuh"

namespace ragged_pool_ {

// In the order of `enum Pooling` in ragged_pool.rs.
enum Kind : u32 { MEAN, SUM, MAX, FIRST, LAST };

DEVICE f32 join(u32 kind, f32 a, f32 b) {
    if (kind == MAX) return a > b || a != a ? a : b;
    return a + b;
}

// The row of x at a place, or their number if its index is outside.
DEVICE u32 row_of(const RaggedRows &ragged, u32 place) {
    i64 row = ragged.indices ? index_at(ragged.indices, ragged.type, place) : place;
    if (row >= 0 && row < ragged.rows) return (u32)row;
    atomicMin(ragged.fault, (u64)place);
    return ragged.rows;
}

// A block some parts of the row of a sequence; the threads along y share its rows, whose order
// depends on their number alone. The least place of an index outside goes to `fault`.
template <class T> DEVICE void ragged_pool(const T *x, const u32 *offsets, T *y, RaggedRows ragged, u32 kind, u32 vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 shared[8][32][COUNT + 1];
    u32 columns = ragged.columns, sequence = blockIdx.x;
    u32 column = (blockIdx.y * blockDim.x + threadIdx.x) * COUNT;
    // Offsets were checked where they were made; whatever they are, nothing outside is read.
    u32 end = min(offsets[sequence + 1], ragged.places), start = min(offsets[sequence], end);
    u32 count = end - start, first = kind == LAST && count > 0 ? end - 1 : start;
    if (kind == FIRST || kind == LAST) end = min(end, first + 1);
    f32 own[COUNT];
    // What leaves every number as it is.
    for (u32 i = 0; i < COUNT; i++) own[i] = kind == MAX ? -F32_INFINITY : -0.0f;
    for (u32 place = first + threadIdx.y; place < end; place += blockDim.y) {
        u32 row = row_of(ragged, place);
        if (row == ragged.rows) continue;
        f32 part[COUNT];
        load_part(x + (u64)row * columns, column, columns, vector, 0.0f, part);
        for (u32 i = 0; i < COUNT; i++) own[i] = join(kind, own[i], part[i]);
    }
    for (u32 i = 0; i < COUNT; i++) shared[threadIdx.y][threadIdx.x][i] = own[i];
    __syncthreads();
    if (threadIdx.y > 0) return;
    for (u32 k = 1; k < blockDim.y; k++)
        for (u32 i = 0; i < COUNT; i++) own[i] = join(kind, own[i], shared[k][threadIdx.x][i]);
    for (u32 i = 0; i < COUNT; i++) {
        if (kind == MEAN) own[i] /= (f32)count;
        if (count == 0) own[i] = 0.0f;
    }
    store_part(y + (u64)sequence * columns, column, columns, vector, own);
}

KERNEL_FLOATS(ragged_pool, 256, (const T *x, const u32 *offsets, T *y, RaggedRows ragged, u32 kind, u32 vector), (x, offsets, y, ragged, kind, vector))

}  // namespace ragged_pool_
