// A detector's raw outputs -> its boxes above the thresholds, best first, on the device: threshold, rank, suppress, keep.
//
// Four kernels after a reset, over one struct. Nothing depends on the order in which threads run: boxes are found in any
// order, and each is then ranked by counting those before it, by score, then cell. Products and sums that decide are
// rounded one by one, as NumPy does, so that the host's decoders decide the same.

struct Candidate { // CANDIDATE of engines/reduction.py
    float left, top, right, bottom;
    float score;
    int class_index;
};

struct Found { // what is copied out; followed by `kept` candidates
    unsigned found; // above their thresholds, before ranking
    unsigned faults; // a bit for each role with a value that decides and is not finite
    unsigned kept;
    unsigned spare;
};

enum Family { kYolox = 0, kYolov8 = 1, kNanodet = 2 };

const int kLevels = 4;
const int kWords = 32; // of 32 candidates each: a warp suppresses 1,024 at most

struct Level { // one stride's grid of cells
    int first, columns, rows, stride;
};

struct CandidatesArguments { // laid out as CANDIDATES_ARGUMENTS of candidates.py
    const void *scores[kLevels];    // NanoDet's, by level; of the others the first is the one output
    const void *distances[kLevels]; // NanoDet's
    const float *limits;            // (classes,), a score has to be above
    unsigned long long *keys;       // (cells,)
    int *classes_of;                // (cells,), valid for those that are found
    float *scores_of;               // (cells,), likewise
    Candidate *ranked;              // (most,)
    unsigned *overlaps;             // (most, kWords): bit j of row i: i suppresses j
    Found *result;
    int family, is_half, cells, classes, bins, levels, most, suppresses;
    Level level[kLevels];
    float lowest; // of all limits
    float nms_iou;
};
static_assert(sizeof(CandidatesArguments) == 224, "CANDIDATES_ARGUMENTS of candidates.py has this size");
static_assert(sizeof(Candidate) == 24 && sizeof(Found) == 16, "as candidates.py reads them");

__device__ inline float float_of_half(unsigned short bits)
{
#ifdef __CUDACC__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits)); // cuda_fp16.h does not come with NVRTC
    return value;
#else
    return host_float_of(bits);
#endif
}

__device__ inline float value_at(const CandidatesArguments &a, const void *tensor, long long index)
{
    return a.is_half ? float_of_half(((const unsigned short *)tensor)[index]) : ((const float *)tensor)[index];
}

__device__ inline bool is_finite(float value)
{
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

__device__ inline float clip(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

__device__ inline int level_of(const CandidatesArguments &a, int cell)
{
    int level = 0;
    while (level + 1 < a.levels && cell >= a.level[level + 1].first)
        ++level;
    return level;
}

// A cell's class scores: where they lie, and how far apart.
struct Scores {
    const void *tensor;
    long long first;
    int step;
};

__device__ inline Scores scores_of_cell(const CandidatesArguments &a, int cell)
{
    if (a.family == kYolox)
        return {a.scores[0], (long long)cell * (5 + a.classes) + 5, 1};
    if (a.family == kYolov8)
        return {a.scores[0], 4ll * a.cells + cell, a.cells};
    const int level = level_of(a, cell);
    return {a.scores[level], (long long)(cell - a.level[level].first) * a.classes, 1};
}

struct Best {
    float score;
    int class_index;
    bool is_finite;
};

__device__ inline Best best_class(const CandidatesArguments &a, int cell)
{
    const Scores scores = scores_of_cell(a, cell);
    Best best = {0, 0, true};
    for (int c = 0; c < a.classes; ++c) {
        const float score = value_at(a, scores.tensor, scores.first + (long long)c * scores.step);
        best.is_finite = best.is_finite && is_finite(score);
        if (c == 0 || score > best.score) { // of equal ones the first
            best.score = score;
            best.class_index = c;
        }
    }
    return best;
}

// Whether all values of a cell's box are finite.
__device__ inline bool is_box_finite(const CandidatesArguments &a, int cell)
{
    if (a.family == kNanodet) {
        const int level = level_of(a, cell);
        const long long first = (long long)(cell - a.level[level].first) * 4 * a.bins;
        for (int i = 0; i < 4 * a.bins; ++i)
            if (!is_finite(value_at(a, a.distances[level], first + i)))
                return false;
        return true;
    }
    for (int i = 0; i < 4; ++i) {
        const long long index = a.family == kYolox ? (long long)cell * (5 + a.classes) + i : (long long)i * a.cells + cell;
        if (!is_finite(value_at(a, a.scores[0], index)))
            return false;
    }
    return true;
}

extern "C" __global__ void candidates_reset(const CandidatesArguments a)
{
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *a.result = Found{0, 0, 0, 0};
}

// A thread a cell: its best class, and whether that is above its threshold.
extern "C" __global__ void candidates_find(const CandidatesArguments a)
{
    const int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= a.cells)
        return;
    const int level = a.family == kNanodet ? level_of(a, cell) : 0;
    unsigned *faults = &a.result->faults;
    float weight = 1;
    if (a.family == kYolox) { // objectness bounds the score: most cells end here
        const float objectness = value_at(a, a.scores[0], (long long)cell * (5 + a.classes) + 4);
        if (!is_finite(objectness))
            atomicOr(faults, 1u);
        if (!(objectness > a.lowest))
            return;
        weight = objectness > 1 ? 1 : objectness;
    }
    const Best best = best_class(a, cell);
    if (!best.is_finite)
        atomicOr(faults, 1u << 2 * level);
    if (a.family != kYolox && !(best.score > a.lowest))
        return;
    const float score = a.family == kYolox ? __fmul_rn(best.score, weight) : best.score;
    const bool is_chosen = score > a.limits[best.class_index];
    // NanoDet's decoder looks at the boxes of what it has chosen, the others' at those of all that might be.
    if ((is_chosen || a.family != kNanodet) && !is_box_finite(a, cell))
        atomicOr(faults, a.family == kNanodet ? 2u << 2 * level : 1u);
    if (!is_chosen)
        return;
    // Thresholds are not negative, so scores are positive, and their bits are in their order. Above 1 all are equal.
    const unsigned long long order = __float_as_uint(score > 1 ? 1 : score);
    const unsigned place = atomicAdd(&a.result->found, 1u);
    a.keys[place] = order << 32 | (0xffffffffu - (unsigned)cell); // the greater key comes first
    a.classes_of[cell] = best.class_index;
    a.scores_of[cell] = score;
}

const float kMaxCoordinate = 100000; // MAX_COORDINATE of the decoders; what overflows on the way is brought to it too

__device__ inline void set_corners(Candidate &box, float centre_x, float centre_y, float width, float height)
{
    const float x = clip(centre_x, -kMaxCoordinate, kMaxCoordinate), y = clip(centre_y, -kMaxCoordinate, kMaxCoordinate);
    const float half_width = clip(width, 0, kMaxCoordinate) / 2, half_height = clip(height, 0, kMaxCoordinate) / 2;
    box.left = clip(__fsub_rn(x, half_width), -kMaxCoordinate, kMaxCoordinate);
    box.top = clip(__fsub_rn(y, half_height), -kMaxCoordinate, kMaxCoordinate);
    box.right = clip(__fadd_rn(x, half_width), -kMaxCoordinate, kMaxCoordinate);
    box.bottom = clip(__fadd_rn(y, half_height), -kMaxCoordinate, kMaxCoordinate);
}

// The mean of a distribution over 0 .. bins - 1, given as logits.
__device__ inline float mean_bin(const CandidatesArguments &a, const void *logits, long long first)
{
    float highest = value_at(a, logits, first);
    for (int i = 1; i < a.bins; ++i) {
        const float logit = value_at(a, logits, first + i);
        highest = logit > highest ? logit : highest;
    }
    float sum = 0, weighted = 0;
    for (int i = 0; i < a.bins; ++i) {
        const float weight = expf(__fsub_rn(value_at(a, logits, first + i), highest));
        sum = __fadd_rn(sum, weight);
        weighted = __fadd_rn(weighted, __fmul_rn(weight, (float)i));
    }
    return __fdiv_rn(weighted, sum);
}

__device__ inline void set_box(const CandidatesArguments &a, int cell, Candidate &box)
{
    const int index = level_of(a, cell);
    const Level level = a.level[index];
    const int in_level = cell - level.first;
    const float column = in_level % level.columns, row = in_level / level.columns, stride = level.stride;
    if (a.family == kYolox) {
        const long long first = (long long)cell * (5 + a.classes);
        float raw[4];
        for (int i = 0; i < 4; ++i)
            raw[i] = value_at(a, a.scores[0], first + i);
        set_corners(box, __fmul_rn(__fadd_rn(raw[0], column), stride), __fmul_rn(__fadd_rn(raw[1], row), stride),
                    __fmul_rn(expf(raw[2]), stride), __fmul_rn(expf(raw[3]), stride));
    } else if (a.family == kYolov8) {
        set_corners(box, value_at(a, a.scores[0], cell), value_at(a, a.scores[0], (long long)a.cells + cell),
                    value_at(a, a.scores[0], 2ll * a.cells + cell), value_at(a, a.scores[0], 3ll * a.cells + cell));
    } else {
        float distances[4];
        for (int side = 0; side < 4; ++side) {
            const long long first = ((long long)in_level * 4 + side) * a.bins;
            distances[side] = __fmul_rn(mean_bin(a, a.distances[index], first), stride);
        }
        const float x = __fsub_rn(__fmul_rn(column + 0.5f, stride), 0.5f);
        const float y = __fsub_rn(__fmul_rn(row + 0.5f, stride), 0.5f);
        box.left = __fsub_rn(x, distances[0]);
        box.top = __fsub_rn(y, distances[1]);
        box.right = __fadd_rn(x, distances[2]);
        box.bottom = __fadd_rn(y, distances[3]);
    }
}

// A thread a found box: how many come before it, and its corners. A sound network finds some hundred.
extern "C" __global__ void candidates_rank(const CandidatesArguments a)
{
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x, found = a.result->found;
    if (index >= found)
        return;
    const unsigned long long key = a.keys[index];
    int rank = 0;
    for (unsigned other = 0; other < found; ++other)
        rank += a.keys[other] > key;
    if (rank >= a.most)
        return;
    const int cell = (int)(0xffffffffu - (unsigned)key);
    Candidate box;
    set_box(a, cell, box);
    box.score = a.scores_of[cell];
    box.class_index = a.classes_of[cell];
    a.ranked[rank] = box;
}

__device__ inline int ranked_count(const CandidatesArguments &a)
{
    const unsigned found = a.result->found;
    return found < (unsigned)a.most ? (int)found : a.most;
}

__device__ inline float area_of(const Candidate &box)
{
    return __fmul_rn(__fsub_rn(box.right, box.left), __fsub_rn(box.bottom, box.top));
}

__device__ inline bool overlap_too_much(const Candidate &one, const Candidate &other, float nms_iou)
{
    const float right = one.right < other.right ? one.right : other.right;
    const float left = one.left > other.left ? one.left : other.left;
    const float bottom = one.bottom < other.bottom ? one.bottom : other.bottom;
    const float top = one.top > other.top ? one.top : other.top;
    const float width = __fsub_rn(right, left), height = __fsub_rn(bottom, top);
    const float overlap = __fmul_rn(width > 0 ? width : 0, height > 0 ? height : 0);
    const float all = __fsub_rn(__fadd_rn(area_of(one), area_of(other)), overlap);
    return overlap > __fmul_rn(all, nms_iou); // no division: an empty box suppresses nothing
}

// A thread for a box and 32 others: which of those that come after it does it overlap too much?
extern "C" __global__ void candidates_overlap(const CandidatesArguments a)
{
    const int word = threadIdx.x, index = blockIdx.x * blockDim.y + threadIdx.y, count = ranked_count(a);
    if (index >= count || 32 * word >= count)
        return;
    const Candidate box = a.ranked[index];
    unsigned bits = 0;
    for (int bit = 0; bit < 32; ++bit) {
        const int other = 32 * word + bit;
        if (other > index && other < count && a.ranked[other].class_index == box.class_index &&
            overlap_too_much(box, a.ranked[other], a.nms_iou))
            bits |= 1u << bit;
    }
    a.overlaps[index * kWords + word] = bits;
}

// One warp. Greedy, 32 boxes at a time: which of them stay, then what those suppress of all that follow.
extern "C" __global__ void candidates_keep(const CandidatesArguments a)
{
    __shared__ unsigned suppressed[kWords], among_themselves[32];
    const int lane = threadIdx.x, count = ranked_count(a);
    Candidate *kept = (Candidate *)(a.result + 1);
    int total = 0;
    suppressed[lane] = 0;
    for (int word = 0; 32 * word < count; ++word) {
        const int index = 32 * word + lane, size = count - 32 * word < 32 ? count - 32 * word : 32;
        among_themselves[lane] = a.suppresses && index < count ? a.overlaps[index * kWords + word] : 0;
        __syncthreads();
        unsigned gone = suppressed[word], stays = 0;
        for (int bit = 0; bit < size; ++bit)
            if (!(gone >> bit & 1u)) {
                stays |= 1u << bit;
                gone |= among_themselves[bit];
            }
        if (a.suppresses && lane > word && 32 * lane < count) {
            unsigned bits = suppressed[lane];
            for (int bit = 0; bit < size; ++bit)
                if (stays >> bit & 1u)
                    bits |= a.overlaps[(32 * word + bit) * kWords + lane];
            suppressed[lane] = bits;
        }
        if (stays >> lane & 1u)
            kept[total + __popc(stays & ((1u << lane) - 1u))] = a.ranked[index];
        total += __popc(stays);
        __syncthreads();
    }
    if (lane == 0)
        a.result->kept = total;
}
