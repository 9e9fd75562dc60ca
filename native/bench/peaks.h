// What this machine can do at most: multiply-adds a second of a number type, and bytes a second of main memory. Every
// share of the peak that the bench reports is a share of what these measured a moment before.
#pragma once
#include "core/device.h"

namespace vlm2vec {

struct Peaks {
  double f32, bf16, int8;  // operations a second, a multiply-add being two; int8 0: no instructions for it
  double bytes;            // a second
};

// On the device's threads; about half a second. CPU only (E_CUDA).
// bf16 without instructions for it is computed as f32, so that its peak is that of f32.
Peaks measure_peaks(Device& device);

}  // namespace vlm2vec
