#include "ops/tiles.h"

#include <cmath>

#include "harness.h"
#include "ops/tiles_reference.h"
#include "pictures.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

PatchLayout layout_of(int patch, int merge) {
  return {patch, 1, merge, {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};
}

// Calls f(value, c, y, x) for every value of one tile's patches.
template <typename F>
void each_value(const float* patches, int tile, const PatchLayout& layout, const F& f) {
  const int patch = layout.patch_size, merge = layout.merge_size, wide = tile / patch / merge;
  for (int p = 0; p < tile / patch * (tile / patch); ++p)
    for (int c = 0; c < 3; ++c)
      for (int y = 0; y < patch; ++y)
        for (int x = 0; x < patch; ++x) {
          const int block = p / (merge * merge), inside = p % (merge * merge);
          f(*patches++, c, (block / wide * merge + inside / merge) * patch + y,
            (block % wide * merge + inside % merge) * patch + x);
        }
}

const Cases cases("tiles",
                  {
                      {"transposing twice gives the picture back",
                       [] {
                         const Pixels pixels = noise(5, 3, 5);
                         Pixels turned(pixels.size()), back(pixels.size());
                         transpose_pixels(turned.data(), pixels.data(), 5, 3);
                         expect(turned[3] == pixels[15], "row 1, column 0 goes to row 0, column 1");
                         transpose_pixels(back.data(), turned.data(), 3, 5);
                         expect(back == pixels, "not the same picture");
                       }},
                      {"a picture stands on its canvas, the rest is filled",
                       [] {
                         const Pixels pixels = noise(2, 3, 5);
                         Pixels canvas(7 * 5 * 3);
                         paste(canvas.data(), {7, 5, 4, 1, 200}, pixels.data(), 2, 3);
                         for (int y = 0; y < 5; ++y)
                           for (int x = 0; x < 7; ++x)
                             for (int c = 0; c < 3; ++c) {
                               const bool inside = x >= 4 && x < 6 && y >= 1 && y < 4;
                               const uint8_t expected = inside ? pixels[size_t(((y - 1) * 2 + x - 4) * 3 + c)] : 200;
                               expect(canvas[size_t((y * 7 + x) * 3 + c)] == expected, "row ", y, " column ", x);
                             }
                         expect_error("E_SHAPE", {"paste", "4, 1"}, [&] {
                           paste(canvas.data(), {5, 5, 4, 1, 0}, pixels.data(), 2, 3);
                         });
                       }},
                      {"tiles follow each other row by row, each in patches",
                       [] {
                         for (int merge : {1, 2}) {
                           const PatchLayout layout = layout_of(2, merge);
                           const int tile = 8, width = 24, height = 16;
                           const Pixels pixels = noise(width, height, 5);
                           std::vector<float> patches(size_t(width * height * 3) + 1, -7);
                           tile_patches(patches.data(), pixels.data(), width, height, tile, layout);
                           expect(patches.back() == -7, "written beyond the last patch");
                           for (int index = 0; index < 6; ++index)
                             each_value(&patches[size_t(index * tile * tile * 3)], tile, layout,
                                        [&](float value, int c, int y, int x) {
                                          const int row = index / 3 * tile + y, column = index % 3 * tile + x;
                                          const uint8_t pixel = pixels[size_t((row * width + column) * 3 + c)];
                                          expect(value == patch_value(pixel, layout.mean[c], layout.std[c]), "tile ",
                                                 index, " channel ", c, " y ", y, " x ", x, ": ", value);
                                        });
                         }
                         const PatchLayout layout = layout_of(2, 1);
                         expect_error("E_SHAPE", {"tile_patches", "24 x 15"},
                                      [&] { tile_patches(nullptr, nullptr, 24, 15, 8, layout); });
                       }},
                      {"the overview agrees with the formula in double precision",
                       [] {
                         for (int across : {1, 2, 3, 4})
                           for (int down : {1, 2, 5}) {
                             const PatchLayout layout = layout_of(2, 2);
                             const int tile = 8, width = across * tile, height = down * tile;
                             const Pixels pixels = noise(width, height, 5);
                             std::vector<float> patches(size_t(tile * tile * 3) + 1, -7);
                             overview_patches(patches.data(), pixels.data(), width, height, tile, layout);
                             expect(patches.back() == -7, "written beyond the last patch");
                             each_value(patches.data(), tile, layout, [&](float value, int c, int y, int x) {
                               const double expected =
                                   overview_reference<double>(pixels.data(), width, height, tile, layout, c, y, x);
                               expect(std::fabs(value - expected) < 2e-6, across, " x ", down, " tiles, channel ", c,
                                      " y ", y, " x ", x, ": ", value, ", expected ", expected);
                             });
                           }
                       }},
                      {"the overview has the bits of torch's interpolate",
                       [] {
                         // recorded with torch 2.13 (AVX-512 and AVX2): F.interpolate of picture(width, height),
                         // normalised
                         const struct {
                           int across, down;
                           uint64_t expected;
                         } recorded[] = {{1, 1, 0x722594511e65298dull}, {2, 1, 0xc24627d792de00c1ull},
                                         {2, 2, 0x19eb624e6cf9fd89ull}, {3, 4, 0xbda441d25eafac95ull},
                                         {4, 4, 0x70444e2c698f73b8ull}, {1, 16, 0x4b9f7053a2015f46ull},
                                         {8, 2, 0x9b9f12b12aebb7d2ull}};
                         for (const auto& each : recorded) {
                           const PatchLayout layout = layout_of(14, 1);
                           const int tile = 28, width = each.across * tile, height = each.down * tile;
                           std::vector<float> patches(size_t(tile * tile * 3));
                           overview_patches(patches.data(), picture(width, height).data(), width, height, tile, layout);
                           expect(hash(patches) == each.expected, each.across, " x ", each.down, " tiles: hash ",
                                  std::hex, hash(patches));
                         }
                       }},
                  });

}  // namespace
