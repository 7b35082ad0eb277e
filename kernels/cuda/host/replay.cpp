// Runs recorded launches again, with the kernels compiled for this machine, and compares what they leave
// with what NVIDIA's compiler's code left. Only the bytes that a launch touched may be touched.
//
//     replay FOLDER [--seed N] [--most N] [ENTRY ...]     a line an entry; status 0 if all hold
//
// FOLDER has files as tests/vgpu/src/driver/recording.rs writes them. `--most` launches of an entry run,
// chosen by the seed.
#include "replay.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
// Its macros do nothing under another sanitizer, whichever compiler it is.
#include <sanitizer/asan_interface.h>
#include <string>
#include <sys/mman.h>

namespace host {
namespace {

// Entries whose sources read an element that no one wants, the last of a running sum without its own. The
// GPU's code leaves that out.
constexpr const char *READS_MORE = "cumulative_";

std::map<std::string, Call> &entries() {
    static std::map<std::string, Call> known;
    return known;
}

// Bytes that a launch touched.
struct Run {
    u64 address;
    bool written;
    std::vector<unsigned char> before, after;
};

struct Recorded {
    Index grid, threads;
    size_t shared;
    std::vector<unsigned char> params;
    // Where allocations of the device begin, and their lengths.
    std::vector<std::pair<u64, u64>> allocations;
    std::vector<Run> runs;
};

// A file, from its start.
class Reader {
    FILE *file;

  public:
    explicit Reader(const std::string &path) : file(std::fopen(path.c_str(), "rb")) {}
    ~Reader() { if (file) std::fclose(file); }
    bool opened() const { return file; }
    bool ended() {
        int next = std::getc(file);
        if (next != EOF) std::ungetc(next, file);
        return next == EOF;
    }
    std::vector<unsigned char> bytes(size_t count) {
        std::vector<unsigned char> read(count);
        if (std::fread(read.data(), 1, count, file) != count) refuse("a recording that ends early", "its file");
        return read;
    }
    u64 number() {
        u64 read;
        std::memcpy(&read, bytes(sizeof read).data(), sizeof read);
        return read;
    }
    Index index() {
        u32 x = (u32)number(), y = (u32)number(), z = (u32)number();
        return {x, y, z};
    }
    Recorded launch() {
        Recorded read = {index(), index(), number(), bytes(number()), {}, {}};
        read.allocations.resize(number());
        for (auto &[base, length] : read.allocations) base = number(), length = number();
        read.runs.resize(number());
        for (Run &run : read.runs) {
            run.address = number(), run.written = number();
            size_t count = number();
            run.before = bytes(count);
            if (run.written) run.after = bytes(count);
        }
        return read;
    }
};

// The host's memory for an allocation of the device, as aligned as that is.
class Part {
    u64 size;
    unsigned char *mapped;

  public:
    u64 base, length;
    Part(u64 base, u64 length) : size((length + 8191) / 4096 * 4096), base(base), length(length) {
        void *made = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (made == MAP_FAILED) refuse("memory that the host does not have", "a recording");
        mapped = (unsigned char *)made;
    }
    Part(const Part &) = delete;
    ~Part() {
        ASAN_UNPOISON_MEMORY_REGION(mapped, size);
        munmap(mapped, size);
    }
    void forbid() { ASAN_POISON_MEMORY_REGION(mapped, size); }
    unsigned char *at(u64 address) const { return mapped + (address - base); }
};

// The memory of a launch.
class Memory {
    std::map<u64, Part> parts;
    const Recorded &recorded;

    // What holds an address, or ends there.
    const Part *part(u64 address) const {
        auto behind = parts.upper_bound(address);
        if (behind == parts.begin()) return nullptr;
        const Part &own = std::prev(behind)->second;
        return address <= own.base + own.length ? &own : nullptr;
    }

  public:
    // With `only_touched` nothing else may be touched again.
    Memory(const Recorded &recorded, bool only_touched) : recorded(recorded) {
        for (auto [base, length] : recorded.allocations) {
            auto made = parts.try_emplace(base, base, length);
            if (only_touched) made.first->second.forbid();
        }
        for (const Run &run : recorded.runs) {
            ASAN_UNPOISON_MEMORY_REGION(place(run), run.before.size());
            std::memcpy(place(run), run.before.data(), run.before.size());
        }
    }
    unsigned char *place(const Run &run) const {
        const Part *own = part(run.address);
        if (!own) refuse("bytes of no allocation", "a recording");
        return own->at(run.address);
    }
    // The parameters with this memory's addresses.
    std::vector<unsigned char> params() const {
        std::vector<unsigned char> own = recorded.params;
        for (size_t i = 0; i + 8 <= own.size(); i += 8) {
            u64 word;
            std::memcpy(&word, own.data() + i, 8);
            const Part *there = part(word);
            if (!there) continue;
            word = (u64)there->at(word);
            std::memcpy(own.data() + i, &word, 8);
        }
        return own;
    }
};

f64 half(u16 bits) { return to_f32(f16{bits}); }
f64 brain(u16 bits) { return to_f32(bf16{bits}); }

bool near(f64 found, f64 want, f64 tolerance) {
    return found == want || (std::isnan(found) && std::isnan(want)) ||
           std::fabs(found - want) <= tolerance * std::max(1.0, std::fabs(want));
}

// Whether floats of 32 bits are near; small integers, which would be denormal, are none.
bool near_floats(u32 found, u32 want) {
    auto is_float = [](u32 bits) { return bits << 1 == 0 || (bits >> 23 & 255) > 16; };
    return is_float(found) && is_float(want) && near(__uint_as_float(found), __uint_as_float(want), 2e-4);
}

// Whether words are the same, or numbers of one of the types that kernels round to.
bool same(u32 found, u32 want) {
    if (found == want || near_floats(found, want)) return true;
    auto halves = [&](f64 (*number)(u16), f64 tolerance) {
        return near(number((u16)found), number((u16)want), tolerance) &&
               near(number((u16)(found >> 16)), number((u16)(want >> 16)), tolerance);
    };
    return halves(half, 4.0 / 1024) || halves(brain, 4.0 / 128);
}

// Whether the entry moves bits or computes integers, which leaves no tolerance.
bool is_exact(const std::string &entry) {
    std::string form = entry.substr(entry.rfind('_') + 1);
    return form.size() > 1 && (form[0] == 'b' || form[0] == 'i' || form[0] == 'u') && form.find_first_not_of("0123456789", 1) == std::string::npos;
}

bool compared(const std::string &entry, const Recorded &launch, const Memory &memory) {
    for (const Run &run : launch.runs) {
        if (!run.written) continue;
        const unsigned char *found = memory.place(run);
        for (size_t i = 0; i < run.after.size();) {
            size_t count = std::min<size_t>(4 - (run.address + i) % 4, run.after.size() - i);
            u32 own = 0, want = 0;
            std::memcpy(&own, found + i, count), std::memcpy(&want, run.after.data() + i, count);
            if (is_exact(entry) ? own != want : !same(own, want)) {
                std::printf("%s: byte %zu of %zu is of %#x, the GPU's code left %#x\n", entry.c_str(), i, run.after.size(), own, want);
                return false;
            }
            i += count;
        }
    }
    return true;
}

// Runs launches of an entry; how many, or none if one does not hold.
int replayed(const std::string &entry, Call call, const std::string &path, size_t most, std::mt19937_64 &chance) {
    Reader reader(path);
    if (!reader.opened()) return -1;
    std::vector<Recorded> launches;
    while (!reader.ended()) launches.push_back(reader.launch());
    std::shuffle(launches.begin(), launches.end(), chance);
    launches.resize(std::min(launches.size(), most));
    for (const Recorded &launch : launches) {
        Memory memory(launch, !entry.starts_with(READS_MORE));
        call(launch.grid, launch.threads, chance(), memory.params(), launch.shared);
        if (!compared(entry, launch, memory)) return 0;
    }
    return (int)launches.size();
}

}  // namespace

bool know(std::initializer_list<Entry> own) {
    for (const Entry &entry : own) entries().emplace(entry.name, entry.call);
    return true;
}

}  // namespace host

int main(int count, char **arguments) {
    if (count < 2) return std::fprintf(stderr, "expected a folder of recorded launches\n"), 2;
    std::string folder = arguments[1];
    u64 seed = 1, most = ~0ull;
    std::vector<std::string> chosen;
    for (int i = 2; i < count; i++) {
        std::string own = arguments[i];
        if (own == "--seed" && i + 1 < count) seed = std::strtoull(arguments[++i], nullptr, 10);
        else if (own == "--most" && i + 1 < count) most = std::strtoull(arguments[++i], nullptr, 10);
        else chosen.push_back(own);
    }
    std::mt19937_64 chance(seed);
    bool all_hold = true;
    for (auto &[name, call] : host::entries()) {
        if (!chosen.empty() && std::find(chosen.begin(), chosen.end(), name) == chosen.end()) continue;
        int launches = host::replayed(name, call, folder + "/" + name + ".launches", most, chance);
        if (launches < 0) std::printf("entry %s: no launch was recorded\n", name.c_str());
        else std::printf("case %s: %s (launches: %d)\n", name.c_str(), launches ? "ok" : "FAILED", launches);
        std::fflush(stdout);
        all_hold &= launches != 0;
    }
    return all_hold ? 0 : 1;
}
