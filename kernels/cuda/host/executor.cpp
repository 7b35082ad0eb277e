// A fiber a CUDA thread, in one thread of the host. ThreadSanitizer is told of every fiber and of
// every barrier, and of nothing else that orders them: two threads of a block that touch the same
// bytes without a barrier between them are a race, in whatever order they ran. Blocks are ordered one
// behind the other; races between blocks are not found here.
//
// This file is compiled without ThreadSanitizer, whose calls it makes itself.
#include "executor.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#ifdef WITH_THREAD_SANITIZER
extern "C" {
void *__tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void *);
void *__tsan_get_current_fiber();
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_acquire(void *);
void __tsan_release(void *);
}
#else
static void *__tsan_create_fiber(unsigned) { return nullptr; }
static void __tsan_destroy_fiber(void *) {}
static void *__tsan_get_current_fiber() { return nullptr; }
static void __tsan_switch_to_fiber(void *, unsigned) {}
static void __tsan_acquire(void *) {}
static void __tsan_release(void *) {}
#endif
#ifdef WITH_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

namespace host {

Thread *thread;
Index block, block_extent, grid_extent;

namespace {

enum State { RUNS, AT_BARRIER, AT_SHUFFLE, ENDED };
constexpr size_t STACK = 256 << 10;
constexpr unsigned WARP = 32, THREADS_MAX = 1024;
// Without the switch's own synchronization, which would hide races.
constexpr unsigned NO_SYNC = 1;

struct Fiber : Thread {
    unsigned number;
    State state;
    const char *site;
    uint64_t value;
    unsigned source;
    ucontext_t context;
    char *stack;
    void *sanitizer, *fake_stack;
};

std::vector<Fiber> fibers;
ucontext_t main_context;
void *main_sanitizer, *main_fake_stack;
const void *main_stack;
size_t main_stack_size;
const std::function<void()> *body_of_all;
// What the sanitizer is told to order by: barriers, and ends of blocks before the start of the next,
// which are two so that threads of one block are not ordered by them. Shuffles order nothing.
char barrier_order, start_order, end_order;

Fiber &self() { return *static_cast<Fiber *>(thread); }

[[noreturn]] void give_up(const char *what, const char *site) {
    std::printf("divergence: %s at %s, block (%u, %u, %u)\n", what, site, block.x, block.y, block.z);
    std::fflush(stdout);
    _exit(3);
}

void to_main() {
    Fiber &own = self();
    bool ends = own.state == ENDED;
    __sanitizer_start_switch_fiber(ends ? nullptr : &own.fake_stack, main_stack, main_stack_size);
    __tsan_switch_to_fiber(main_sanitizer, NO_SYNC);
    swapcontext(&own.context, &main_context);
    __sanitizer_finish_switch_fiber(own.fake_stack, nullptr, nullptr);
}

void run_fiber() {
    __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_size);
    __tsan_acquire(&start_order);
    (*body_of_all)();
    __tsan_release(&end_order);
    self().state = ENDED;
    to_main();
}

void resume(Fiber &fiber) {
    thread = &fiber;
    __sanitizer_start_switch_fiber(&main_fake_stack, fiber.stack, STACK);
    __tsan_switch_to_fiber(fiber.sanitizer, NO_SYNC);
    swapcontext(&main_context, &fiber.context);
    __sanitizer_finish_switch_fiber(main_fake_stack, nullptr, nullptr);
}

void start(Fiber &fiber, unsigned number) {
    fiber.number = number;
    unsigned rest = number / block_extent.x;
    fiber.index = {number % block_extent.x, rest % block_extent.y, rest / block_extent.y};
    fiber.state = RUNS;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
}

// Lets threads go that wait for no one any more; whether there were any.
bool release(size_t threads) {
    size_t waiting = 0, ended = 0;
    for (size_t i = 0; i < threads; i++) {
        waiting += fibers[i].state == AT_BARRIER;
        ended += fibers[i].state == ENDED;
    }
    if (waiting == threads) {
        for (size_t i = 0; i < threads; i++) {
            if (fibers[i].site != fibers[0].site) give_up("threads wait at different barriers", fibers[i].site);
            fibers[i].state = RUNS;
        }
        return true;
    }
    bool some = false;
    for (size_t first = 0; first < threads; first += WARP) {
        size_t lanes = std::min<size_t>(WARP, threads - first), there = 0;
        for (size_t i = first; i < first + lanes; i++) there += fibers[i].state == AT_SHUFFLE;
        if (there < lanes) continue;
        uint64_t values[WARP];
        for (size_t i = 0; i < lanes; i++) values[i] = fibers[first + i].value;
        for (size_t i = 0; i < lanes; i++) {
            Fiber &fiber = fibers[first + i];
            if (fiber.site != fibers[first].site || fiber.source >= lanes) give_up("a shuffle without all of its lanes", fiber.site);
            fiber.value = values[fiber.source];
            fiber.state = RUNS;
        }
        some = true;
    }
    return some;
}

void run_block(size_t threads, std::mt19937_64 &chance) {
    for (size_t i = 0; i < threads; i++) start(fibers[i], (unsigned)i);
    std::vector<size_t> order(threads);
    for (size_t i = 0; i < threads; i++) order[i] = i;
    // All threads take turns, or one warp runs ahead of the others as far as it can.
    bool ahead = chance() % 2;
    for (;;) {
        std::shuffle(order.begin(), order.end(), chance);
        size_t ran = 0, ended = 0, favored = THREADS_MAX;
        for (size_t i : order) {
            if (fibers[i].state != RUNS || (ahead && ran > 0 && i / WARP != favored)) continue;
            favored = i / WARP;
            resume(fibers[i]);
            ran++;
        }
        for (size_t i = 0; i < threads; i++) ended += fibers[i].state == ENDED;
        if (ended == threads) return;
        bool released = release(threads);
        if (ran > 0 || released) continue;
        for (size_t i = 0; i < threads; i++)
            if (fibers[i].state != ENDED) give_up("not all threads come", fibers[i].site);
    }
}

}  // namespace

void barrier(const char *site) {
    Fiber &own = self();
    own.state = AT_BARRIER, own.site = site;
    __tsan_release(&barrier_order);
    to_main();
    __tsan_acquire(&barrier_order);
}

uint64_t exchange(uint64_t value, unsigned source, const char *site) {
    Fiber &own = self();
    own.state = AT_SHUFFLE, own.site = site, own.value = value, own.source = source;
    to_main();
    return own.value;
}

unsigned lane() { return self().number % WARP; }

void launch(Index grid, Index threads, uint64_t seed, const std::function<void()> &body) {
    std::mt19937_64 chance(seed);
    size_t count = (size_t)threads.x * threads.y * threads.z;
    block_extent = threads, grid_extent = grid, body_of_all = &body;
    fibers.resize(count);
    main_sanitizer = __tsan_get_current_fiber();
    void *stacks = mmap(nullptr, STACK * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) std::abort();
    for (size_t i = 0; i < count; i++) {
        fibers[i].stack = (char *)stacks + i * STACK;
        fibers[i].sanitizer = __tsan_create_fiber(0);
    }
    std::vector<size_t> blocks((size_t)grid.x * grid.y * grid.z);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = i;
    std::shuffle(blocks.begin(), blocks.end(), chance);
    for (size_t i : blocks) {
        __tsan_release(&start_order);
        block = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y)};
        run_block(count, chance);
        __tsan_acquire(&end_order);
    }
    for (Fiber &fiber : fibers) __tsan_destroy_fiber(fiber.sanitizer);
    munmap(stacks, STACK * count);
}

}  // namespace host
