#include "ops/patchify.h"

#include <cstring>
#include <memory>

#include "core/parallel.h"
#include "ops/patchify_reference.h"
#include "ops/small_work.h"
#include "ops/tiles.h"

namespace vlm2vec {

PixelValues::PixelValues(const PatchLayout& layout) {
  for (int c = 0; c < 3; ++c)
    for (int pixel = 0; pixel < 256; ++pixel)
      value[c][pixel] = patch_value(uint8_t(pixel), layout.mean[c], layout.std[c]);
}

void check_picture(const Picture& picture, const std::string& name) {
  const char* const code = "E_BATCH";
  const PatchLayout& layout = picture.layout;
  const int64_t largest = int64_t(1) << 20, t = picture.grid[0], h = picture.grid[1], w = picture.grid[2];
  for (int size : {layout.patch_size, layout.temporal_patch_size, layout.merge_size})
    require(size > 0 && size <= largest, code, name, " has a layout with a size of ", size);
  require(t > 0 && h > 0 && w > 0 && h % layout.merge_size == 0 && w % layout.merge_size == 0 &&
              picture.height() <= largest && picture.width() <= largest && h * w < (int64_t(1) << 31) / t,
          code, name, " has a grid of ", t, " x ", h, " x ", w, " patches of ", layout.patch_size,
          "; height and width must be multiples of ", layout.merge_size);
  const int64_t slice = picture.height() * picture.width() * 3, slices = picture.size / slice;
  if (picture.tiles_wide == 0) {
    const int64_t temporal = layout.temporal_patch_size;
    require(picture.size % slice == 0 && slices > (t - 1) * temporal && slices <= t * temporal, code, name, " holds ",
            picture.size, " bytes; its grid of ", t, " x ", h, " x ", w, " patches of ", layout.patch_size, " takes ",
            t, " x ", temporal, " frames of ", slice);
    return;
  }
  require(
      layout.temporal_patch_size == 1 && h == w && picture.tiles_wide > 0 && t > 1 && (t - 1) % picture.tiles_wide == 0,
      code, name, " has a grid of ", t, " x ", h, " x ", w, " patches: no overview and rows of ", picture.tiles_wide,
      " square tiles");
  const int64_t expected = picture.interpolated ? t - 1 : t;
  require(picture.size % slice == 0 && slices == expected, code, name, " holds ", picture.size, " bytes; its ", t - 1,
          " tiles and overview take ", expected, " x ", slice);
}

namespace {

constexpr int64_t kValueCost = 32;  // multiply-adds that take as long as a look-up

void narrow(float& to, float value) { to = value; }
void narrow(bf16& to, float value) { to = to_bf16(value); }

// A picture, and what all of its patches are made with.
template <typename T>
struct Source {
  Source(const Picture& of, int64_t block) : picture(of), first_block(block) {
    const PixelValues values(of.layout);
    for (int c = 0; c < 3; ++c)
      for (int pixel = 0; pixel < 256; ++pixel) narrow(value[c][pixel], values.value[c][pixel]);
    if (of.tiles_wide > 0 && of.interpolated)
      overview =
          std::make_unique<Overview>(of.canvas(), int(of.tiles_wide), int(of.tiles_high()), int(of.width()), values);
  }
  const Picture& picture;
  int64_t first_block;  // of all pictures
  T value[3][256];
  std::unique_ptr<Overview> overview;
};

// What threads share out: the blocks of one row of a slice.
struct Strip {
  int32_t source, slice, row;
};

// to[c * channel_stride + y * patch + x] = pixels(c, y)(x)
template <typename T, typename Pixels>
void write_frame(T* to, int64_t channel_stride, int patch, const Pixels& pixels) {
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < patch; ++y) {
      const auto pixel = pixels(c, y);
      T* row = to + c * channel_stride + int64_t(y) * patch;
      for (int x = 0; x < patch; ++x) row[x] = pixel(x);
    }
}

// One patch: rows from `top` and columns from `left` on of its slice.
template <typename T>
void write_patch(T* to, const Source<T>& source, int32_t slice, int64_t top, int64_t left) {
  const Picture& picture = source.picture;
  const PatchLayout& layout = picture.layout;
  const int64_t area = int64_t(layout.patch_size) * layout.patch_size, channel = layout.temporal_patch_size * area,
                height = picture.height(), width = picture.width(), bytes = height * width * 3;
  const auto write = [&](T* frame, const uint8_t* corner, int64_t line) {
    const uint8_t* pixels = corner + top * line + left * 3;
    write_frame(frame, channel, layout.patch_size, [&](int c, int y) {
      return [row = pixels + y * line + c, value = source.value[c]](int x) { return value[row[3 * x]]; };
    });
  };
  if (picture.tiles_wide == 0) {
    const int64_t frames = picture.size / bytes;
    for (int t = 0; t < layout.temporal_patch_size; ++t) {
      const int64_t frame = int64_t(slice) * layout.temporal_patch_size + t;
      if (frame < frames) {
        write(to + t * area, picture.pixels + frame * bytes, width * 3);
        continue;
      }
      for (int c = 0; c < 3; ++c)  // the last frame again
        std::memcpy(to + c * channel + t * area, to + c * channel + (t - 1) * area, size_t(area) * sizeof(T));
    }
  } else if (slice > 0) {
    const int64_t line = picture.tiles_wide * width * 3, tile = slice - 1;
    write(to, picture.canvas() + tile / picture.tiles_wide * height * line + tile % picture.tiles_wide * width * 3,
          line);
  } else if (source.overview) {
    write_frame(to, channel, layout.patch_size, [&](int c, int y) {
      return [&overview = *source.overview, c, row = int(top) + y, left](int x) {
        T value;
        narrow(value, overview(c, row, int(left) + x));
        return value;
      };
    });
  } else {
    write(to, picture.pixels, width * 3);
  }
}

template <typename T>
void write_all(Tensor patches, const std::vector<Picture>& pictures, const std::vector<int32_t>& places) {
  std::vector<Source<T>> sources;
  sources.reserve(pictures.size());
  std::vector<Strip> strips;
  int64_t block = 0;
  for (const Picture& picture : pictures) {
    for (int32_t slice = 0; slice < picture.grid[0]; ++slice)
      for (int32_t row = 0; row < picture.grid[1] / picture.layout.merge_size; ++row)
        strips.push_back({int32_t(sources.size()), slice, row});
    sources.emplace_back(picture, block);
    block += picture.patches() / picture.layout.merged();
  }
  const int threads = threads_for(*patches.device, kValueCost * patches.size());
  parallel_for_dynamic(threads, int64_t(strips.size()), [&](int64_t i) {
    const auto [index, slice, row] = strips[size_t(i)];
    const Source<T>& source = sources[size_t(index)];
    const Picture& picture = source.picture;
    const PatchLayout& layout = picture.layout;
    const int64_t merge = layout.merge_size, wide = picture.grid[2] / merge, high = picture.grid[1] / merge;
    const int64_t first = source.first_block + (slice * high + row) * wide;
    for (int64_t column = 0; column < wide; ++column) {
      const int64_t place = places.empty() ? first + column : places[size_t(first + column)];
      T* to = patches.as<T>() + place * layout.merged() * layout.values();
      for (int64_t inside = 0; inside < layout.merged(); ++inside, to += layout.values())
        write_patch(to, source, slice, (row * merge + inside / merge) * layout.patch_size,
                    (column * merge + inside % merge) * layout.patch_size);
    }
  });
}

// Where each block goes.
std::vector<int32_t> inverse(const std::vector<int32_t>& order, int64_t blocks) {
  if (order.empty()) return {};
  std::vector<int32_t> places(size_t(blocks), -1);
  bool whole = int64_t(order.size()) == blocks;
  for (size_t n = 0; whole && n < order.size(); ++n) {
    whole = order[n] >= 0 && order[n] < blocks && places[size_t(order[n])] < 0;
    if (whole) places[size_t(order[n])] = int32_t(n);
  }
  require(whole, "E_SHAPE", "patchify: order is none of ", blocks, " blocks");
  return places;
}

}  // namespace

void patchify(Tensor patches, const std::vector<Picture>& pictures, const std::vector<int32_t>& order) {
  int64_t count = 0, blocks = 0;
  for (size_t i = 0; i < pictures.size(); ++i) {
    const Picture& picture = pictures[i];
    check_picture(picture, "picture " + std::to_string(i));
    const int64_t values = picture.layout.values();
    require(patches.rank == 2 && values == patches.shape[1], "E_SHAPE", "patchify: the patches of picture ", i,
            " hold ", values, " values, ", patches, " is to be written");
    count += picture.patches();
    blocks += picture.patches() / picture.layout.merged();
  }
  require(patches.rank == 2 && patches.dense() && patches.rows() == count &&
              (patches.dtype == DType::F32 || patches.dtype == DType::BF16),
          "E_SHAPE", "patchify: patches ", patches, " must be ", count, " rows of f32 or bf16");
  if (patches.device->is_cuda()) {
    const auto host = Device::cpu();
    const std::unique_ptr<uint8_t[]> made(new uint8_t[patches.bytes()]);
    patchify(Tensor(*host, made.get(), patches.dtype, {count, patches.shape[1]}), pictures, order);
    return patches.device->to_device(patches.data, made.get(), patches.bytes());
  }
  const std::vector<int32_t> places = inverse(order, blocks);
  if (patches.dtype == DType::F32) return write_all<float>(patches, pictures, places);
  write_all<bf16>(patches, pictures, places);
}

}  // namespace vlm2vec
