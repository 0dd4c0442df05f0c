// The kernels, compiled for the host. Built by host_device.py.
#include "host_cuda.h"

#include "candidates.cu"
#include "letterbox.cu"

HOST_KERNEL(letterbox_float32, LetterboxArguments, false)
HOST_KERNEL(letterbox_float16, LetterboxArguments, false)
HOST_KERNEL(letterbox_int8, LetterboxArguments, false)
HOST_KERNEL(candidates_reset, CandidatesArguments, false)
HOST_KERNEL(candidates_find, CandidatesArguments, false)
HOST_KERNEL(candidates_rank, CandidatesArguments, false)
HOST_KERNEL(candidates_overlap, CandidatesArguments, false)
HOST_KERNEL(candidates_keep, CandidatesArguments, true)
