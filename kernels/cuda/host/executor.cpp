// A fiber a CUDA thread, in one thread of the host. ThreadSanitizer is told of every fiber and of
// every barrier, and of nothing else that orders them: two threads of a block that touch the same
// bytes without a barrier between them are a race, in whatever order they ran. So are threads of two
// blocks, which run one after the other but are ordered by nothing, unless both are atomic.
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
void *__tsan_get_current_fiber();
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_acquire(void *);
void __tsan_release(void *);
// Of an interface for managed heaps: forgets who touched the range.
void __tsan_java_alloc(unsigned long, unsigned long);
// The linker's: statics without a value, among which are those that blocks share.
extern char __bss_start[], _end[];
}
#else
static void *__tsan_create_fiber(unsigned) { return nullptr; }
static void *__tsan_get_current_fiber() { return nullptr; }
static void __tsan_switch_to_fiber(void *, unsigned) {}
static void __tsan_acquire(void *) {}
static void __tsan_release(void *) {}
static void __tsan_java_alloc(unsigned long, unsigned long) {}
static char __bss_start[8], *_end = __bss_start;
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
unsigned char *dynamic_shared;

namespace {

enum State { RUNS, AT_BARRIER, AT_SHUFFLE, ENDED };
constexpr size_t STACK = 256 << 10;
constexpr unsigned WARP = 32, THREADS_MAX = 1024;
// Fibers that blocks of a launch have together, if that is enough for two: each is a thread to
// ThreadSanitizer.
constexpr size_t FIBERS_MAX = 512;
// Without the switch's own synchronization, which would hide races.
constexpr unsigned NO_SYNC = 1;

struct Fiber : Thread {
    unsigned number;
    State state;
    const char *site;
    uint64_t value;
    unsigned source;
    uint32_t words[WORDS], given[WORDS];
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
// What the sanitizer is told to order by: the start of a launch, its end, and the barriers of each
// block. Shuffles order nothing.
char start_order, end_order;
void *barrier_order;

Fiber &self() { return *static_cast<Fiber *>(thread); }

[[noreturn]] void give_up(const char *word, const char *what, const char *site) {
    std::printf("%s: %s at %s, block (%u, %u, %u)\n", word, what, site, block.x, block.y, block.z);
    std::fflush(stdout);
    _exit(3);
}

[[noreturn]] void diverge(const char *what, const char *site) { give_up("divergence", what, site); }

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
    fiber.copy_count = fiber.groups = 0;
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
            if (fibers[i].site != fibers[0].site) diverge("threads wait at different barriers", fibers[i].site);
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
            if (fiber.site != fibers[first].site || fiber.source >= lanes) diverge("a shuffle without all of its lanes", fiber.site);
            fiber.value = values[fiber.source];
            for (unsigned word = 0; word < WORDS; word++) fiber.given[word] = fiber.words[word];
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
            if (fibers[i].state != ENDED) diverge("not all threads come", fibers[i].site);
    }
}

}  // namespace

void barrier(const char *site) {
    Fiber &own = self();
    own.state = AT_BARRIER, own.site = site;
    __tsan_release(barrier_order);
    to_main();
    __tsan_acquire(barrier_order);
}

uint64_t exchange(uint64_t value, unsigned source, const char *site) {
    Fiber &own = self();
    own.state = AT_SHUFFLE, own.site = site, own.value = value, own.source = source;
    to_main();
    return own.value;
}

unsigned lane() { return self().number % WARP; }

void give(const uint32_t *words, unsigned count, const char *site) {
    for (unsigned i = 0; i < count; i++) self().words[i] = words[i];
    exchange(0, lane(), site);
}

uint32_t word(unsigned lane, unsigned index) {
    return fibers[self().number / WARP * WARP + lane].given[index];
}

void refuse(const char *what, const char *site) { give_up("refused", what, site); }

namespace {

// Fibers of the sanitizer with their stacks, of every launch: one after the other, launches may share
// them. To make one takes the sanitizer longer than a small block.
class Pool {
    static constexpr size_t MOST = std::max(FIBERS_MAX, (size_t)2 * THREADS_MAX);
    char *stacks = nullptr;
    std::vector<void *> sanitizers;

  public:
    // Sets of so many threads, of which each block has one; at least two, and no more than blocks.
    static size_t sets(size_t threads, size_t blocks) {
        return std::min(blocks, std::max<size_t>(FIBERS_MAX / threads, 2));
    }

    // Gives the block's threads the fibers of a set.
    void take(size_t set, size_t threads) {
        if (!stacks) {
            void *made = mmap(nullptr, STACK * MOST, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (made == MAP_FAILED) std::abort();
            stacks = (char *)made;
        }
        while (sanitizers.size() < (set + 1) * threads) sanitizers.push_back(__tsan_create_fiber(0));
        for (size_t i = 0; i < threads; i++) {
            fibers[i].sanitizer = sanitizers[set * threads + i];
            fibers[i].stack = stacks + (set * threads + i) * STACK;
        }
    }
};
Pool pool;

// Lets the sanitizer forget who touched these bytes.
void forget(void *from, void *to) {
    uintptr_t start = ((uintptr_t)from + 7) / 8 * 8, end = (uintptr_t)to / 8 * 8;
    if (start < end) __tsan_java_alloc(start, end - start);
}

}  // namespace

void launch(Index grid, Index threads, uint64_t seed, const std::function<void()> &body, size_t shared) {
    std::mt19937_64 chance(seed);
    size_t count = (size_t)threads.x * threads.y * threads.z;
    block_extent = threads, grid_extent = grid, body_of_all = &body;
    fibers.resize(count);
    main_sanitizer = __tsan_get_current_fiber();
    std::vector<size_t> blocks((size_t)grid.x * grid.y * grid.z);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = i;
    std::shuffle(blocks.begin(), blocks.end(), chance);
    std::vector<uint64_t> barriers(blocks.size());
    auto *own_memory = (unsigned char *)std::malloc(shared);
    dynamic_shared = own_memory;
    size_t sets = Pool::sets(count, blocks.size());
    __tsan_release(&start_order);
    for (size_t i = 0; i < blocks.size(); i++) {
        size_t at = blocks[i];
        block = {(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y), (unsigned)(at / grid.x / grid.y)};
        barrier_order = &barriers[at];
        // NaN in every type.
        for (size_t i = 0; i < shared; i++) ((volatile unsigned char *)own_memory)[i] = 0xff;
        forget(own_memory, own_memory + shared);
        forget(__bss_start, _end);
        forget(&fibers.front(), &fibers.back() + 1);
        pool.take(i % sets, count);
        run_block(count, chance);
    }
    __tsan_acquire(&end_order);
    std::free(own_memory);
}

}  // namespace host
