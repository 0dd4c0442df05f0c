// As much of CUDA C as the kernels use, for g++: a grid runs block after block, a block's threads one after another.
//
// A kernel with barriers runs its threads as coroutines that change places at each __syncthreads, in turns forward and
// backward, so that a missing barrier shows. The build has -ffp-contract=off: products are rounded before they are added.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __shared__ static

struct HostIndex {
    unsigned x, y, z;
};
static HostIndex threadIdx, blockIdx, blockDim, gridDim;

static inline float __fmul_rn(float one, float other) { return one * other; }
static inline float __fadd_rn(float one, float other) { return one + other; }
static inline float __fsub_rn(float one, float other) { return one - other; }
static inline float __fdiv_rn(float one, float other) { return one / other; }
static inline int __popc(unsigned word) { return __builtin_popcount(word); }
static inline unsigned __float_as_uint(float value)
{
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static inline int __float2int_rn(float value) // saturates, as the device's does
{
    if (std::isnan(value))
        return 0;
    if (value >= 2147483648.0f)
        return INT32_MAX;
    return value <= -2147483648.0f ? INT32_MIN : (int)std::nearbyint(value);
}
static inline unsigned atomicAdd(unsigned *place, unsigned value)
{
    const unsigned before = *place;
    *place += value;
    return before;
}
static inline unsigned atomicOr(unsigned *place, unsigned value)
{
    const unsigned before = *place;
    *place |= value;
    return before;
}

static inline unsigned short host_half_of(float value) // IEEE 754 binary16, ties to even
{
    const unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u) // rounds to 65,536 or more
        return sign | 0x7c00u;
    const float size = __uint_as_float(magnitude);
    if (magnitude < 0x38800000u) // subnormal: whole steps of 2^-24
        return sign | (unsigned short)std::nearbyint(size * 16777216.0f);
    const unsigned rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return sign | (unsigned short)((rounded - 0x38000000u) >> 13);
}
static inline float host_float_of(unsigned short bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                       : exponent     ? std::ldexp(1024.0f + fraction, exponent - 25)
                                      : std::ldexp((float)fraction, -24);
    return bits & 0x8000 ? -size : size;
}

struct HostThread {
    ucontext_t context;
    std::vector<char> stack;
    bool is_done;
};
static std::vector<HostThread> host_threads;
static ucontext_t host_scheduler;
static const std::function<void()> *host_kernel;
static int host_current;

static inline void __syncthreads() { swapcontext(&host_threads[host_current].context, &host_scheduler); }

static void host_thread_main()
{
    (*host_kernel)();
    host_threads[host_current].is_done = true;
}

static inline HostIndex index_in_block(int thread)
{
    return {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

static void run_block_with_barriers(const std::function<void()> &kernel)
{
    const int count = blockDim.x * blockDim.y * blockDim.z;
    host_kernel = &kernel;
    host_threads.resize(count);
    for (HostThread &thread : host_threads) {
        thread.stack.resize(64 * 1024);
        thread.is_done = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = &host_scheduler;
        makecontext(&thread.context, host_thread_main, 0);
    }
    for (bool is_forward = true, is_running = true; is_running; is_forward = !is_forward) {
        is_running = false;
        for (int turn = 0; turn < count; ++turn) {
            host_current = is_forward ? turn : count - 1 - turn;
            if (host_threads[host_current].is_done)
                continue;
            threadIdx = index_in_block(host_current);
            swapcontext(&host_scheduler, &host_threads[host_current].context);
            is_running = true;
        }
    }
}

extern "C" bool host_is_backward;
bool host_is_backward = false; // a test turns it on: no result may depend on the order

static void run_grid(const unsigned *grid, const unsigned *block, bool has_barriers, const std::function<void()> &kernel)
{
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block[0], block[1], block[2]};
    const int blocks = grid[0] * grid[1], threads = block[0] * block[1] * block[2];
    for (int turn = 0; turn < blocks; ++turn) {
        const unsigned index = host_is_backward ? blocks - 1 - turn : turn;
        blockIdx = {index % gridDim.x, index / gridDim.x, 0};
        if (has_barriers) {
            run_block_with_barriers(kernel);
            continue;
        }
        for (int thread = 0; thread < threads; ++thread) {
            threadIdx = index_in_block(host_is_backward ? threads - 1 - thread : thread);
            kernel();
        }
    }
}

// The entry that a test calls for a kernel: its struct of arguments, grid (2) and block (3).
#define HOST_KERNEL(name, Arguments, has_barriers)                                                                     \
    extern "C" void host_##name(const Arguments *arguments, const unsigned *grid, const unsigned *block)               \
    {                                                                                                                  \
        run_grid(grid, block, has_barriers, [arguments] { name(*arguments); });                                        \
    }
