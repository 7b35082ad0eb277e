// What a product does with a complete sum: activation, factor and summand, residual, activation.
#pragma once
#include "kernel.cuh"

// In the order of `Activation::code` in finish.rs.
enum ActivationCode : u32 {
    ACTIVATION_NONE, ACTIVATION_GELU, ACTIVATION_GELU_TANH, ACTIVATION_RELU, ACTIVATION_SILU,
    ACTIVATION_TANH, ACTIVATION_SIGMOID, ACTIVATION_CLAMP, ACTIVATION_LEAKY_RELU, ACTIVATION_ELU,
    ACTIVATION_HARD_SIGMOID, ACTIVATION_HARD_SWISH,
};

// The same structure as in finish.rs.
struct Ending {
    u32 activation;
    f32 first, second;
    u32 is_scaled;
    f32 factor, summand;
    u32 last;
    f32 last_first, last_second;
};

DEVICE f32 bounded(f32 x, f32 low, f32 high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

DEVICE f32 activate(u32 code, f32 first, f32 second, f32 x) {
    switch (code) {
    case ACTIVATION_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case ACTIVATION_GELU_TANH: {
        f32 inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
        return 0.5f * x * (1.0f + tanhf(inner));
    }
    case ACTIVATION_RELU: return x < 0.0f ? 0.0f : x;
    case ACTIVATION_SILU: return x / (1.0f + expf(-x));
    case ACTIVATION_TANH: return tanhf(x);
    case ACTIVATION_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case ACTIVATION_CLAMP: return bounded(x, first, second);
    case ACTIVATION_LEAKY_RELU: return x < 0.0f ? first * x : x;
    case ACTIVATION_ELU: return x < 0.0f ? first * expm1f(x) : x;
    case ACTIVATION_HARD_SIGMOID: return bounded(fmaf(x, first, second), 0.0f, 1.0f);
    case ACTIVATION_HARD_SWISH: return x * bounded(fmaf(x, 1.0f / 6.0f, 0.5f), 0.0f, 1.0f);
    }
    return x;
}

// `residual` is ignored unless `has_residual`. A loop, for the code of the activations to be there once.
DEVICE f32 finish(const Ending &ending, f32 x, bool has_residual, f32 residual) {
#pragma unroll 1
    for (u32 last = 0; last < 2; last++) {
        u32 code = last ? ending.last : ending.activation;
        if (code != ACTIVATION_NONE)
            x = activate(code, last ? ending.last_first : ending.first,
                         last ? ending.last_second : ending.second, x);
        if (last) break;
        if (ending.is_scaled) x = fmaf(x, ending.factor, ending.summand);
        if (has_residual) x += residual;
    }
    return x;
}
