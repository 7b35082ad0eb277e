// Launches that were recorded, and the kernels that they call.
#pragma once
#include "executor.h"
#include "kernel.cuh"
#include <tuple>
#include <utility>
#include <vector>

namespace host {

// Runs a kernel with the parameters of a launch.
using Call = void (*)(Index grid, Index threads, uint64_t seed, const std::vector<unsigned char> &params, size_t shared);

// An entry of a file of kernels.
struct Entry { const char *name; Call call; };

// Adds entries to those that are known; for what runs before `main`.
bool know(std::initializer_list<Entry> entries);

template <class... T, size_t... I>
void run(void (*kernel)(T...), std::index_sequence<I...>, Index grid, Index threads, uint64_t seed,
         const std::vector<unsigned char> &params, size_t shared) {
    std::tuple<std::remove_cv_t<T>...> values;
    size_t end = 0;
    // As the compiler lays them out: each at a multiple of its alignment.
    auto take = [&](auto &value) {
        end = (end + alignof(decltype(value)) - 1) / alignof(decltype(value)) * alignof(decltype(value));
        if (end + sizeof value > params.size()) refuse("parameters that are too short", "the recording");
        std::memcpy((void *)&value, params.data() + end, sizeof value);
        end += sizeof value;
    };
    (take(std::get<I>(values)), ...);
    launch(grid, threads, seed, [&] { kernel(std::get<I>(values)...); }, shared);
}

template <class... T>
void run(void (*kernel)(T...), Index grid, Index threads, uint64_t seed, const std::vector<unsigned char> &params, size_t shared) {
    run(kernel, std::index_sequence_for<T...>(), grid, threads, seed, params, shared);
}

template <auto KERNEL>
void call(Index grid, Index threads, uint64_t seed, const std::vector<unsigned char> &params, size_t shared) {
    run(KERNEL, grid, threads, seed, params, shared);
}

}  // namespace host
