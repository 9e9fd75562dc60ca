// Decoded pictures to patches, on the picture threads (src/native.ts, PrepareImageInput and PrepareTilesInput).
#include <cstring>

#include "napi/exports.h"
#include "ops/patchify.h"
#include "ops/resize.h"
#include "ops/tiles.h"

namespace vlm2vec {

namespace {

constexpr int64_t kLargestSide = 1 << 20;

struct Picture {
  std::vector<const uint8_t*> frames;
  int width, height, to_width, to_height;
  Filter filter;
  bool with_patches = false, keep_resized = false;
  PatchLayout layout;
};

struct Prepared {
  Written<float> patches;
  std::vector<Written<uint8_t>> resized;
};

Filter filter_argument(const std::string& name) {
  if (name == "bilinear") return Filter::Bilinear;
  if (name == "bicubic") return Filter::Bicubic;
  if (name == "lanczos") return Filter::Lanczos;
  fail("E_OPTION", "unknown filter \"", name, "\"; expected bilinear, bicubic or lanczos");
}

int side(Napi::Object input, const char* name) {
  const int64_t value = input.Get(name).ToNumber().Int64Value();
  require(value > 0 && value <= kLargestSide, "E_IMAGE", name, " is ", value, ", expected 1 to ", kLargestSide);
  return int(value);
}

const uint8_t* pixels_argument(Napi::Value value, const char* name, int width, int height) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "E_SHAPE", name,
          " is no Uint8Array");
  auto bytes = value.As<Napi::Uint8Array>();
  require(int64_t(bytes.ElementLength()) == int64_t(width) * height * 3, "E_SHAPE", name, " holds ",
          bytes.ElementLength(), " bytes, expected ", width, " x ", height, " x 3");
  return bytes.Data();
}

PatchLayout layout_argument(const nlohmann::json& json) {
  PatchLayout layout;
  layout.patch_size = field<int>(json, "patchSize");
  layout.temporal_patch_size = field<int>(json, "temporalPatchSize");
  layout.merge_size = field<int>(json, "mergeSize");
  require(layout.patch_size > 0 && layout.temporal_patch_size > 0 && layout.merge_size > 0, "E_OPTION",
          "a patch size is not positive");
  const auto mean = field<std::vector<float>>(json, "mean"), std = field<std::vector<float>>(json, "std");
  require(mean.size() == 3 && std.size() == 3, "E_OPTION", "mean and std must hold 3 numbers each");
  for (size_t i = 0; i < 3; ++i) {
    layout.mean[i] = mean[i];
    layout.std[i] = std[i];
  }
  return layout;
}

Picture picture_argument(Napi::Object input) {
  Picture picture;
  picture.width = side(input, "width");
  picture.height = side(input, "height");
  picture.to_width = side(input, "toWidth");
  picture.to_height = side(input, "toHeight");
  picture.filter = filter_argument(input.Get("filter").ToString().Utf8Value());
  picture.keep_resized = input.Get("keepResized").ToBoolean();
  require(input.Get("frames").IsArray(), "E_SHAPE", "frames is no array");
  Napi::Array frames = input.Get("frames").As<Napi::Array>();
  require(frames.Length() > 0, "E_SHAPE", "frames is empty");
  for (uint32_t i = 0; i < frames.Length(); ++i) {
    const std::string name = "frame " + std::to_string(i);
    picture.frames.push_back(pixels_argument(frames.Get(i), name.c_str(), picture.width, picture.height));
  }
  Napi::Value patches = input.Get("patches");
  picture.with_patches = patches.IsObject();
  if (!picture.with_patches) return picture;
  const PatchLayout& layout = picture.layout = layout_argument(to_json(patches));
  const int cell = layout.patch_size * layout.merge_size;
  require(picture.to_width % cell == 0 && picture.to_height % cell == 0, "E_SHAPE", "the resized picture is ",
          picture.to_width, " x ", picture.to_height, ", expected multiples of ", cell);
  return picture;
}

void prepare(const Picture& picture, Prepared& result) {
  const size_t bytes = size_t(picture.to_width) * size_t(picture.to_height) * 3;
  const bool same = picture.width == picture.to_width && picture.height == picture.to_height;
  std::vector<const uint8_t*> frames = picture.frames;
  if (!same || picture.keep_resized) {
    for (size_t i = 0; i < frames.size(); ++i) {
      result.resized.emplace_back(bytes);
      resize(result.resized[i].data(), picture.to_width, picture.to_height, frames[i], picture.width, picture.height,
             picture.filter);
      frames[i] = result.resized[i].data();
    }
  }
  if (picture.with_patches) {
    const PatchLayout& layout = picture.layout;
    const int frame_count = int(frames.size());
    const size_t slices = size_t((frame_count + layout.temporal_patch_size - 1) / layout.temporal_patch_size);
    result.patches = Written<float>(bytes * slices * size_t(layout.temporal_patch_size));
    patchify(result.patches.data(), frames.data(), frame_count, picture.to_width, picture.to_height, layout);
  }
  if (!picture.keep_resized) result.resized.clear();
}

}  // namespace

Napi::Value prepare_image(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "prepareImage: expected an object");
  const Picture picture = picture_argument(info[0].As<Napi::Object>());
  auto result = std::make_shared<Prepared>();
  Environment& environment = Environment::of(info.Env());
  return environment.run(
      info.Env(), environment.pictures(), info[0], [picture, result] { prepare(picture, *result); },
      [picture, result](Napi::Env env) {
        Napi::Object object = Napi::Object::New(env);
        if (picture.with_patches) object.Set("patches", take_to_js(env, std::move(result->patches)));
        if (picture.keep_resized) {
          Napi::Array frames = Napi::Array::New(env, result->resized.size());
          for (uint32_t i = 0; i < result->resized.size(); ++i)
            frames.Set(i, take_to_js(env, std::move(result->resized[i])));
          object.Set("resized", frames);
        }
        return object;
      });
}

namespace {

struct Tiles {
  const uint8_t* pixels;
  int width, height, to_width, to_height, tile;
  bool transposed, interpolated, keep_canvas;
  Filter filter;
  Canvas canvas;
  PatchLayout layout;
};

Tiles tiles_argument(Napi::Object input) {
  Tiles tiles;
  tiles.width = side(input, "width");
  tiles.height = side(input, "height");
  tiles.to_width = side(input, "toWidth");
  tiles.to_height = side(input, "toHeight");
  tiles.tile = side(input, "tile");
  tiles.pixels = pixels_argument(input.Get("pixels"), "pixels", tiles.width, tiles.height);
  tiles.transposed = input.Get("transposed").ToBoolean();
  tiles.keep_canvas = input.Get("keepCanvas").ToBoolean();
  tiles.interpolated = input.Get("overview").ToString().Utf8Value() == "interpolated";
  tiles.filter = filter_argument(input.Get("filter").ToString().Utf8Value());
  tiles.layout = layout_argument(to_json(input.Get("patches")));
  const auto canvas = to_json(input.Get("canvas"));
  tiles.canvas = {field<int>(canvas, "width"), field<int>(canvas, "height"), field<int>(canvas, "left"),
                  field<int>(canvas, "top"), field<uint8_t>(canvas, "fill")};
  const int cell = tiles.layout.patch_size * tiles.layout.merge_size;
  const auto whole = [&](int length) { return length > 0 && length <= kLargestSide && length % tiles.tile == 0; };
  require(tiles.layout.temporal_patch_size == 1 && tiles.tile % cell == 0 && whole(tiles.canvas.width) &&
              whole(tiles.canvas.height),
          "E_SHAPE", "a canvas of ", tiles.canvas.width, " x ", tiles.canvas.height, " cannot be cut into tiles of ",
          tiles.tile, " and cells of ", cell);
  return tiles;
}

// The picture at its new size.
Written<uint8_t> resized(const Tiles& tiles) {
  Written<uint8_t> to(size_t(tiles.to_width) * size_t(tiles.to_height) * 3);
  if (!tiles.transposed) {
    resize(to.data(), tiles.to_width, tiles.to_height, tiles.pixels, tiles.width, tiles.height, tiles.filter);
    return to;
  }
  Written<uint8_t> lying(size_t(tiles.width) * size_t(tiles.height) * 3), small(to.size);
  transpose_pixels(lying.data(), tiles.pixels, tiles.width, tiles.height);
  resize(small.data(), tiles.to_height, tiles.to_width, lying.data(), tiles.height, tiles.width, tiles.filter);
  transpose_pixels(to.data(), small.data(), tiles.to_height, tiles.to_width);
  return to;
}

struct PreparedTiles {
  Written<float> patches;
  Written<uint8_t> canvas;
};

void prepare(const Tiles& tiles, PreparedTiles& result) {
  const Canvas& canvas = tiles.canvas;
  const size_t overview = size_t(tiles.tile) * size_t(tiles.tile) * 3;
  result.canvas = Written<uint8_t>(size_t(canvas.width) * size_t(canvas.height) * 3);
  result.patches = Written<float>(overview + result.canvas.size);
  paste(result.canvas.data(), canvas, resized(tiles).data(), tiles.to_width, tiles.to_height);
  if (tiles.interpolated) {
    overview_patches(result.patches.data(), result.canvas.data(), canvas.width, canvas.height, tiles.tile,
                     tiles.layout);
  } else {
    Written<uint8_t> whole(overview);
    resize(whole.data(), tiles.tile, tiles.tile, tiles.pixels, tiles.width, tiles.height, tiles.filter);
    tile_patches(result.patches.data(), whole.data(), tiles.tile, tiles.tile, tiles.tile, tiles.layout);
  }
  tile_patches(result.patches.data() + overview, result.canvas.data(), canvas.width, canvas.height, tiles.tile,
               tiles.layout);
}

}  // namespace

Napi::Value prepare_tiles(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "prepareTiles: expected an object");
  const Tiles tiles = tiles_argument(info[0].As<Napi::Object>());
  auto result = std::make_shared<PreparedTiles>();
  Environment& environment = Environment::of(info.Env());
  return environment.run(
      info.Env(), environment.pictures(), info[0], [tiles, result] { prepare(tiles, *result); },
      [tiles, result](Napi::Env env) {
        Napi::Object object = Napi::Object::New(env);
        object.Set("patches", take_to_js(env, std::move(result->patches)));
        if (tiles.keep_canvas) object.Set("canvas", take_to_js(env, std::move(result->canvas)));
        return object;
      });
}

}  // namespace vlm2vec
