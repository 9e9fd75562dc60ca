// Pillow's Image.resize for 8-bit pictures, bit for bit (libImaging/Resample.c): horizontal pass, then vertical, each
// with antialiasing support, 22-bit fixed-point weights, and rounding to uint8 in between. Host memory, one thread.
#pragma once
#include <cstdint>

namespace vlm2vec {

enum class Filter { Bilinear, Bicubic, Lanczos };

// from: (height, width, 3) bytes; to: (to_height, to_width, 3).
void resize(uint8_t* to, int to_width, int to_height, const uint8_t* from, int width, int height, Filter filter);

}  // namespace vlm2vec
