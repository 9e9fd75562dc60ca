#include "ops/patchify.h"

#include <cstring>

#include "harness.h"
#include "ops/patchify_reference.h"
#include "pictures.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

PatchLayout layout_of(int patch, int temporal, int merge) {
  return {patch, temporal, merge, {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};
}

void expect_order(const PatchLayout& layout, int width, int height, int frame_count) {
  std::vector<Pixels> pictures;
  std::vector<const uint8_t*> frames;
  for (int f = 0; f < frame_count; ++f) pictures.push_back(noise(width, height, uint64_t(f)));
  for (const Pixels& picture : pictures) frames.push_back(picture.data());
  const int patch = layout.patch_size, temporal = layout.temporal_patch_size;
  const int64_t groups = (frame_count + temporal - 1) / temporal, count = groups * (width / patch) * (height / patch);
  const int64_t size = 3 * temporal * patch * patch;
  std::vector<float> patches(size_t(count * size + 1), -7);
  patchify(patches.data(), frames.data(), frame_count, width, height, layout);
  expect(patches.back() == -7, "written beyond the last patch");
  size_t i = 0;
  for (int64_t p = 0; p < count; ++p)
    for (int c = 0; c < 3; ++c)
      for (int t = 0; t < temporal; ++t)
        for (int y = 0; y < patch; ++y)
          for (int x = 0; x < patch; ++x, ++i) {
            const float expected = patchify_reference(frames.data(), frame_count, width, height, layout, p, c, t, y, x);
            expect(patches[i] == expected, frame_count, " frames of ", width, " x ", height, ", patch ", p, " channel ",
                   c, " time ", t, " y ", y, " x ", x, ": ", patches[i], ", expected ", expected);
          }
}

const Cases cases("patchify",
                  {
                      {"values are the bits of the PIL processor's",
                       [] {
                         // recorded with numpy by the processor's formula: pixels 0, 1, 127, 200, 255 of each channel
                         const uint32_t expected[3][5] = {{0xbfe568dc, 0xbfe38a7f, 0x3d7ce092, 0x3f904f64, 0x3ff71541},
                                                          {0xbfe044b8, 0xbfde58f1, 0x3e1d9531, 0x3f9fee31, 0x4004cae5},
                                                          {0xbfbd77d8, 0xbfbba5e1, 0x3ea6c5e6, 0x3fae90c9, 0x40095660}};
                         const int pixels[] = {0, 1, 127, 200, 255};
                         const PatchLayout layout = layout_of(1, 1, 1);
                         for (int i = 0; i < 5; ++i) {
                           const uint8_t picture[3] = {uint8_t(pixels[i]), uint8_t(pixels[i]), uint8_t(pixels[i])};
                           const uint8_t* frames[] = {picture};
                           float values[3];
                           patchify(values, frames, 1, 1, 1, layout);
                           for (int c = 0; c < 3; ++c) {
                             uint32_t bits;
                             std::memcpy(&bits, &values[c], 4);
                             expect(bits == expected[c][i], "pixel ", pixels[i], " of channel ", c, ": bits ", bits,
                                    ", expected ", expected[c][i]);
                           }
                         }
                       }},
                      {"patches of a merge block follow each other, then blocks by rows",
                       [] {
                         // 4 x 4 pixels, patches of 1, merged 2 x 2: red numbers the pixels by rows
                         Pixels picture;
                         for (uint8_t i = 0; i < 16; ++i) picture.insert(picture.end(), {i, 0, 0});
                         const uint8_t* frames[] = {picture.data()};
                         float values[16 * 3];
                         PatchLayout layout{1, 1, 2, {0, 0, 0}, {1.0f / 255, 1, 1}};
                         patchify(values, frames, 1, 4, 4, layout);
                         const int order[] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
                         for (int p = 0; p < 16; ++p) expect_close(text("patch ", p), values[3 * p], order[p], 1e-6);
                       }},
                      {"channels, times, rows and columns are in the reference's order",
                       [] {
                         expect_order(layout_of(14, 2, 2), 28, 28, 1);
                         expect_order(layout_of(14, 2, 2), 84, 56, 1);
                         expect_order(layout_of(16, 2, 2), 64, 32, 2);
                         expect_order(layout_of(3, 2, 1), 9, 6, 1);
                       }},
                      {"frames go in groups, and an incomplete group repeats the last frame",
                       [] {
                         expect_order(layout_of(4, 2, 2), 16, 8, 5);
                         expect_order(layout_of(4, 3, 1), 8, 4, 4);
                         expect_order(layout_of(4, 1, 2), 8, 8, 3);
                       }},
                      {"sizes that do not divide are refused",
                       [] {
                         const Pixels picture(28 * 30 * 3);
                         const uint8_t* frames[] = {picture.data()};
                         float value;
                         expect_error("E_SHAPE", {"patchify", "28 x 30", "28"},
                                      [&] { patchify(&value, frames, 1, 28, 30, layout_of(14, 2, 2)); });
                         expect_error("E_SHAPE", {"0 frames"},
                                      [&] { patchify(&value, frames, 0, 28, 28, layout_of(14, 2, 2)); });
                       }},
                  });

}  // namespace
