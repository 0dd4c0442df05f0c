/* As much of NVIDIA's driver (libcuda.so.1) as pycuda and our engine call, on a machine without one: device memory is
 * the host's, a stream does its work at once, kernels are their own source compiled for the host (HOST_KERNELS, a library
 * made by tests/host_device.py). So what is called, with what, in which thread, is real; what CUDA does of it is not.
 * Whatever needs a context fails with 201 in a thread that has none. HOST_DRIVER_INTEGRATED=1 makes it a Jetson.
 *
 *     gcc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o libcuda.so.1 host_driver.c rest.c -ldl
 *
 * with rest.c: every other function that pycuda links to, returning 100 (see host_driver.py).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, ILLEGAL_ADDRESS = 700 };

static __thread int depth;
static int retained, lost;

#define NEEDS_CONTEXT                                                                                                  \
    if (!depth)                                                                                                        \
        return INVALID_CONTEXT;                                                                                        \
    if (lost)                                                                                                          \
    return ILLEGAL_ADDRESS

struct Event {
    struct timespec at;
    int is_recorded;
};

int host_driver_retained(void) { return retained; }
int host_driver_depth(void) { return depth; }
void host_driver_lose(void) { lost = 1; }

int cuGetErrorString(int error, const char **text)
{
    *text = error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
            : error == INVALID_CONTEXT ? "invalid device context"
            : error == OUT_OF_MEMORY ? "out of memory" : "host driver error";
    return OK;
}
int cuGetErrorName(int error, const char **text) { return cuGetErrorString(error, text); }
int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *version) { *version = 13000; return OK; }
int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int index) { *device = index; return index ? INVALID_DEVICE : OK; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Host"); return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    const char *integrated = getenv("HOST_DRIVER_INTEGRATED");
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated && *integrated == '1' : 0;
    return OK;
}

int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 8; *minor = 7; return OK; }

int cuDevicePrimaryCtxRetain(void **context, int device) { retained++; *context = (void *)16; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { retained--; return OK; }
int cuDevicePrimaryCtxRelease(int device) { return cuDevicePrimaryCtxRelease_v2(device); }
int cuDevicePrimaryCtxReset_v2(int device) { lost = 0; return OK; }
int cuDevicePrimaryCtxReset(int device) { return cuDevicePrimaryCtxReset_v2(device); }
int cuCtxPushCurrent_v2(void *context) { depth++; return OK; }
int cuCtxPopCurrent_v2(void **context)
{
    if (!depth)
        return INVALID_CONTEXT;
    depth--;
    *context = (void *)16;
    return OK;
}
int cuCtxSynchronize(void) { NEEDS_CONTEXT; return OK; }
int cuCtxGetDevice(int *device) { NEEDS_CONTEXT; *device = 0; return OK; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { NEEDS_CONTEXT; *free = 1 << 30; *total = 1u << 31; return OK; }

int cuStreamCreate(void **stream, unsigned flags) { NEEDS_CONTEXT; *stream = malloc(8); return OK; }
int cuStreamDestroy_v2(void *stream) { NEEDS_CONTEXT; free(stream); return OK; }
int cuStreamSynchronize(void *stream) { NEEDS_CONTEXT; return OK; }
int cuStreamQuery(void *stream) { NEEDS_CONTEXT; return OK; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { NEEDS_CONTEXT; return OK; }

int cuEventCreate(struct Event **event, unsigned flags) { NEEDS_CONTEXT; *event = calloc(1, sizeof **event); return OK; }
int cuEventDestroy_v2(struct Event *event) { NEEDS_CONTEXT; free(event); return OK; }
int cuEventRecord(struct Event *event, void *stream)
{
    NEEDS_CONTEXT;
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    event->is_recorded = 1;
    return OK;
}
int cuEventSynchronize(struct Event *event) { NEEDS_CONTEXT; return OK; }
int cuEventQuery(struct Event *event) { NEEDS_CONTEXT; return OK; }
int cuEventElapsedTime(float *ms, struct Event *from, struct Event *to)
{
    NEEDS_CONTEXT;
    if (!from->is_recorded || !to->is_recorded)
        return INVALID_VALUE;
    *ms = (to->at.tv_sec - from->at.tv_sec) * 1e3 + (to->at.tv_nsec - from->at.tv_nsec) / 1e6;
    return OK;
}
int cuEventElapsedTime_v2(float *ms, struct Event *from, struct Event *to) { return cuEventElapsedTime(ms, from, to); }

int cuMemAlloc_v2(uint64_t *address, size_t size)
{
    NEEDS_CONTEXT;
    *address = (uint64_t)aligned_alloc(256, (size + 255) / 256 * 256);
    memset((void *)*address, 0xff, size);
    return OK;
}
int cuMemFree_v2(uint64_t address) { NEEDS_CONTEXT; free((void *)address); return OK; }
int cuMemHostAlloc(void **memory, size_t size, unsigned flags)
{
    NEEDS_CONTEXT;
    *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    return OK;
}
int cuMemAllocHost_v2(void **memory, size_t size) { return cuMemHostAlloc(memory, size, 0); }
int cuMemFreeHost(void *memory) { NEEDS_CONTEXT; free(memory); return OK; }
int cuMemHostGetDevicePointer_v2(uint64_t *address, void *memory, unsigned flags)
{
    NEEDS_CONTEXT;
    *address = (uint64_t)memory;
    return OK;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream)
{
    NEEDS_CONTEXT;
    memcpy((void *)to, from, size);
    return OK;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream)
{
    NEEDS_CONTEXT;
    memcpy(to, (void *)from, size);
    return OK;
}

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { return cuMemcpyHtoDAsync_v2(to, from, size, 0); }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { return cuMemcpyDtoHAsync_v2(to, from, size, 0); }

int cuModuleLoadDataEx(void **module, const void *image, unsigned options, void *names, void *values)
{
    NEEDS_CONTEXT;
    if (strncmp(image, "ptx", 3) && strncmp(image, "//", 2))
        return INVALID_VALUE;
    *module = malloc(8);
    return OK;
}
int cuModuleLoadData(void **module, const void *image) { return cuModuleLoadDataEx(module, image, 0, 0, 0); }
int cuModuleUnload(void *module) { NEEDS_CONTEXT; free(module); return OK; }
int cuModuleGetFunction(void **function, void *module, const char *name)
{
    NEEDS_CONTEXT;
    char symbol[128], libraries[4096], *rest = libraries;
    snprintf(symbol, sizeof symbol, "host_%s", name);
    snprintf(libraries, sizeof libraries, "%s", getenv("HOST_KERNELS"));
    *function = 0;
    for (char *path; !*function && (path = strsep(&rest, ":"));) {
        void *library = dlopen(path, RTLD_NOW);
        *function = library ? dlsym(library, symbol) : 0;
    }
    return *function ? OK : INVALID_VALUE;
}
int cuFuncSetBlockShape(void *function, int x, int y, int z) { return OK; } /* pycuda asks for it, and for no effect */
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 0; return OK; }
int cuLaunchKernel(
    void (*kernel)(const void *, const unsigned *, const unsigned *), unsigned grid_x, unsigned grid_y, unsigned grid_z,
    unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared, void *stream, void **parameters, void **extra)
{
    NEEDS_CONTEXT;
    const unsigned grid[] = {grid_x, grid_y}, block[] = {block_x, block_y, block_z};
    const void *arguments = parameters ? parameters[0] : 0;
    for (int i = 0; extra && extra[i]; i += 2)
        if (extra[i] == (void *)1) /* CU_LAUNCH_PARAM_BUFFER_POINTER */
            arguments = extra[i + 1];
    kernel(arguments, grid, block);
    return OK;
}
