// How many threads a piece of work is worth. Waking a team costs a few microseconds on an idle machine, and
// milliseconds on a busy one, where its threads wait for each other; small products are done by the calling thread. The
// number of threads never shows in the result.
#pragma once
#include <cstdint>

#include "core/device.h"

namespace vlm2vec {

constexpr int64_t kSmallWork = int64_t(1) << 19;  // multiply-adds: about 10 us of one core

inline int threads_for(const Device& device, int64_t multiply_adds) {
  return multiply_adds < kSmallWork ? 1 : device.threads();
}

}  // namespace vlm2vec
