// Prepared pictures to the flattened patches of a vision tower (Qwen2VLImageProcessor._preprocess): rescale, normalise
// and reorder in one pass. The only place that knows how bytes become patches.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace vlm2vec {

struct PatchLayout {
  int patch_size = 14, temporal_patch_size = 2, merge_size = 2;
  float mean[3], std[3];

  int64_t merged() const { return int64_t(merge_size) * merge_size; }                            // patches of a block
  int64_t values() const { return int64_t(3) * temporal_patch_size * patch_size * patch_size; }  // PD
};

// A picture or video in the size that the tower sees, and how it is cut. A slice of its grid is a group of
// temporal_patch_size frames, or a tile.
struct Picture {
  // Host memory: (frames, height, width, 3) bytes, an incomplete last group repeating the last frame. Of a picture cut
  // into square tiles: the overview (tile, tile, 3), unless it is interpolated, and the canvas, whose tiles follow the
  // overview row by row.
  const uint8_t* pixels = nullptr;
  int64_t size = 0;      // bytes
  int32_t grid[3] = {};  // slices, and rows and columns of patches of each
  PatchLayout layout;
  int32_t tiles_wide = 0;     // of the canvas; 0: not cut into tiles
  bool interpolated = false;  // the overview is the canvas, interpolated (ops/tiles.h)

  int64_t patches() const { return int64_t(grid[0]) * grid[1] * grid[2]; }
  int64_t height() const { return int64_t(grid[1]) * layout.patch_size; }  // of a slice, pixels
  int64_t width() const { return int64_t(grid[2]) * layout.patch_size; }
  int64_t tiles_high() const { return (grid[0] - 1) / tiles_wide; }
  const uint8_t* canvas() const { return pixels + (interpolated ? 0 : height() * width() * 3); }
};

// E_BATCH, calling it `name`, unless grid, layout and bytes fit each other.
void check_picture(const Picture& picture, const std::string& name);

// patches (P, PD) f32 or bf16, of all pictures one after the other, made by the threads of their device (of a GPU's: on
// the host, and copied). A slice's merge blocks are row-major, rows and columns within a block follow, then (channel,
// time, y, x). A value is float(float(double(pixel) * (1 / 255.0)) - mean) / std in f32, as the PIL processor computes
// it, and rounded to the type. `order` (P / merged): block n of `patches` is block order[n] of the pictures; empty: as
// they come. E_BATCH for pictures that are malformed, E_SHAPE where patches or order don't fit them.
void patchify(Tensor patches, const std::vector<Picture>& pictures, const std::vector<int32_t>& order = {});

// What a byte becomes in each channel: a pixel has 256 values, so that normalising is a look-up.
struct PixelValues {
  explicit PixelValues(const PatchLayout& layout);
  float value[3][256];
};

}  // namespace vlm2vec
