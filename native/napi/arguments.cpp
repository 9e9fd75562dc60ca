#include "napi/arguments.h"

#include <cstring>

namespace vlm2vec {

nlohmann::json to_json(Napi::Value value) {
  require(value.IsObject(), "E_OPTION", "expected an object of options");
  Napi::Object json = value.Env().Global().Get("JSON").As<Napi::Object>();
  Napi::Value text = json.Get("stringify").As<Napi::Function>().Call(json, {value});
  return nlohmann::json::parse(text.As<Napi::String>().Utf8Value());
}

namespace {

Napi::TypedArray typed_array(Napi::Object object, const char* name, napi_typedarray_type type, const char* type_name) {
  Napi::Value value = object.Get(name);
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type, "E_SHAPE", "\"", name,
          "\" is no ", type_name);
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

// The length of a row of patches is the model's to check, but for being the same in all.
void add_patches(Batch& batch, Napi::Value value) {
  require(value.IsArray(), "E_SHAPE", "\"patches\" is no array");
  const Napi::Array arrays = value.As<Napi::Array>();
  require(int64_t(arrays.Length()) == batch.image_count, "E_BATCH", "patches holds ", arrays.Length(), " arrays for ",
          batch.image_count, " pictures");
  for (int64_t i = 0; i < batch.image_count; ++i) {
    const Napi::Value each = arrays.Get(uint32_t(i));
    require(each.IsTypedArray() && each.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array, "E_SHAPE",
            "the patches of picture ", i, " are no Float32Array");
    const auto numbers = each.As<Napi::Float32Array>();
    const int64_t size = int64_t(numbers.ElementLength()), count = batch.patches_of(i);
    require(count > 0 && size % count == 0 && (i == 0 || size / count == batch.patch_values), "E_BATCH", "picture ", i,
            " has ", size, " numbers for ", count, " patches", i == 0 ? "" : ", unlike the first one");
    batch.patch_values = size / count;
    batch.patch_count += count;
    batch.patches.push_back(numbers.Data());
  }
}

}  // namespace

Batch batch_argument(Napi::Value value) {
  require(value.IsObject(), "E_BATCH", "expected a batch");
  Napi::Object object = value.As<Napi::Object>();
  const IntArray tokens = int_array(object, "tokens"), starts = int_array(object, "seqStarts"),
                 positions = int_array(object, "positions"), grids = int_array(object, "grids");
  require(starts.size >= 1, "E_BATCH", "seqStarts is empty");
  require(positions.size == 3 * tokens.size, "E_BATCH", "positions holds ", positions.size, " numbers, expected 3 x ",
          tokens.size);
  require(grids.size % 3 == 0, "E_BATCH", "grids holds ", grids.size, " numbers, no multiple of 3");
  Batch batch;
  batch.tokens = tokens.data;
  batch.seq_starts = starts.data;
  batch.positions = positions.data;
  batch.grids = grids.data;
  batch.token_count = tokens.size;
  if (const auto rows = optional_int_array(object, "featureRows")) {
    static const int32_t none = 0;  // an empty array may have no address
    batch.feature_rows = rows->size > 0 ? rows->data : &none;
    batch.feature_row_count = rows->size;
  }
  batch.sequence_count = starts.size - 1;
  batch.image_count = grids.size / 3;
  add_patches(batch, object.Get("patches"));
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
