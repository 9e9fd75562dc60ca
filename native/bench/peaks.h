// What this machine can do at most: multiply-adds a second of a number type, and bytes a second of main memory. Every
// share of the peak that the bench reports is a share of what these measured a moment before.
#pragma once
#include "core/device.h"

namespace vlm2vec {

enum class Peak { F32, Bf16, Int8, Bytes };

// Operations a second, a multiply-add being two, or bytes a second: on the device's threads, in about 0.1 s. CPU only
// (E_CUDA). bf16 without instructions for it is computed as f32, so that its peak is that of f32; int8 without
// instructions has 0.
double measure_peak(Device& device, Peak of);

}  // namespace vlm2vec
