// Decoded pictures to prepared ones, and these to patches, on the picture threads (src/native/images.ts).
#include "napi/exports.h"
#include "ops/resize.h"
#include "ops/tiles.h"

namespace vlm2vec {

namespace {

constexpr int64_t kLargestSide = 1 << 20;

// (height, width, 3) bytes
struct Frame {
  const uint8_t* pixels;
  int width, height;
};

struct Frames {
  std::vector<Frame> frames;
  int width, height;  // to be
  Filter filter;
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

Frame frame_argument(Napi::Value value, const std::string& name) {
  require(value.IsObject(), "E_SHAPE", name, " is no object");
  const Napi::Object object = value.As<Napi::Object>();
  Frame frame{nullptr, side(object, "width"), side(object, "height")};
  const Napi::Value data = object.Get("data");
  require(data.IsTypedArray() && data.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "E_SHAPE", name,
          " has no Uint8Array of data");
  const auto bytes = data.As<Napi::Uint8Array>();
  require(int64_t(bytes.ElementLength()) == int64_t(frame.width) * frame.height * 3, "E_SHAPE", name, " holds ",
          bytes.ElementLength(), " bytes, expected ", frame.width, " x ", frame.height, " x 3");
  frame.pixels = bytes.Data();
  return frame;
}

Frames frames_argument(Napi::Object input) {
  Frames frames{
      {}, side(input, "toWidth"), side(input, "toHeight"), filter_argument(input.Get("filter").ToString().Utf8Value())};
  require(input.Get("frames").IsArray(), "E_SHAPE", "frames is no array");
  const Napi::Array array = input.Get("frames").As<Napi::Array>();
  require(array.Length() > 0, "E_SHAPE", "frames is empty");
  for (uint32_t i = 0; i < array.Length(); ++i)
    frames.frames.push_back(frame_argument(array.Get(i), "frame " + std::to_string(i)));
  return frames;
}

// Runs `make` on the picture threads; the promise is of what it returns.
template <typename T>
Napi::Value run(const Napi::CallbackInfo& info, std::function<Written<T>()> make) {
  auto result = std::make_shared<Written<T>>();
  Environment& environment = Environment::of(info.Env());
  return environment.run(
      info.Env(), environment.pictures(), info[0], [make, result] { *result = make(); },
      [result](Napi::Env env) { return take_to_js(env, std::move(*result)); });
}

}  // namespace

Napi::Value prepare_image(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "prepareImage: expected an object");
  return run<uint8_t>(info, [frames = frames_argument(info[0].As<Napi::Object>())] {
    const size_t bytes = size_t(frames.width) * size_t(frames.height) * 3;
    Written<uint8_t> result(bytes * frames.frames.size());
    uint8_t* to = result.data();
    for (const Frame& frame : frames.frames) {
      resize(to, frames.width, frames.height, frame.pixels, frame.width, frame.height, frames.filter);
      to += bytes;
    }
    return result;
  });
}

Napi::Value patchify_export(const Napi::CallbackInfo& info) {
  return run<float>(info, [picture = picture_argument(info[0])] {
    const int64_t count = picture.patches(), values = picture.layout.values();
    Written<float> result(size_t(count * values));
    const auto thread = Device::cpu(1);
    patchify(Tensor(*thread, result.data(), DType::F32, {count, values}), {picture});
    return result;
  });
}

namespace {

struct Tiles {
  Frame picture;
  int to_width, to_height, tile;
  bool transposed, interpolated;
  Filter filter;
  Canvas canvas;
};

Tiles tiles_argument(Napi::Object input) {
  Tiles tiles;
  tiles.picture = frame_argument(input.Get("picture"), "picture");
  tiles.to_width = side(input, "toWidth");
  tiles.to_height = side(input, "toHeight");
  tiles.tile = side(input, "tile");
  tiles.transposed = input.Get("transposed").ToBoolean();
  tiles.interpolated = input.Get("overview").ToString().Utf8Value() == "interpolated";
  tiles.filter = filter_argument(input.Get("filter").ToString().Utf8Value());
  const auto canvas = to_json(input.Get("canvas"));
  tiles.canvas = {field<int>(canvas, "width"), field<int>(canvas, "height"), field<int>(canvas, "left"),
                  field<int>(canvas, "top"), field<uint8_t>(canvas, "fill")};
  const auto whole = [&](int length) { return length > 0 && length <= kLargestSide && length % tiles.tile == 0; };
  require(whole(tiles.canvas.width) && whole(tiles.canvas.height), "E_SHAPE", "a canvas of ", tiles.canvas.width, " x ",
          tiles.canvas.height, " cannot be cut into tiles of ", tiles.tile);
  return tiles;
}

// The picture at its new size.
Written<uint8_t> resized(const Tiles& tiles) {
  const auto [pixels, width, height] = tiles.picture;
  Written<uint8_t> to(size_t(tiles.to_width) * size_t(tiles.to_height) * 3);
  if (!tiles.transposed) {
    resize(to.data(), tiles.to_width, tiles.to_height, pixels, width, height, tiles.filter);
    return to;
  }
  Written<uint8_t> lying(size_t(width) * size_t(height) * 3), small(to.size);
  transpose_pixels(lying.data(), pixels, width, height);
  resize(small.data(), tiles.to_height, tiles.to_width, lying.data(), height, width, tiles.filter);
  transpose_pixels(to.data(), small.data(), tiles.to_height, tiles.to_width);
  return to;
}

}  // namespace

Napi::Value prepare_tiles(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "prepareTiles: expected an object");
  return run<uint8_t>(info, [tiles = tiles_argument(info[0].As<Napi::Object>())] {
    const Frame& picture = tiles.picture;
    const Canvas& canvas = tiles.canvas;
    const size_t overview = tiles.interpolated ? 0 : size_t(tiles.tile) * size_t(tiles.tile) * 3;
    Written<uint8_t> result(overview + size_t(canvas.width) * size_t(canvas.height) * 3);
    if (overview > 0)
      resize(result.data(), tiles.tile, tiles.tile, picture.pixels, picture.width, picture.height, tiles.filter);
    paste(result.data() + overview, canvas, resized(tiles).data(), tiles.to_width, tiles.to_height);
    return result;
  });
}

}  // namespace vlm2vec
