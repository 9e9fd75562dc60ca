#include "napi/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace vlm2vec {

nlohmann::json to_json(Napi::Value value) {
  require(value.IsObject(), "E_OPTION", "expected an object of options");
  Napi::Object json = value.Env().Global().Get("JSON").As<Napi::Object>();
  Napi::Value text = json.Get("stringify").As<Napi::Function>().Call(json, {value});
  return nlohmann::json::parse(text.As<Napi::String>().Utf8Value());
}

namespace {

bool is_array(Napi::Value value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

Napi::TypedArray typed_array(Napi::Object object, const char* name, napi_typedarray_type type, const char* type_name) {
  Napi::Value value = object.Get(name);
  require(is_array(value, type), "E_SHAPE", "\"", name, "\" is no ", type_name);
  return value.As<Napi::TypedArray>();
}

}  // namespace

FloatArray float_array(Napi::Object object, const char* name) {
  auto array = typed_array(object, name, napi_float32_array, "Float32Array").As<Napi::Float32Array>();
  return {array.Data(), int64_t(array.ElementLength())};
}

IntArray int_array(Napi::Object object, const char* name) {
  auto array = typed_array(object, name, napi_int32_array, "Int32Array").As<Napi::Int32Array>();
  return {array.Data(), int64_t(array.ElementLength())};
}

std::optional<IntArray> optional_int_array(Napi::Object object, const char* name) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined() || value.IsNull()) return std::nullopt;
  return int_array(object, name);
}

namespace {

// Whether a value is one of this type, and fits it.
bool holds(const nlohmann::json& value, int32_t) {
  constexpr int64_t least = std::numeric_limits<int32_t>::min(), most = std::numeric_limits<int32_t>::max();
  return value.is_number_integer() && value >= least && value <= most;
}
bool holds(const nlohmann::json& value, float) { return value.is_number() && std::isfinite(value.get<float>()); }
bool holds(const nlohmann::json& value, const std::string&) { return value.is_string(); }
template <typename T>
bool holds(const nlohmann::json& value, const std::vector<T>&) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const nlohmann::json& each) { return holds(each, T()); });
}

// A part of the picture that messages call `name`.
template <typename T>
T part(const nlohmann::json& json, const char* key, const std::string& name) {
  const auto at = json.find(key);
  require(at != json.end() && holds(*at, T()), "E_BATCH", name, ": \"", key, "\" is missing or has the wrong type");
  return at->get<T>();
}

PatchLayout layout_argument(Napi::Value value, const std::string& name) {
  require(value.IsObject(), "E_BATCH", name, " has no layout");
  const auto json = to_json(value);
  PatchLayout layout;
  layout.patch_size = part<int>(json, "patchSize", name);
  layout.temporal_patch_size = part<int>(json, "temporalPatchSize", name);
  layout.merge_size = part<int>(json, "mergeSize", name);
  const auto mean = part<std::vector<float>>(json, "mean", name), std = part<std::vector<float>>(json, "std", name);
  require(mean.size() == 3 && std.size() == 3 && *std::min_element(std.begin(), std.end()) > 0, "E_BATCH", name,
          ": mean and std must hold 3 numbers each, those of std above 0");
  std::copy(mean.begin(), mean.end(), layout.mean);
  std::copy(std.begin(), std.end(), layout.std);
  return layout;
}

// All but the layout, which pictures share.
Picture picture_without_layout(Napi::Object object, const std::string& name) {
  Picture picture;
  const Napi::Value pixels = object.Get("pixels"), grid = object.Get("grid"), tiles = object.Get("tiles");
  require(is_array(pixels, napi_uint8_array), "E_SHAPE", "the pixels of ", name, " are no Uint8Array");
  picture.pixels = pixels.As<Napi::Uint8Array>().Data();
  picture.size = int64_t(pixels.As<Napi::Uint8Array>().ElementLength());
  const auto sizes = part<std::vector<int32_t>>({{"grid", grid.IsArray() ? to_json(grid) : nullptr}}, "grid", name);
  require(sizes.size() == 3, "E_BATCH", name, " has a grid of ", sizes.size(), " numbers, expected 3");
  std::copy(sizes.begin(), sizes.end(), picture.grid);
  if (tiles.IsUndefined()) return picture;
  require(tiles.IsObject(), "E_BATCH", name, ": \"tiles\" is no object");
  const auto json = to_json(tiles);
  picture.tiles_wide = part<int32_t>(json, "across", name);
  require(picture.tiles_wide > 0, "E_BATCH", name, " has rows of ", picture.tiles_wide, " tiles");
  const auto overview = part<std::string>(json, "overview", name);
  picture.interpolated = overview == "interpolated";
  require(picture.interpolated || overview == "resized", "E_BATCH", name, " has an overview \"", overview,
          "\"; expected resized or interpolated");
  return picture;
}

}  // namespace

Picture picture_argument(Napi::Value value) {
  const std::string name = "the picture";
  require(value.IsObject(), "E_BATCH", name, " is no object");
  const Napi::Object object = value.As<Napi::Object>();
  Picture picture = picture_without_layout(object, name);
  picture.layout = layout_argument(object.Get("layout"), name);
  check_picture(picture, name);
  return picture;
}

static std::vector<Picture> picture_arguments(Napi::Value value) {
  require(value.IsArray(), "E_SHAPE", "\"pictures\" is no array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<Picture> pictures;
  Napi::Value layout;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const std::string name = "picture " + std::to_string(i) + " of the batch";
    const Napi::Value each = array.Get(i);
    require(each.IsObject(), "E_BATCH", name, " is no object");
    Picture picture = picture_without_layout(each.As<Napi::Object>(), name);
    const Napi::Value own = each.As<Napi::Object>().Get("layout");
    picture.layout = i > 0 && own.StrictEquals(layout) ? pictures.back().layout : layout_argument(own, name);
    layout = own;
    pictures.push_back(picture);
  }
  return pictures;
}

Batch batch_argument(Napi::Value value) {
  require(value.IsObject(), "E_BATCH", "expected a batch");
  Napi::Object object = value.As<Napi::Object>();
  const IntArray tokens = int_array(object, "tokens"), starts = int_array(object, "seqStarts"),
                 positions = int_array(object, "positions");
  require(starts.size >= 1, "E_BATCH", "seqStarts is empty");
  require(positions.size == 3 * tokens.size, "E_BATCH", "positions holds ", positions.size, " numbers, expected 3 x ",
          tokens.size);
  Batch batch;
  batch.tokens = tokens.data;
  batch.seq_starts = starts.data;
  batch.positions = positions.data;
  batch.token_count = tokens.size;
  if (const auto rows = optional_int_array(object, "featureRows")) {
    static const int32_t none = 0;  // an empty array may have no address
    batch.feature_rows = rows->size > 0 ? rows->data : &none;
    batch.feature_row_count = rows->size;
  }
  batch.sequence_count = starts.size - 1;
  batch.pictures = picture_arguments(object.Get("pictures"));
  return batch;
}

DType dtype_argument(const std::string& name) {
  if (name == "f32") return DType::F32;
  if (name == "bf16") return DType::BF16;
  fail("E_OPTION", "unknown number type \"", name, "\"; expected f32 or bf16");
}

std::vector<AdapterSpec> adapter_arguments(const nlohmann::json& json) {
  std::vector<AdapterSpec> specs;
  if (!json.contains("adapters")) return specs;
  for (const auto& adapter : json.at("adapters"))
    specs.push_back({field<std::string>(adapter, "module"), field<int64_t>(adapter, "rank"),
                     field<float>(adapter, "scale"), field<bool>(adapter, "dora")});
  return specs;
}

std::vector<Part> part_arguments(const nlohmann::json& names) {
  std::vector<Part> parts;
  for (const auto& name : names) {
    if (name == "vision")
      parts.push_back(Part::Vision);
    else if (name == "merger")
      parts.push_back(Part::Merger);
    else if (name == "text")
      parts.push_back(Part::Text);
    else
      fail("E_OPTION", "unknown part ", name.dump(), "; expected vision, merger or text");
  }
  return parts;
}

SaveArguments save_arguments(Napi::Value value) {
  const auto json = to_json(value);
  const auto dtype = field<std::string>(json, "dtype");
  return {field<std::string>(json, "path"), dtype == "base" ? DType::F32 : dtype_argument(dtype), dtype == "base"};
}

Napi::Object to_js(Napi::Env env, const MemoryUse& use) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("weights", double(use.weights));
  result.Set("packed", double(use.packed));
  result.Set("gradients", double(use.gradients));
  result.Set("optimizer", double(use.optimizer));
  result.Set("activations", double(use.activations));
  return result;
}

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values) {
  Napi::Float32Array array = Napi::Float32Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
  return array;
}

namespace {

template <typename T>
Napi::TypedArrayOf<T> take(Napi::Env env, Written<T> written) {
  const size_t size = written.size, bytes = size * sizeof(T);
  napi_value buffer;
  const napi_status status = napi_create_external_arraybuffer(
      env, written.data(), bytes, [](napi_env, void* data, void*) { delete[] static_cast<T*>(data); }, nullptr,
      &buffer);
  if (status == napi_ok) {
    written.values.release();
    return Napi::TypedArrayOf<T>::New(env, size, Napi::ArrayBuffer(env, buffer), 0);
  }
  // a runtime that keeps array buffers in a cage of its own (Electron)
  auto array = Napi::TypedArrayOf<T>::New(env, size);
  if (size > 0) std::memcpy(array.Data(), written.data(), bytes);
  return array;
}

}  // namespace

Napi::Float32Array take_to_js(Napi::Env env, Written<float> numbers) { return take(env, std::move(numbers)); }
Napi::Uint8Array take_to_js(Napi::Env env, Written<uint8_t> bytes) { return take(env, std::move(bytes)); }

}  // namespace vlm2vec
