// Image -> input tensor in one pass: convert, scale, pad, normalise, and lay out in planes.
//
// One thread makes one pixel of the tensor. The scaling is OpenCV's INTER_LINEAR of 8-bit images, in its fixed point:
// weights of 11 bits, which the host works out once for an image's place (letterbox.py), so that everything up to the
// scaled pixel is whole numbers and the same on every machine. The two roundings of the normalisation are the CPU
// path's too: multiply, then add, never both in one.

struct alignas(16) Tap { // what one column or row of the scaled image is made of; two whole weights of 2048
    int first, second;
    int first_weight, second_weight;
};

struct LetterboxArguments {      // laid out as LETTERBOX_ARGUMENTS of letterbox.py
    const unsigned char *image;  // NV12: the luma plane
    const unsigned char *chroma; // NV12: U and V by turns, a pair for each 2 x 2 pixels
    const Tap *columns;          // (width,)
    const Tap *rows;             // (height,)
    void *tensor;                // one image's
    long long plane_stride;      // of the tensor, in elements
    int row_stride, column_stride;
    int image_pitch, chroma_pitch; // bytes from one row to the next
    int is_nv12;
    int dark, luma, blue_u, green_u, green_v, red_v; // NV12: of sensors/yuv.py, times 2^20
    int is_reversed; // the image is BGR and the network takes RGB, or the other way round; NV12 becomes BGR
    int left, top, width, height;                                  // the scaled image's place in the tensor
    int region_left, region_top, region_width, region_height;      // what is written
    float gain[3], bias[3], pad[3];                                // in the tensor's order; the pad is normalised
    float int8_scale;                                              // what one step of an INT8 tensor stands for
};
static_assert(sizeof(LetterboxArguments) == 168, "LETTERBOX_ARGUMENTS of letterbox.py has this size");

struct Pixel {
    int channels[3];
};

__device__ inline int clamp_to_byte(int value)
{
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

// In OpenCV's fixed point.
__device__ inline Pixel bgr_of_yuv(const LetterboxArguments &a, int luma, int u, int v)
{
    const int kHalf = 1 << 19;
    const int bright = (luma > a.dark ? luma - a.dark : 0) * a.luma;
    u -= 128;
    v -= 128;
    return {{clamp_to_byte((bright + (kHalf + a.blue_u * u)) >> 20),
             clamp_to_byte((bright + (kHalf + a.green_v * v + a.green_u * u)) >> 20),
             clamp_to_byte((bright + (kHalf + a.red_v * v)) >> 20)}};
}

__device__ inline Pixel pixel_at(const LetterboxArguments &a, int x, int y)
{
    const unsigned char *row = a.image + (long long)y * a.image_pitch;
    if (a.is_nv12) {
        const unsigned char *pair = a.chroma + (long long)(y / 2) * a.chroma_pitch + x / 2 * 2;
        return bgr_of_yuv(a, row[x], pair[0], pair[1]);
    }
    return {{row[3 * x], row[3 * x + 1], row[3 * x + 2]}};
}

__device__ inline Pixel scaled_pixel(const LetterboxArguments &a, int x, int y)
{
    const Tap column = a.columns[x], row = a.rows[y];
    const Pixel top_left = pixel_at(a, column.first, row.first), top_right = pixel_at(a, column.second, row.first);
    const Pixel low_left = pixel_at(a, column.first, row.second), low_right = pixel_at(a, column.second, row.second);
    Pixel scaled;
    for (int c = 0; c < 3; ++c) {
        const int top = top_left.channels[c] * column.first_weight + top_right.channels[c] * column.second_weight;
        const int low = low_left.channels[c] * column.first_weight + low_right.channels[c] * column.second_weight;
        // OpenCV drops bits twice on the way, so that 16-bit multiplications do.
        scaled.channels[c] =
            ((row.first_weight * (top >> 4) >> 16) + (row.second_weight * (low >> 4) >> 16) + 2) >> 2;
    }
    return scaled;
}

__device__ inline unsigned short half_of(float value)
{
#ifdef __CUDACC__
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value)); // cuda_fp16.h does not come with NVRTC
    return bits;
#else
    return host_half_of(value);
#endif
}

__device__ inline void store(float *place, float value, float)
{
    *place = value;
}

__device__ inline void store(unsigned short *place, float value, float)
{
    *place = half_of(value);
}

__device__ inline void store(signed char *place, float value, float scale)
{
    const int step = __float2int_rn(__fdiv_rn(value, scale)); // ties to even, as QuantizeLinear
    *place = (signed char)(step < -128 ? -128 : step > 127 ? 127 : step);
}

template <typename Element>
__device__ inline void write_pixel(const LetterboxArguments &a)
{
    const int in_region_x = blockIdx.x * blockDim.x + threadIdx.x;
    const int in_region_y = blockIdx.y * blockDim.y + threadIdx.y;
    if (in_region_x >= a.region_width || in_region_y >= a.region_height)
        return;
    const int x = a.region_left + in_region_x, y = a.region_top + in_region_y;
    const int column = x - a.left, row = y - a.top;
    float values[3] = {a.pad[0], a.pad[1], a.pad[2]};
    if (column >= 0 && column < a.width && row >= 0 && row < a.height) {
        const Pixel pixel = scaled_pixel(a, column, row);
        for (int c = 0; c < 3; ++c) {
            const int level = pixel.channels[a.is_reversed ? 2 - c : c];
            values[c] = __fadd_rn(__fmul_rn((float)level, a.gain[c]), a.bias[c]);
        }
    }
    Element *place = (Element *)a.tensor + (long long)y * a.row_stride + (long long)x * a.column_stride;
    for (int c = 0; c < 3; ++c)
        store(place + c * a.plane_stride, values[c], a.int8_scale);
}

extern "C" __global__ void letterbox_float32(const LetterboxArguments arguments)
{
    write_pixel<float>(arguments);
}

extern "C" __global__ void letterbox_float16(const LetterboxArguments arguments)
{
    write_pixel<unsigned short>(arguments);
}

extern "C" __global__ void letterbox_int8(const LetterboxArguments arguments)
{
    write_pixel<signed char>(arguments);
}
