// Updates at indices, as if they were made one after the other in row-major order.
#include "indices.cuh"

namespace scatter_ {

// In the order of `enum Update` in scatter.rs.
enum Update : u32 { REPLACE, ADD, MUL, MAX, MAX_SIGNED, MIN, MIN_SIGNED, ADD_FLOAT, MUL_FLOAT,
                    MAX_FLOAT, MIN_FLOAT };

template <class F> DEVICE F combine_floats(u32 update, F old, F own) {
    switch (update) {
    case ADD_FLOAT: return old + own;
    case MUL_FLOAT: return old * own;
    case MAX_FLOAT: return old > own || old != old ? old : own;
    default: return old < own || old != old ? old : own;
    }
}

template <class T> struct As;
template <> struct As<u8> { using Signed = i8; using Wide = u32; };
template <> struct As<u16> { using Signed = i16; using Wide = u32; };
template <> struct As<u32> { using Signed = i32; using Wide = u32; };
template <> struct As<u64> { using Signed = i64; using Wide = u64; };

template <class T> DEVICE T combine(u32 update, T old, T own) {
    using Signed = typename As<T>::Signed;
    using Wide = typename As<T>::Wide;
    switch (update) {
    case REPLACE: return own;
    case ADD: return (T)((Wide)old + (Wide)own);
    case MUL: return (T)((Wide)old * (Wide)own);
    case MAX: return old > own ? old : own;
    case MAX_SIGNED: return (Signed)old > (Signed)own ? old : own;
    case MIN: return old < own ? old : own;
    case MIN_SIGNED: return (Signed)old < (Signed)own ? old : own;
    }
    if constexpr (sizeof(T) == 4)
        return __float_as_uint(combine_floats(update, __uint_as_float(old), __uint_as_float(own)));
    if constexpr (sizeof(T) == 8)
        return (T)__double_as_longlong(combine_floats(update, __longlong_as_double((i64)old),
                                                      __longlong_as_double((i64)own)));
    return old;
}

// An update: where it is and where it goes, or NOWHERE.
struct Entry { u32 from, to; };

// Updates of one line, which share no place with those of other lines, by one thread.
template <class T, class Find>
DEVICE void line_alone(const T *updates, T *y, u32 count, u32 update, Find find) {
    for (u32 i = 0; i < count; i++) {
        Entry entry = find(i);
        if (entry.to == NOWHERE) continue;
        T own = updates[entry.from];
        y[entry.to] = update == REPLACE ? own : combine<T>(update, y[entry.to], own);
    }
}

// The same by a block of one warp, 32 updates at a time: of those that go to one place the first
// lane takes all, in order.
template <class T, class Find>
DEVICE void line_together(const T *updates, T *y, u32 count, u32 update, Find find) {
    u32 lane = threadIdx.x;
    for (u64 start = 0; start < count; start += 32) {
        Entry entry = {0, NOWHERE};
        if (start + lane < count) entry = find((u32)start + lane);
        bool active = entry.to != NOWHERE;
        typename As<T>::Wide own = active ? updates[entry.from] : (T)0;
        u32 alike = 0;
#pragma unroll 1
        for (u32 other = 0; other < 32; other++)
            alike |= (u32)(__shfl_sync(FULL_WARP, entry.to, other) == entry.to) << other;
        bool first = active && (alike & ((1u << lane) - 1)) == 0;
        T sum = first ? y[entry.to] : (T)0;
#pragma unroll 1
        for (u32 other = 0; other < 32; other++) {
            T next = (T)__shfl_sync(FULL_WARP, own, other);
            if (alike >> other & 1) sum = combine<T>(update, sum, next);
        }
        if (first) y[entry.to] = sum;
        __syncthreads();
    }
}

// Calls `line` for every line, with how its entries are found; a block or a thread takes one.
template <class T, class Find>
DEVICE void each_line(const T *updates, T *y, u32 lines, u32 count, u32 update, u32 together,
                      Find find) {
    if (together) {
        for (u32 line = blockIdx.x; line < lines; line += gridDim.x)
            line_together(updates, y, count, update, [&](u32 i) { return find(line, i); });
    } else {
        u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
        for (u64 line = blockIdx.x * blockDim.x + threadIdx.x; line < lines; line += step)
            line_alone(updates, y, count, update, [&](u32 i) { return find((u32)line, i); });
    }
}

// y[its place, with `indices` along one axis] takes each update. A line is all along the axis.
template <class T>
DEVICE void scatter_elements(const T *updates, const void *indices, T *y, u64 *fault,
                             const Strides &layout, const Along &along, u32 update, u32 together) {
    each_line(updates, y, layout.words, along.count, update, together, [&](u32 line, u32 i) {
        u32 rest = line, from = i * along.index_stride, to = 0;
#pragma unroll 1
        for (u32 axis = 0; axis < layout.axes; axis++) {
            u32 outer = axis + 1 == layout.axes ? 0 : rest / layout.extents[axis];
            u32 own = rest - outer * layout.extents[axis];
            from += own * (u32)layout.from[axis];
            to += own * (u32)layout.to[axis];
            rest = outer;
        }
        i64 index = index_at(indices, along.index_type, from);
        if (within(index, along.extent)) return Entry{from, to + (u32)index * along.stride};
        report(fault, from);
        return Entry{from, NOWHERE};
    });
}

// y[tuple[t].., :] takes update t. A line is one word of every slice.
template <class T>
DEVICE void scatter_tuples(const T *updates, const void *indices, T *y, u64 *fault,
                           const Tuples &layout, u32 update, u32 together) {
    each_line(updates, y, layout.slice, layout.tuples, update, together, [&](u32 line, u32 t) {
        u32 to = slice_of(layout, indices, t, fault, line == 0);
        return Entry{t * layout.slice + line, to == NOWHERE ? NOWHERE : to + line};
    });
}

// Replaces the slice of each tuple that no later one names, a block a tuple.
template <class T>
DEVICE void scatter_slices(const T *updates, const void *indices, T *y, u64 *fault,
                           const Tuples &layout) {
    __shared__ f32 shared[32];
    for (u32 t = blockIdx.x; t < layout.tuples; t += gridDim.x) {
        u32 to = slice_of(layout, indices, t, fault, threadIdx.x == 0);
        bool hidden = to == NOWHERE;
        for (u64 later = (u64)t + 1 + threadIdx.x; later < layout.tuples; later += blockDim.x)
            hidden = hidden || slice_of(layout, indices, (u32)later, fault, false) == to;
        bool skipped = block_max(hidden ? 1.0f : 0.0f, shared) > 0.0f;
        if (skipped) continue;
        for (u32 word = threadIdx.x; word < layout.slice; word += blockDim.x)
            y[to + word] = updates[(u64)t * layout.slice + word];
    }
}

KERNEL_SIZES(scatter_elements, 128,
             (const T *updates, const void *indices, T *y, u64 *fault,
              const __grid_constant__ Strides layout, const __grid_constant__ Along along,
              u32 update, u32 together),
             (updates, indices, y, fault, layout, along, update, together))
KERNEL_SIZES(scatter_tuples, 128,
             (const T *updates, const void *indices, T *y, u64 *fault,
              const __grid_constant__ Tuples layout, u32 update, u32 together),
             (updates, indices, y, fault, layout, update, together))
KERNEL_SIZES(scatter_slices, 128,
             (const T *updates, const void *indices, T *y, u64 *fault,
              const __grid_constant__ Tuples layout),
             (updates, indices, y, fault, layout))
KERNEL(scatter_slices, b128, ::uint4, 128,
       (const T *updates, const void *indices, T *y, u64 *fault,
        const __grid_constant__ Tuples layout),
       (updates, indices, y, fault, layout))

}  // namespace scatter_
