// Pillow's Image.resize for 8-bit pictures, bit for bit (libImaging/Resample.c): horizontal pass, then vertical, each
// with antialiasing support, 22-bit fixed-point weights, and rounding to uint8 in between. Host memory, one thread.
#pragma once
#include <cstdint>

#include "core/isa.h"

namespace vlm2vec {

enum class Filter { Bilinear, Bicubic, Lanczos };

// from: (height, width, 3) bytes; to: (to_height, to_width, 3). E_SHAPE for a size below 1. `isa` lets tests run the
// lesser kernels.
void resize(uint8_t* to, int to_width, int to_height, const uint8_t* from, int width, int height, Filter filter,
            Isa isa = detect_isa());

}  // namespace vlm2vec
