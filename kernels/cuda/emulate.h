// Runs CUDA C on one core of a CPU: one fiber per CUDA thread, blocks one after another.
//
// What it models: the built-in variables, block and warp barriers, shuffles and votes, atomics, dynamic shared memory (filled with NaN patterns before every block),
// and any order of threads and blocks. What it cannot model: time, weak memory ordering, races between the lanes of one instruction, inline PTX.
// Only C headers are read, so that a kernel compiles in about a tenth of a second.
#define SCATTERC_EMULATE 1
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __syncthreads() emulate::barrier(__LINE__)
#define __syncwarp(...) emulate::warp_barrier(~0u, __LINE__)

struct emulate_index {
    unsigned x, y, z;
};
static emulate_index threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;
// The kernel's dynamic shared memory; it ends where a page that cannot be touched begins.
static unsigned char* dynamic_shared;

namespace emulate {

enum State { ready, at_barrier, at_warp_barrier, finished };

const size_t stack_bytes = 128 << 10, page = 4096, guard_bytes = 64 << 20;
const unsigned most_threads = 1024, most_shared = 232448;
// What stands at the far end of every stack as long as it is deep enough.
const uint64_t stack_end = 0x5ca77e2c5ca77e2cull;

struct Fiber {
#if defined(__x86_64__)
    void* pointer;
#else
    ucontext_t context;
#endif
    State state;
    unsigned generation;
    int line;
};

struct Warp {
    unsigned arrived, generation;
    unsigned long long slots[32];
};

static Fiber fibers[most_threads];
static Warp warps[most_threads / 32];
static unsigned block_arrived, block_generation, block_line;
static unsigned current, threads;
static unsigned long long progress;
static char* stacks;
static char* shared_end;
static void (*kernel)(void*, const void* const*);
static void* kernel_arena;
static const void* const* kernel_tables;
static char* message;
static size_t message_bytes;
static sigjmp_buf leave;
static __thread int guarded;

#if defined(__x86_64__)
static void* scheduler;
extern "C" __attribute__((visibility("hidden"))) void scatterc_emulate_switch(void** keep, void* next);
asm(".text\n"
    ".hidden scatterc_emulate_switch\n"
    ".globl scatterc_emulate_switch\n"
    ".type scatterc_emulate_switch, @function\n"
    "scatterc_emulate_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size scatterc_emulate_switch, . - scatterc_emulate_switch\n");
static inline void suspend() { scatterc_emulate_switch(&fibers[current].pointer, scheduler); }
static inline void resume(unsigned thread) { scatterc_emulate_switch(&scheduler, fibers[thread].pointer); }
#else
static ucontext_t scheduler;
static inline void suspend() { swapcontext(&fibers[current].context, &scheduler); }
static inline void resume(unsigned thread) { swapcontext(&scheduler, &fibers[thread].context); }
#endif

static void body() {
    kernel(kernel_arena, kernel_tables);
    fibers[current].state = finished;
    progress++;
    suspend();
}

static void prepare(unsigned thread) {
    Fiber& fiber = fibers[thread];
    fiber.state = ready;
    char* low = stacks + thread * stack_bytes;
    *reinterpret_cast<volatile uint64_t*>(low) = stack_end;
#if defined(__x86_64__)
    // A first switch to the fiber pops six registers and returns to `body`, at a stack pointer as after a call.
    void** top = reinterpret_cast<void**>(low + stack_bytes);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(&body);
    fiber.pointer = top - 8;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = low + sizeof(uint64_t) * 2;
    fiber.context.uc_stack.ss_size = stack_bytes - sizeof(uint64_t) * 2;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
#endif
}

static inline void wait(State state, const unsigned& generation, int line) {
    Fiber& fiber = fibers[current];
    fiber.state = state;
    fiber.generation = generation;
    fiber.line = line;
    progress++;
    while (generation == fiber.generation) suspend();
    fibers[current].state = ready;
}

static void fail_at_lines(unsigned thread, int line);

static void barrier(int line) {
    if (block_arrived == 0) block_line = line;
    if (block_line != static_cast<unsigned>(line)) fail_at_lines(current, line);
    if (++block_arrived == threads) {
        block_arrived = 0;
        block_generation++;
        progress++;
        return;
    }
    wait(at_barrier, block_generation, line);
}

static void warp_barrier(unsigned mask, int line) {
    const unsigned index = current / 32;
    const unsigned lanes = threads - 32 * index < 32 ? (1u << (threads - 32 * index)) - 1 : ~0u;
    Warp& warp = warps[index];
    if (++warp.arrived == static_cast<unsigned>(__builtin_popcount(mask & lanes))) {
        warp.arrived = 0;
        warp.generation++;
        progress++;
        return;
    }
    wait(at_warp_barrier, warp.generation, line);
}

// Every lane gives a value and reads that of `source`.
template <class T>
static T exchange(unsigned mask, T value, unsigned source, int line) {
    Warp& warp = warps[current / 32];
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    warp.slots[current % 32] = bits;
    warp_barrier(mask, line);
    bits = warp.slots[source % 32];
    warp_barrier(mask, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static unsigned vote(unsigned mask, bool value, int line) {
    Warp& warp = warps[current / 32];
    warp.slots[current % 32] = value;
    warp_barrier(mask, line);
    unsigned all = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        if ((mask >> lane & 1) && 32 * (current / 32) + lane < threads && warp.slots[lane]) all |= 1u << lane;
    warp_barrier(mask, line);
    return all;
}

static void fail_at_lines(unsigned thread, int line) {
    snprintf(message, message_bytes, "block %u: thread %u is at the barrier of line %d while others wait at that of line %u", blockIdx.x, thread, line, block_line);
    siglongjmp(leave, 1);
}

static void on_fault(int number, siginfo_t* info, void*) {
    if (!guarded) {
        signal(number, SIG_DFL);
        return;
    }
    const char* at = static_cast<const char*>(info->si_addr);
    const char* low = stacks;
    const char* what = "memory outside the arena, the tables and shared memory";
    if (at >= low - page && at < low) what = "the end of its stack";
    if (at >= shared_end && at < shared_end + page) what = "the end of shared memory";
    snprintf(message, message_bytes, "block %u, thread %u touches %s, %lld bytes from the start of the arena", blockIdx.x, current, what,
             static_cast<long long>(at - static_cast<const char*>(kernel_arena)));
    siglongjmp(leave, 1);
}

static uint64_t random_state;
static unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<unsigned>((random_state >> 33) % n);
}

// The order of n things: 0 forward, 1 reversed, 2 random.
static void arrange(unsigned* order, unsigned n, int kind) {
    for (unsigned i = 0; i < n; i++) order[i] = kind == 1 ? n - 1 - i : i;
    if (kind == 2)
        for (unsigned i = n; i > 1; i--) {
            unsigned other = random_below(i), held = order[i - 1];
            order[i - 1] = order[other];
            order[other] = held;
        }
}

static bool run_block(unsigned block, unsigned shared, int kind) {
    blockIdx.x = block;
    dynamic_shared = reinterpret_cast<unsigned char*>(shared_end - shared);
    memset(dynamic_shared, 0xff, shared);
    memset(warps, 0, sizeof warps);
    block_arrived = block_generation = 0;
    for (unsigned thread = 0; thread < threads; thread++) prepare(thread);
    unsigned order[most_threads];
    unsigned left = threads;
    arrange(order, threads, kind);
    while (left > 0) {
        const unsigned long long before = progress;
        if (kind == 2) arrange(order, threads, kind);
        for (unsigned i = 0; i < threads; i++) {
            const unsigned thread = order[i];
            Fiber& fiber = fibers[thread];
            if (fiber.state == finished) continue;
            if (fiber.state == at_barrier && fiber.generation == block_generation) continue;
            if (fiber.state == at_warp_barrier && fiber.generation == warps[thread / 32].generation) continue;
            current = thread;
            threadIdx.x = thread;
            resume(thread);
            if (*reinterpret_cast<volatile uint64_t*>(stacks + thread * stack_bytes) != stack_end) {
                snprintf(message, message_bytes, "block %u, thread %u needs more than %u bytes of stack", block, thread, static_cast<unsigned>(stack_bytes));
                return false;
            }
            if (fiber.state == finished) left--;
        }
        if (left > 0 && progress == before) {
            unsigned thread = 0;
            while (fibers[thread].state == finished) thread++;
            snprintf(message, message_bytes, "block %u: thread %u waits forever at the %s of line %d; %u of %u threads have ended", block, thread,
                     fibers[thread].state == at_barrier ? "barrier" : "warp operation", fibers[thread].line, threads - left, threads);
            return false;
        }
    }
    return true;
}

// A step through all of n blocks in a shuffled order.
static unsigned stride_without_common_factor(unsigned n, uint64_t seed) {
    for (unsigned step = 1 + seed % 997;; step++) {
        unsigned a = step, b = n;
        while (b) {
            const unsigned rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return step;
    }
}

// Stacks, shared memory and a page at either end that cannot be touched: few mappings, as a process may have many modules.
const size_t shared_pages = (most_shared + page - 1) / page * page;
const size_t map_bytes = page + most_threads * stack_bytes + shared_pages + page;

static bool map_once() {
    if (stacks) return true;
    void* at = mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return false;
    char* low = static_cast<char*>(at);
    shared_end = low + map_bytes - page;
    if (mprotect(low, page, PROT_NONE) != 0 || mprotect(shared_end, page, PROT_NONE) != 0) {
        munmap(at, map_bytes);
        return false;
    }
    stacks = low + page;
    return true;
}

__attribute__((destructor)) static void unmap() {
    if (stacks) munmap(stacks - page, map_bytes);
    stacks = nullptr;
}

// A copy of the arena whose end is followed by memory that cannot be touched; what precedes it up to its page carries a pattern.
struct Guarded {
    char* map;
    size_t inner, bytes;
    char* arena;
    struct sigaction before[2];
    bool open(const void* source, size_t size) {
        inner = (size + page - 1) / page * page;
        bytes = size;
        void* at = mmap(nullptr, inner + 2 * guard_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) return false;
        map = static_cast<char*>(at);
        if (mprotect(map + guard_bytes, inner, PROT_READ | PROT_WRITE) != 0) {
            munmap(at, inner + 2 * guard_bytes);
            return false;
        }
        memset(map + guard_bytes, 0xa5, inner - size);
        arena = map + guard_bytes + inner - size;
        memcpy(arena, source, size);
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &before[0]);
        sigaction(SIGBUS, &action, &before[1]);
        guarded = 1;
        return true;
    }
    bool close(void* target) {
        guarded = 0;
        sigaction(SIGSEGV, &before[0], nullptr);
        sigaction(SIGBUS, &before[1], nullptr);
        bool clean = true;
        for (size_t i = 0; i < inner - bytes; i++) clean = clean && static_cast<unsigned char>(map[guard_bytes + i]) == 0xa5;
        memcpy(target, arena, bytes);
        munmap(map, inner + 2 * guard_bytes);
        return clean;
    }
};

}  // namespace emulate

// Launches one kernel: 0, or 1 with a sentence in `text`.
extern "C" __attribute__((visibility("default"))) int scatterc_emulate(void (*kernel)(void*, const void* const*), unsigned grid, unsigned block,
                                                                         unsigned shared, void* arena, size_t arena_bytes, const void* const* tables,
                                                                         int order, uint64_t seed, int guard, char* text, size_t text_bytes) {
    using namespace emulate;
    message = text;
    message_bytes = text_bytes;
    if (block == 0 || block > most_threads || shared > most_shared) {
        snprintf(message, message_bytes, "a block has 1 to %u threads and at most %u bytes of shared memory, found %u and %u", most_threads, most_shared, block, shared);
        return 1;
    }
    static Guarded copy;
    if (!map_once() || (guard && !copy.open(arena, arena_bytes))) {
        snprintf(message, message_bytes, "there is no memory for the stacks of the threads");
        return 1;
    }
    emulate::kernel = kernel;
    kernel_arena = guard ? copy.arena : arena;
    kernel_tables = tables;
    threads = block;
    blockDim = {block, 1, 1};
    gridDim = {grid, 1, 1};
    random_state = seed;
    // Volatile, because the jump back would lose what registers hold.
    volatile bool good = true;
    if (sigsetjmp(leave, 1) == 0) {
        const unsigned step = order == 2 ? stride_without_common_factor(grid, seed) : 1;
        for (unsigned i = 0; good && i < grid; i++) {
            const unsigned forward = static_cast<unsigned>(static_cast<unsigned long long>(i) * step % grid);
            good = run_block(order == 1 ? grid - 1 - i : forward, shared, order);
        }
    } else {
        good = false;
    }
    if (guard && !copy.close(arena) && good) {
        snprintf(message, message_bytes, "the kernel wrote before the start of the arena");
        good = false;
    }
    return good ? 0 : 1;
}

#define __shfl_sync(mask, value, lane) emulate::exchange(mask, value, (lane), __LINE__)
#define __shfl_xor_sync(mask, value, bits) emulate::exchange(mask, value, (threadIdx.x % 32) ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, delta) emulate::exchange(mask, value, threadIdx.x % 32 + (delta) < 32 ? threadIdx.x % 32 + (delta) : threadIdx.x % 32, __LINE__)
#define __shfl_up_sync(mask, value, delta) emulate::exchange(mask, value, threadIdx.x % 32 >= (delta) ? threadIdx.x % 32 - (delta) : threadIdx.x % 32, __LINE__)
#define __ballot_sync(mask, value) emulate::vote(mask, (value), __LINE__)
#define __any_sync(mask, value) (emulate::vote(mask, (value), __LINE__) != 0)
#define __all_sync(mask, value) (emulate::vote(mask, !(value), __LINE__) == 0)

// Fibers run on one thread and yield only at barriers, so plain operations are atomic.
template <class T>
static inline T atomicAdd(T* place, T value) {
    T old = *place;
    *place = old + value;
    return old;
}
template <class T>
static inline T atomicMax(T* place, T value) {
    T old = *place;
    if (value > old) *place = value;
    return old;
}
static inline void __threadfence() {}
template <class T>
static inline T __ldg(const T* place) {
    return *place;
}

// The mathematics that CUDA has without a header.
#define EMULATE_UNARY(name)                    \
    extern "C" double name(double) noexcept;   \
    extern "C" float name##f(float) noexcept;  \
    static inline float name(float x) { return name##f(x); }
#define EMULATE_BINARY(name)                            \
    extern "C" double name(double, double) noexcept;    \
    extern "C" float name##f(float, float) noexcept;    \
    static inline float name(float x, float y) { return name##f(x, y); }
EMULATE_UNARY(sqrt)
EMULATE_UNARY(cbrt)
EMULATE_UNARY(exp)
EMULATE_UNARY(exp2)
EMULATE_UNARY(expm1)
EMULATE_UNARY(log)
EMULATE_UNARY(log2)
EMULATE_UNARY(log10)
EMULATE_UNARY(log1p)
EMULATE_UNARY(sin)
EMULATE_UNARY(cos)
EMULATE_UNARY(tan)
EMULATE_UNARY(asin)
EMULATE_UNARY(acos)
EMULATE_UNARY(atan)
EMULATE_UNARY(sinh)
EMULATE_UNARY(cosh)
EMULATE_UNARY(tanh)
EMULATE_UNARY(erf)
EMULATE_UNARY(fabs)
EMULATE_UNARY(floor)
EMULATE_UNARY(ceil)
EMULATE_UNARY(round)
EMULATE_UNARY(trunc)
EMULATE_UNARY(rint)
EMULATE_BINARY(pow)
EMULATE_BINARY(atan2)
EMULATE_BINARY(fmin)
EMULATE_BINARY(fmax)
EMULATE_BINARY(fmod)
EMULATE_BINARY(hypot)
EMULATE_BINARY(copysign)
#undef EMULATE_UNARY
#undef EMULATE_BINARY
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return 1.0f / sqrt(x); }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline int min(int x, int y) { return x < y ? x : y; }
static inline int max(int x, int y) { return x > y ? x : y; }
static inline long long min(long long x, long long y) { return x < y ? x : y; }
static inline long long max(long long x, long long y) { return x > y ? x : y; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline double __longlong_as_double(long long x) {
    double y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline long long __double_as_longlong(double x) {
    long long y;
    memcpy(&y, &x, sizeof y);
    return y;
}
