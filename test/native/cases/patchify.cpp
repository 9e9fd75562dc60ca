#include "ops/patchify.h"

#include <cstring>

#include "harness.h"
#include "ops/patchify_reference.h"
#include "pictures.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

void expect_order(const PatchLayout& layout, int width, int height, int frame_count) {
  Pixels pixels;
  for (int f = 0; f < frame_count; ++f) {
    const Pixels frame = noise(width, height, uint64_t(f));
    pixels.insert(pixels.end(), frame.begin(), frame.end());
  }
  std::vector<const uint8_t*> frames;
  for (int f = 0; f < frame_count; ++f) frames.push_back(&pixels[size_t(f * width * height * 3)]);
  const Picture picture = frames_of(pixels, width, height, layout);
  const auto patches = patches_of(picture);
  const int patch = layout.patch_size;
  size_t i = 0;
  for (int64_t p = 0; p < picture.patches(); ++p)
    for (int c = 0; c < 3; ++c)
      for (int t = 0; t < layout.temporal_patch_size; ++t)
        for (int y = 0; y < patch; ++y)
          for (int x = 0; x < patch; ++x, ++i) {
            const float expected = patchify_reference(frames.data(), frame_count, width, height, layout, p, c, t, y, x);
            expect(patches[i] == expected, frame_count, " frames of ", width, " x ", height, ", patch ", p, " channel ",
                   c, " time ", t, " y ", y, " x ", x, ": ", patches[i], ", expected ", expected);
          }
}

// A picture, an odd video, and tiles with an overview of each kind, all of patches of 4 in blocks of 2 x 2.
struct Mixed {
  std::vector<Pixels> pixels{noise(16, 8, 1), noise(8, 24, 2), noise(8, 32, 3), noise(24, 8, 4)};
  std::vector<Picture> pictures(int temporal) const {
    const PatchLayout layout = clip_layout(4, temporal, 2);
    if (temporal > 1) return {frames_of(pixels[0], 16, 8, layout), frames_of(pixels[1], 8, 8, layout)};
    return {frames_of(pixels[0], 16, 8, layout), tiles_of(pixels[2], 1, 3, 8, false, layout),
            tiles_of(pixels[3], 3, 1, 8, true, layout)};
  }
};

const Cases cases(
    "patchify",
    {
        {"values are the bits of the PIL processor's",
         [] {
           // recorded with numpy by the processor's formula: pixels 0, 1, 127, 200, 255 of each channel
           const uint32_t expected[3][5] = {{0xbfe568dc, 0xbfe38a7f, 0x3d7ce092, 0x3f904f64, 0x3ff71541},
                                            {0xbfe044b8, 0xbfde58f1, 0x3e1d9531, 0x3f9fee31, 0x4004cae5},
                                            {0xbfbd77d8, 0xbfbba5e1, 0x3ea6c5e6, 0x3fae90c9, 0x40095660}};
           const int pixels[] = {0, 1, 127, 200, 255};
           const PatchLayout layout = clip_layout(1, 1, 1);
           for (int i = 0; i < 5; ++i) {
             const auto values = patches_of(frames_of(Pixels(3, uint8_t(pixels[i])), 1, 1, layout));
             for (int c = 0; c < 3; ++c) {
               uint32_t bits;
               std::memcpy(&bits, &values[c], 4);
               expect(bits == expected[c][i], "pixel ", pixels[i], " of channel ", c, ": bits ", bits, ", expected ",
                      expected[c][i]);
             }
           }
         }},
        {"patches of a merge block follow each other, then blocks by rows",
         [] {
           // 4 x 4 pixels, patches of 1, merged 2 x 2: red numbers the pixels by rows
           Pixels picture;
           for (uint8_t i = 0; i < 16; ++i) picture.insert(picture.end(), {i, 0, 0});
           PatchLayout layout{1, 1, 2, {0, 0, 0}, {1.0f / 255, 1, 1}};
           const auto values = patches_of(frames_of(picture, 4, 4, layout));
           const int order[] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
           for (int p = 0; p < 16; ++p) expect_close(text("patch ", p), values[3 * p], order[p], 1e-6);
         }},
        {"channels, times, rows and columns are in the reference's order",
         [] {
           expect_order(clip_layout(14, 2, 2), 28, 28, 1);
           expect_order(clip_layout(14, 2, 2), 84, 56, 1);
           expect_order(clip_layout(16, 2, 2), 64, 32, 2);
           expect_order(clip_layout(3, 2, 1), 9, 6, 1);
         }},
        {"frames go in groups, and an incomplete group repeats the last frame",
         [] {
           expect_order(clip_layout(4, 2, 2), 16, 8, 5);
           expect_order(clip_layout(4, 3, 1), 8, 4, 4);
           expect_order(clip_layout(4, 1, 2), 8, 8, 3);
         }},
        {"all pictures follow each other, in either type, on any device", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Mixed mixed;
           for (int temporal : {1, 3}) {
             const auto pictures = mixed.pictures(temporal);
             std::vector<double> expected;
             for (const Picture& picture : pictures)
               for (float value : patches_of(picture)) expected.push_back(value);
             const int64_t values = pictures[0].layout.values(), count = int64_t(expected.size()) / values;
             for (DType dtype : {DType::F32, DType::BF16}) {
               const Tensor out = t.output(dtype, {count, values});
               patchify(out, pictures);
               expect(read(out) == rounded(expected, dtype), temporal, " frames a patch, ", name_of(dtype));
             }
           }
         }},
        {"blocks go where the order says", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Mixed mixed;
           const auto pictures = mixed.pictures(3);  // 2 blocks and 1
           const std::vector<int32_t> order = {2, 0, 1};
           const int64_t values = pictures[0].layout.values();
           const Tensor out = t.output(DType::F32, {12, values}), plain = t.output(DType::F32, {12, values});
           patchify(plain, pictures);
           patchify(out, pictures, order);
           for (int64_t n = 0; n < 3; ++n)
             expect_same_bits(text("block ", n), out.slice(4 * n, 4), plain.slice(4 * order[size_t(n)], 4));
           for (const std::vector<int32_t>& wrong : {std::vector<int32_t>{0, 1}, {0, 1, 1}, {0, 1, 3}})
             expect_error("E_SHAPE", {"patchify", "order"}, [&] { patchify(out, pictures, wrong); });
         }},
        {"any number of threads writes the same bits", Backends::Cpu,
         [](Tensors& t) {
           const Pixels pixels = noise(280, 280, 1), canvas = noise(168, 112, 2);
           for (const Picture& picture : {frames_of(pixels, 280, 280, clip_layout(14, 2, 2)),
                                          tiles_of(canvas, 3, 2, 56, true, clip_layout(14, 1, 2))})
             expect_same_bits_for_any_threads("patches", t.device().isa(), [&](Tensors& each) {
               const std::vector<Picture> twice = {picture, picture};
               const Tensor out = each.output(DType::F32, {2 * picture.patches(), picture.layout.values()});
               patchify(out, twice);
               return bits(out);
             });
         }},
        {"pictures and outputs that do not fit are refused",
         [] {
           const auto device = Device::cpu(1);
           const Pixels pixels(28 * 28 * 3);
           float values[4];
           const Picture whole = frames_of(pixels, 28, 28, clip_layout(14, 2, 2));
           const auto write = [&](const Picture& picture, int64_t count, int64_t size) {
             patchify(Tensor(*device, values, DType::F32, {count, size}), {picture});
           };
           const auto refused = [&](std::initializer_list<const char*> words, const auto& change) {
             Picture picture = whole;
             change(picture);
             expect_error("E_BATCH", words, [&] { write(picture, picture.patches(), picture.layout.values()); });
           };
           refused({"picture 0", "2351 bytes"}, [](Picture& each) { each.size -= 1; });
           refused({"0 bytes"}, [](Picture& each) { each.size = 0; });
           refused({"2352 bytes", "2 x 2 frames"}, [](Picture& each) { each.grid[0] = 2; });
           refused({"7056 bytes", "1 x 2 frames"}, [](Picture& each) { each.size *= 3; });
           refused({"multiples of 2"}, [](Picture& each) { each.grid[1] = 1; });
           refused({"-2"}, [](Picture& each) { each.grid[2] = -2; });
           refused({"grid"}, [](Picture& each) { each.grid[0] = each.grid[1] = each.grid[2] = 1 << 30; });
           for (int wrong : {0, -14, 1 << 21})
             for (int PatchLayout::*size :
                  {&PatchLayout::patch_size, &PatchLayout::temporal_patch_size, &PatchLayout::merge_size})
               refused({"layout"}, [&](Picture& each) { each.layout.*size = wrong; });
           expect_error("E_SHAPE", {"patchify", "4 rows"}, [&] { write(whole, 3, 1176); });
           expect_error("E_SHAPE", {"patchify", "1176 values"}, [&] { write(whole, 4, 1175); });
         }},
    });

}  // namespace
