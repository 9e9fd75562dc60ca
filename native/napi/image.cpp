// Decoded pictures to patches, on the picture threads (src/native.ts, PrepareImageInput).
#include <cstring>

#include "napi/exports.h"
#include "ops/patchify.h"
#include "ops/resize.h"

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
  std::vector<float> patches;
  std::vector<std::vector<uint8_t>> resized;
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
    Napi::Value frame = frames.Get(i);
    require(frame.IsTypedArray() && frame.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "E_SHAPE",
            "frame ", i, " is no Uint8Array");
    auto bytes = frame.As<Napi::Uint8Array>();
    require(int64_t(bytes.ElementLength()) == int64_t(picture.width) * picture.height * 3, "E_SHAPE", "frame ", i,
            " holds ", bytes.ElementLength(), " bytes, expected ", picture.width, " x ", picture.height, " x 3");
    picture.frames.push_back(bytes.Data());
  }
  Napi::Value patches = input.Get("patches");
  picture.with_patches = patches.IsObject();
  if (!picture.with_patches) return picture;
  const auto json = to_json(patches);
  PatchLayout& layout = picture.layout;
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
    result.resized.resize(frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
      result.resized[i].resize(bytes);
      resize(result.resized[i].data(), picture.to_width, picture.to_height, frames[i], picture.width, picture.height,
             picture.filter);
      frames[i] = result.resized[i].data();
    }
  }
  if (picture.with_patches) {
    const PatchLayout& layout = picture.layout;
    const int frame_count = int(frames.size());
    const size_t slices = size_t((frame_count + layout.temporal_patch_size - 1) / layout.temporal_patch_size);
    result.patches.resize(bytes * slices * size_t(layout.temporal_patch_size));
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
        if (picture.with_patches) object.Set("patches", to_js(env, result->patches));
        if (picture.keep_resized) {
          Napi::Array frames = Napi::Array::New(env, result->resized.size());
          for (uint32_t i = 0; i < result->resized.size(); ++i) {
            Napi::Uint8Array bytes = Napi::Uint8Array::New(env, result->resized[i].size());
            std::memcpy(bytes.Data(), result->resized[i].data(), result->resized[i].size());
            frames.Set(i, bytes);
          }
          object.Set("resized", frames);
        }
        return object;
      });
}

}  // namespace vlm2vec
