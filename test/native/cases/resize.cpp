#include "ops/resize.h"

#include "harness.h"
#include "ops/resize_reference.h"
#include "pictures.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

constexpr Filter kFilters[] = {Filter::Bilinear, Filter::Bicubic, Filter::Lanczos};

// With bytes around the result that must not change.
Pixels resized(const Pixels& from, int width, int height, int to_width, int to_height, Filter filter, Isa isa) {
  const size_t size = size_t(to_width) * size_t(to_height) * 3, guard = 64;
  Pixels to(size + 2 * guard, 0xa5);
  resize(to.data() + guard, to_width, to_height, from.data(), width, height, filter, isa);
  for (size_t i = 0; i < guard; ++i)
    expect(to[i] == 0xa5 && to[size + guard + i] == 0xa5, "guard word touched, byte ", i);
  return Pixels(to.begin() + guard, to.end() - guard);
}

struct Recorded {
  int width, height, to_width, to_height;
  uint64_t hashes[3];
};

// Recorded with Pillow 12.3: hashes of picture(...).resize(...) for the three filters.
const Recorded kRecorded[] = {
    {5, 4, 9, 11, {0xfa86ae10da6e99eaull, 0x27c601da227d00d4ull, 0x5c822d00b49b4ea7ull}},
    {61, 47, 28, 56, {0xa86933203ade874eull, 0x840d8eb98ff46a00ull, 0x8ec02c951971cbb4ull}},
    {61, 47, 61, 28, {0xfd8220b5f75d9d99ull, 0xab3edf5d680d9e72ull, 0x2fbc365eb56bcd10ull}},
    {61, 47, 84, 47, {0xf5a9f033079aa19cull, 0x5b273685dc315693ull, 0xa9ed531f2c019590ull}},
    {97, 130, 1, 1, {0x01ffde19a4a37909ull, 0x01ffde19a4a37909ull, 0x01ffde19a4a37909ull}},
    {1, 1, 5, 3, {0x745c6d6ca9a80200ull, 0x745c6d6ca9a80200ull, 0x745c6d6ca9a80200ull}},
    {33, 200, 17, 140, {0xba66d07e4cc0646full, 0x8b0b9e4b1a23f472ull, 0xb0cdcfac2c3a2bf1ull}},
    {250, 19, 14, 28, {0x3372da658e7fe388ull, 0x1580d61be6c9ddefull, 0xb464d2d2e008be6dull}},
};

const Cases cases(
    "resize",
    {
        {"a small picture gets Pillow's numbers", Backends::Cpu,
         [](Tensors& t) {
           // Image.fromarray(picture).resize((3, 2)), recorded with Pillow 12.3
           const Pixels expected[] = {{58, 145, 112, 83, 201, 80, 18, 245, 14, 17, 244, 18, 50, 222, 33, 101, 141, 93},
                                      {65, 134, 123, 89, 201, 83, 12, 254, 8, 14, 253, 11, 49, 224, 29, 112, 129, 102},
                                      {67, 130, 127, 90, 202, 84, 11, 255, 8, 17, 255, 9, 52, 225, 26, 116, 125, 107}};
           for (int f = 0; f < 3; ++f)
             expect_same_bits(text("filter ", f), resized(picture(5, 4), 5, 4, 3, 2, kFilters[f], t.device().isa()),
                              expected[f]);
         }},
        {"pictures of other sizes have the hashes of Pillow's", Backends::Cpu,
         [](Tensors& t) {
           for (const Recorded& r : kRecorded)
             for (int f = 0; f < 3; ++f) {
               const Pixels to = resized(picture(r.width, r.height), r.width, r.height, r.to_width, r.to_height,
                                         kFilters[f], t.device().isa());
               expect(hash(to) == r.hashes[f], r.width, " x ", r.height, " to ", r.to_width, " x ", r.to_height,
                      " by filter ", f, ": another hash");
             }
         }},
        {"all sizes agree with the plain passes", Backends::Cpu,
         [](Tensors& t) {
           const int sizes[] = {1, 2, 15, 16, 17, 31, 33, 70};
           for (int width : sizes)
             for (int height : {1, 16, 37})
               for (int to_width : sizes)
                 for (int to_height : {1, 16, 37, 41}) {
                   const Filter filter = kFilters[(width + to_width + to_height) % 3];
                   const Pixels from = picture(width, height);
                   Pixels expected = from;
                   if (to_width != width)
                     expected = resize_axis_reference(expected, height, width, to_width, 3, filter);
                   if (to_height != height)
                     expected = resize_axis_reference(expected, 1, height, to_height, int64_t(to_width) * 3, filter);
                   expect_same_bits(
                       text(width, " x ", height, " to ", to_width, " x ", to_height, " by filter ", int(filter)),
                       resized(from, width, height, to_width, to_height, filter, t.device().isa()), expected);
                 }
         }},
        {"the same size is a copy, and one colour stays that colour", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits("copy", resized(picture(19, 7), 19, 7, 19, 7, Filter::Bicubic, t.device().isa()),
                            picture(19, 7));
           for (uint8_t colour : {uint8_t(0), uint8_t(128), uint8_t(255)})
             for (Filter filter : kFilters)
               expect_same_bits("colour",
                                resized(Pixels(30 * 20 * 3, colour), 30, 20, 47, 13, filter, t.device().isa()),
                                Pixels(47 * 13 * 3, colour));
         }},
        {"sizes below 1 are refused",
         [] {
           uint8_t pixel[3] = {};
           expect_error("E_SHAPE", {"resize", "0 x 1"}, [&] { resize(pixel, 1, 1, pixel, 0, 1, Filter::Bicubic); });
           expect_error("E_SHAPE", {"resize", "1 x -3"}, [&] { resize(pixel, 1, -3, pixel, 1, 1, Filter::Bicubic); });
         }},
    });

}  // namespace
