// Pictures that are cut into square tiles before they are cut into patches (the HD transform of Phi-3.5-V, the tiles
// of LLaVA-NeXT). Host memory, one thread. Pixels are (height, width, 3) bytes.
#pragma once
#include <cstdint>
#include <vector>

#include "ops/patchify.h"

namespace vlm2vec {

// to (width, height, 3): rows and columns of from (height, width, 3) change places.
void transpose_pixels(uint8_t* to, const uint8_t* from, int width, int height);

// A picture with borders of one colour around it: canvas (height, width, 3), the picture's corner at (top, left).
struct Canvas {
  int width, height, left, top;
  uint8_t fill;
};
void paste(uint8_t* canvas, const Canvas& layout, const uint8_t* picture, int width, int height);

// The whole canvas (high * tile, wide * tile, 3) at the size of one tile: normalised first, then interpolated as
// torch's F.interpolate(mode="bicubic") does, bit for bit (a = -0.75, no antialiasing, no rounding):
//   out(y, x) = sum_k wy_k sum_l wx_l in(y_k, x_l),  each sum fma(v0, w0, v1 w1), then fma for 2 and 3
// which is how its AVX2 and AVX-512 builds add up. The canvas is a whole number of tiles each way, so that every
// output lies on a pixel or half-way between two, and the weights are exact.
class Overview {
 public:
  Overview(const uint8_t* canvas, int wide, int high, int tile, const PixelValues& values);
  float operator()(int channel, int y, int x) const;

 private:
  struct Taps {
    int places[4];
    float weights[4];
  };
  const uint8_t* canvas_;
  int64_t line_;  // bytes
  PixelValues values_;
  std::vector<Taps> rows_, columns_;  // (tile)
};

}  // namespace vlm2vec
