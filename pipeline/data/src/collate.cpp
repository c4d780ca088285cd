#include <creel/pipeline/data/collate.hpp>

#include <algorithm>
#include <cstring>
#include <optional>

namespace creel::pipeline {
namespace {

using Rows = std::span<const Sample* const>;

Failure disagreement(const std::string& field, const Sample& a, const std::string& of_a, const Sample& b,
                     const std::string& of_b) {
  return {ErrorCode::Data, "field " + field + ": " + a.key + " has " + of_a + ", " + b.key + " has " + of_b};
}

std::string kind_of(const FieldValue* value) {
  if (value == nullptr) return "none";
  if (const auto* tensor = std::get_if<HostTensor>(value)) return tensor->describe();
  return std::holds_alternative<std::string>(*value) ? "text" : "bytes";
}

// The field's tensors, one a row, if all of them are and have the same element type and rank.
Result<std::vector<const HostTensor*>> tensors_of(const std::string& name, Rows rows) {
  std::vector<const HostTensor*> tensors;
  for (const Sample* row : rows) {
    const auto* const tensor = row->get<HostTensor>(name);
    const bool fits =
        tensor != nullptr && (tensors.empty() || (tensor->type() == tensors.front()->type() &&
                                                  tensor->shape().size() == tensors.front()->shape().size()));
    if (!fits)
      return disagreement(name, *rows.front(), kind_of(rows.front()->find(name)), *row,
                          kind_of(row->find(name)));
    tensors.push_back(tensor);
  }
  return tensors;
}

std::vector<std::int64_t> with_rows(std::size_t rows, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> whole{static_cast<std::int64_t>(rows)};
  whole.insert(whole.end(), shape.begin(), shape.end());
  return whole;
}

Result<HostTensor> stack(const std::string& name, Rows rows) {
  Result<std::vector<const HostTensor*>> tensors = tensors_of(name, rows);
  if (!tensors) return tensors.failure();
  const HostTensor& first = *tensors->front();
  HostTensor whole(first.type(), with_rows(rows.size(), first.shape()));
  std::byte* to = whole.bytes().data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const HostTensor& tensor = *(*tensors)[i];
    if (tensor.shape() != first.shape())
      return disagreement(name, *rows.front(), first.describe(), *rows[i], tensor.describe());
    if (tensor.size() > 0) std::memcpy(to, tensor.bytes().data(), tensor.bytes().size());
    to += tensor.bytes().size();
  }
  return whole;
}

// One padding element, as bytes.
template <typename T>
void fill(HostTensor& tensor, double value) {
  std::fill(tensor.values<T>().begin(), tensor.values<T>().end(), static_cast<T>(value));
}

void fill(HostTensor& tensor, double value) {
  switch (tensor.type()) {
    case ElementType::U8:
      return fill<std::uint8_t>(tensor, value);
    case ElementType::I64:
      return fill<std::int64_t>(tensor, value);
    case ElementType::F32:
      return fill<float>(tensor, value);
  }
}

// Copies a block of extents `from` into the corner of one of extents `to`, dimension by dimension.
void copy_corner(const std::byte*& source, std::byte* target, std::span<const std::int64_t> from,
                 std::span<const std::int64_t> to, std::size_t element) {
  if (from.empty()) {
    std::memcpy(target, source, element);
    source += element;
    return;
  }
  if (from.size() == 1) {
    const std::size_t bytes = static_cast<std::size_t>(from[0]) * element;
    if (bytes > 0) std::memcpy(target, source, bytes);
    source += bytes;
    return;
  }
  std::size_t stride = element;
  for (const std::int64_t extent : to.subspan(1)) stride *= static_cast<std::size_t>(extent);
  for (std::int64_t i = 0; i < from[0]; ++i) {
    copy_corner(source, target + static_cast<std::size_t>(i) * stride, from.subspan(1), to.subspan(1),
                element);
  }
}

Result<HostTensor> pad(const std::string& name, Rows rows, double value) {
  Result<std::vector<const HostTensor*>> tensors = tensors_of(name, rows);
  if (!tensors) return tensors.failure();
  std::vector<std::int64_t> largest = tensors->front()->shape();
  for (const HostTensor* tensor : *tensors) {
    for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], tensor->shape()[i]);
  }
  HostTensor whole(tensors->front()->type(), with_rows(rows.size(), largest));
  fill(whole, value);
  const std::size_t row_bytes = whole.bytes().size() / rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const HostTensor& tensor = *(*tensors)[i];
    if (tensor.size() == 0) continue;
    const std::byte* source = tensor.bytes().data();
    copy_corner(source, whole.bytes().data() + i * row_bytes, tensor.shape(), largest,
                size_of(tensor.type()));
  }
  return whole;
}

Result<std::vector<std::string>> list(const std::string& name, Rows rows) {
  std::vector<std::string> texts;
  for (const Sample* row : rows) {
    const auto* const text = row->get<std::string>(name);
    if (text == nullptr) return disagreement(name, *rows.front(), "text", *row, kind_of(row->find(name)));
    texts.push_back(*text);
  }
  return texts;
}

template <typename T>
std::optional<Failure> add(Batch& batch, const std::string& name, Result<T> field) {
  if (!field) return field.failure();
  batch.fields.emplace_back(name, *std::move(field));
  return std::nullopt;
}

}  // namespace

Result<Batch> collate(std::span<const Sample* const> rows, const CollateRules& rules) {
  Batch batch;
  batch.rows = static_cast<std::int64_t>(rows.size());
  if (rows.empty()) return batch;
  for (const Sample* row : rows) batch.keys.push_back(row->key);
  for (const auto& [name, value] : rows.front()->fields) {
    if (std::holds_alternative<Bytes>(value)) continue;
    const auto rule = rules.find(name);
    FieldCollate how;
    if (rule != rules.end()) {
      how = rule->second;
    } else if (std::holds_alternative<std::string>(value)) {
      how.policy = CollatePolicy::List;
    }
    std::optional<Failure> failure;
    switch (how.policy) {
      case CollatePolicy::Stack:
        failure = add(batch, name, stack(name, rows));
        break;
      case CollatePolicy::Pad:
        failure = add(batch, name, pad(name, rows, how.pad_value));
        break;
      case CollatePolicy::List:
        failure = add(batch, name, list(name, rows));
        break;
    }
    if (failure) return *failure;
  }
  return batch;
}

const HostTensor& Batch::tensor(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (field == name && std::holds_alternative<HostTensor>(value)) return std::get<HostTensor>(value);
  }
  throw Error("the batch has no tensor '" + std::string(name) + "'; the transforms must make it",
              ErrorCode::Data);
}

HostTensor& Batch::tensor(std::string_view name) {
  return const_cast<HostTensor&>(std::as_const(*this).tensor(name));
}

const std::vector<std::string>& Batch::texts(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (field == name && std::holds_alternative<std::vector<std::string>>(value))
      return std::get<std::vector<std::string>>(value);
  }
  throw Error("the batch has no texts '" + std::string(name) + "'; the transforms must make them",
              ErrorCode::Data);
}

bool Batch::has(std::string_view name) const noexcept {
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
}

}  // namespace creel::pipeline
