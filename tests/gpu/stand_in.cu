// A network in one kernel, in place of TensorRT where that cannot be had: what tests/tiny_networks.py computes.
//
// One block an image on purpose: frames of several slots fit beside each other on any card, and are seen to overlap.

struct StandInArguments { // laid out as ARGUMENTS of stand_in_tensorrt.py
    const float *image;   // (images, 3, pixels)
    const float *weight;  // (3, outputs)
    const float *bias;    // (outputs,)
    float *output;        // (images, outputs)
    int pixels;
    int outputs;
    int work; // how often the image is summed for nothing
};

extern "C" __global__ void stand_in_infer(const StandInArguments arguments)
{
    __shared__ float sums[3][256];
    const float *image = arguments.image + blockIdx.x * 3ull * arguments.pixels;
    float *output = arguments.output + blockIdx.x * 1ull * arguments.outputs;
    float kept = 0;
    for (int turn = 0; turn <= arguments.work; turn++) {
        for (int channel = 0; channel < 3; channel++) {
            float sum = 0;
            for (int pixel = threadIdx.x; pixel < arguments.pixels; pixel += blockDim.x)
                sum += image[channel * arguments.pixels + pixel];
            sums[channel][threadIdx.x] = sum;
            kept += sum * turn;
        }
    }
    __syncthreads();
    float means[3];
    for (int channel = 0; channel < 3; channel++) {
        float sum = 0;
        for (unsigned thread = 0; thread < blockDim.x; thread++)
            sum += sums[channel][thread];
        means[channel] = sum / arguments.pixels;
    }
    if (kept == -1.0f) // never; without it the compiler would leave the work out
        means[0] = kept;
    for (int place = threadIdx.x; place < arguments.outputs; place += blockDim.x) {
        float value = arguments.bias[place];
        for (int channel = 0; channel < 3; channel++)
            value += means[channel] * arguments.weight[channel * arguments.outputs + place];
        output[place] = value;
    }
}
