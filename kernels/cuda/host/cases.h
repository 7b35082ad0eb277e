// What cases of kernels share: operands, and the comparison with f64.
#pragma once
#include "executor.h"
#include "kernel.cuh"
#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

// Whether the kernels of a file hold.
struct Case { const char *name; bool (*run)(); };
// Cases of product_cases.cpp.
std::vector<Case> product_cases();

// Draws inputs, and the order of every launch.
inline std::mt19937_64 chance;

inline u32 below(u32 n) { return (u32)(chance() % n); }

template <class T> T number(f32 x) {
    if constexpr (std::is_integral_v<T>) return (T)(x * 50.0f);
    else return from_f32<T>(x);
}
template <class T> f64 real(T x) {
    if constexpr (std::is_integral_v<T>) return (f64)x;
    else return to_f32(x);
}

template <class T> std::vector<T> numbers(size_t n) {
    std::vector<T> x(n);
    for (T &own : x) own = number<T>((f32)(below(4001)) / 1000.0f - 2.0f);
    return x;
}

// An operand that begins `skip` elements behind an aligned place; nothing is behind its end.
template <class T> struct Operand {
    std::vector<T> all;
    size_t skip;
    Operand(std::vector<T> x, size_t skip) : all(skip), skip(skip) { all.insert(all.end(), x.begin(), x.end()); }
    T *data() { return all.data() + skip; }
    std::vector<T> content() const { return {all.begin() + (long)skip, all.end()}; }
};

template <class T> f64 epsilon() {
    return std::is_integral_v<T> ? 0.0 : sizeof(T) == 4 ? 2e-6 : std::is_same_v<T, f16> ? 2.0 / 1024 : 2.0 / 128;
}

// Says where they differ; the tolerance is absolute below 1 and relative above.
template <class T> bool close(const std::string &what, const std::vector<T> &found, const std::vector<f64> &want, f64 tolerance) {
    for (size_t i = 0; i < want.size(); i++) {
        f64 x = real(found[i]);
        if (x == want[i] || std::fabs(x - want[i]) <= tolerance * std::max(1.0, std::fabs(want[i]))) continue;
        std::printf("%s: element %zu is %g, expected %g +- %g\n", what.c_str(), i, x, want[i], tolerance);
        return false;
    }
    return true;
}

inline host::Index flat(u32 n) { return {n, 1, 1}; }
