#include "ops/tiles.h"

#include <cmath>

#include "harness.h"
#include "ops/tiles_reference.h"
#include "pictures.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

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
                      {"tiles follow the overview row by row, each in patches",
                       [] {
                         for (int merge : {1, 2})
                           for (bool interpolated : {false, true}) {
                             const PatchLayout layout = clip_layout(2, 1, merge);
                             const int tile = 8, width = 24, height = 16;
                             const Pixels overview = noise(tile, tile, 6), canvas = noise(width, height, 5);
                             Pixels pixels = interpolated ? Pixels() : overview;
                             pixels.insert(pixels.end(), canvas.begin(), canvas.end());
                             const auto patches = patches_of(tiles_of(pixels, 3, 2, tile, interpolated, layout));
                             for (int index = interpolated ? 1 : 0; index < 7; ++index)
                               each_value(
                                   &patches[size_t(index * tile * tile * 3)], tile, layout,
                                   [&](float value, int c, int y, int x) {
                                     const int at = index - 1, row = at / 3 * tile + y, column = at % 3 * tile + x;
                                     const uint8_t pixel = index == 0 ? overview[size_t((y * tile + x) * 3 + c)]
                                                                      : canvas[size_t((row * width + column) * 3 + c)];
                                     expect(value == patch_value(pixel, layout.mean[c], layout.std[c]), "tile ", index,
                                            " channel ", c, " y ", y, " x ", x, ": ", value);
                                   });
                           }
                       }},
                      {"bytes, rows and frames that are none of a canvas of tiles are refused",
                       [] {
                         const Pixels pixels(7 * 8 * 8 * 3);
                         const PatchLayout layout = clip_layout(2, 1, 1);
                         const auto refused = [&](std::initializer_list<const char*> words, const auto& change) {
                           Picture picture = tiles_of(pixels, 3, 2, 8, false, layout);
                           check_picture(picture, "it");
                           change(picture);
                           expect_error("E_BATCH", words, [&] { check_picture(picture, "it"); });
                         };
                         refused({"it", "6 tiles", "6 x 192"}, [](Picture& each) { each.interpolated = true; });
                         refused({"it", "1343 bytes"}, [](Picture& each) { each.size -= 1; });
                         refused({"rows of 4"}, [](Picture& each) { each.tiles_wide = 4; });
                         refused({"rows of -1"}, [](Picture& each) { each.tiles_wide = -1; });
                         refused({"square"}, [](Picture& each) { each.grid[1] = 2, each.grid[2] = 8; });
                         refused({"overview"}, [](Picture& each) { each.grid[0] = 1; });
                         refused({"tiles"}, [](Picture& each) { each.layout.temporal_patch_size = 2; });
                       }},
                      {"the overview agrees with the formula in double precision",
                       [] {
                         for (int across : {1, 2, 3, 4})
                           for (int down : {1, 2, 5}) {
                             const PatchLayout layout = clip_layout(2, 1, 2);
                             const int tile = 8, width = across * tile, height = down * tile;
                             const Pixels pixels = noise(width, height, 5);
                             const auto patches = patches_of(tiles_of(pixels, across, down, tile, true, layout));
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
                           const int tile = 28;
                           const Pixels canvas = picture(each.across * tile, each.down * tile);
                           auto patches =
                               patches_of(tiles_of(canvas, each.across, each.down, tile, true, clip_layout(14, 1, 1)));
                           patches.resize(size_t(tile * tile * 3));
                           expect(hash(patches) == each.expected, each.across, " x ", each.down, " tiles: hash ",
                                  std::hex, hash(patches));
                         }
                       }},
                  });

}  // namespace
