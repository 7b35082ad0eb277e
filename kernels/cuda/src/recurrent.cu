// One token of a recurrent layer: a warp multiplies the weights of one unit by the states of several
// rows of the batch, and makes their next states.
#include "kernel.cuh"

// The same structure as in parameters.rs.
struct StepShape {
    // `enum Phase` in recurrent.rs.
    u32 phase;
    // Rows of the batch, units of the state, units of all gates.
    u32 batch, hidden, columns;
    u32 has_bias;
};

namespace recurrent_ {

enum Phase : u32 { LSTM, GRU_GATES, GRU_STATE, TANH, RELU };

// Rows of the batch that a warp takes at once.
constexpr u32 ROWS = 4, WARPS = 4;

DEVICE f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// State before and after, [batch, hidden] each; of a GRU also σ(z) and σ(r) h.
struct States {
    const f32 *before;
    f32 *after, *cell, *update, *kept;
};

// Gates `first`.. of unit `unit` for rows `row`..: the projection of the token, biases and r h.
template <class T, u32 GATES>
DEVICE void gates_of(f32 (&sums)[GATES][ROWS], u32 first, const f32 *projected, const T *weights, const T *bias,
                     const f32 *h, u32 unit, u32 row, const StepShape &shape) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 g = 0; g < GATES; g++)
        for (u32 i = 0; i < ROWS; i++) sums[g][i] = 0.0f;
    for (u32 k = lane; k < shape.hidden; k += 32) {
        f32 state[ROWS];
#pragma unroll
        for (u32 i = 0; i < ROWS; i++) state[i] = row + i < shape.batch ? h[(u64)(row + i) * shape.hidden + k] : 0.0f;
#pragma unroll
        for (u32 g = 0; g < GATES; g++) {
            f32 weight = to_f32(weights[(u64)((first + g) * shape.hidden + unit) * shape.hidden + k]);
#pragma unroll
            for (u32 i = 0; i < ROWS; i++) sums[g][i] = fmaf(weight, state[i], sums[g][i]);
        }
    }
#pragma unroll
    for (u32 g = 0; g < GATES; g++) {
        u32 column = (first + g) * shape.hidden + unit;
        f32 both = shape.has_bias ? to_f32(bias[column]) + to_f32(bias[shape.columns + column]) : 0.0f;
#pragma unroll
        for (u32 i = 0; i < ROWS; i++) {
            sums[g][i] = warp_sum(sums[g][i]) + both;
            if (row + i < shape.batch) sums[g][i] += projected[(u64)(row + i) * shape.columns + column];
        }
    }
}

// Next states of one unit; lane i has row i.
template <class T>
DEVICE void lstm(const f32 *projected, const T *weights, const T *bias, const States &states, f32 &next, u32 unit,
                 u32 row, const StepShape &shape) {
    f32 gates[4][ROWS];
    gates_of(gates, 0, projected, weights, bias, states.before, unit, row, shape);
#pragma unroll
    for (u32 i = 0; i < ROWS; i++) {
        if (threadIdx.x % 32 != i || row + i >= shape.batch) continue;
        f32 *cell = states.cell + (u64)(row + i) * shape.hidden + unit;
        *cell = fmaf(sigmoid(gates[2][i]), *cell, sigmoid(gates[0][i]) * tanhf(gates[3][i]));
        next = sigmoid(gates[1][i]) * tanhf(*cell);
    }
}
template <class T>
DEVICE void gru_gates(const f32 *projected, const T *weights, const T *bias, const States &states, u32 unit, u32 row,
                      const StepShape &shape) {
    f32 gates[2][ROWS];
    gates_of(gates, 0, projected, weights, bias, states.before, unit, row, shape);
#pragma unroll
    for (u32 i = 0; i < ROWS; i++) {
        if (threadIdx.x % 32 != i || row + i >= shape.batch) continue;
        u64 at = (u64)(row + i) * shape.hidden + unit;
        states.update[at] = sigmoid(gates[0][i]);
        states.kept[at] = sigmoid(gates[1][i]) * states.before[at];
    }
}
template <class T>
DEVICE void one_gate(const f32 *projected, const T *weights, const T *bias, const States &states, f32 &next, u32 unit,
                     u32 row, const StepShape &shape) {
    bool gru = shape.phase == GRU_STATE;
    f32 gates[1][ROWS];
    gates_of(gates, gru ? 2 : 0, projected, weights, bias, gru ? states.kept : states.before, unit, row, shape);
#pragma unroll
    for (u32 i = 0; i < ROWS; i++) {
        if (threadIdx.x % 32 != i || row + i >= shape.batch) continue;
        u64 at = (u64)(row + i) * shape.hidden + unit;
        f32 x = gates[0][i];
        if (shape.phase == RELU) next = x < 0.0f ? 0.0f : x;
        else next = tanhf(x);
        if (gru) next = fmaf(states.update[at], states.before[at], (1.0f - states.update[at]) * next);
    }
}

template <class T>
DEVICE void recurrent_step(const f32 *projected, const T *weights, const T *bias, const f32 *before, f32 *after,
                           f32 *cell, f32 *update, f32 *kept, T *out, const StepShape &shape) {
    u32 tiles = (shape.hidden + WARPS - 1) / WARPS;
    u32 unit = blockIdx.x % tiles * WARPS + threadIdx.x / 32, row = blockIdx.x / tiles * ROWS;
    if (unit >= shape.hidden) return;
    States states = {before, after, cell, update, kept};
    f32 next = 0.0f;
    if (shape.phase == GRU_GATES) {
        gru_gates(projected, weights, bias, states, unit, row, shape);
        return;
    }
    if (shape.phase == LSTM) lstm(projected, weights, bias, states, next, unit, row, shape);
    else one_gate(projected, weights, bias, states, next, unit, row, shape);
    row += threadIdx.x % 32;
    if (threadIdx.x % 32 >= ROWS || row >= shape.batch) return;
    after[(u64)row * shape.hidden + unit] = next;
    store(next, out + (u64)row * shape.hidden + unit);
}

KERNEL_FLOATS(recurrent_step, 128,
              (const f32 *projected, const T *weights, const T *bias, const f32 *before, f32 *after, f32 *cell,
               f32 *update, f32 *kept, T *out, StepShape shape),
              (projected, weights, bias, before, after, cell, update, kept, out, shape))

}  // namespace recurrent_
