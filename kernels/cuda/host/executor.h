// Runs kernels that were compiled for the host, a fiber a thread.
#pragma once
#include "shim.h"
#include <functional>

namespace host {

// Runs `body` once for each thread of each block, blocks one after another in an order, and threads
// within a block in turns, that `seed` chooses. Each block has `shared` bytes of dynamic shared memory. A
// barrier or shuffle that not all threads reach ends the process with status 3 and says where.
void launch(Index grid, Index threads, uint64_t seed, const std::function<void()> &body, size_t shared = 0);

}  // namespace host
