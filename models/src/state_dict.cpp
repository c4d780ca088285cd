#include <creel/models/functional.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/error.hpp>

#include <c10/core/ScalarType.h>

#include <array>
#include <string>
#include <vector>

namespace creel::models {

namespace {

bool ignorable(std::string_view name) {
  constexpr std::array<std::string_view, 2> endings{"position_ids", "num_batches_tracked"};
  for (const std::string_view ending : endings) {
    if (name == ending || (name.size() > ending.size() && name.ends_with(ending) &&
                           name[name.size() - ending.size() - 1] == '.')) {
      return true;
    }
  }
  return false;
}

std::string shape_text(const nn::Tensor& tensor) {
  std::string text = "[";
  for (const std::int64_t extent : tensor.sizes())
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

bool converts(at::ScalarType from, at::ScalarType to) {
  return from == to || (c10::isFloatingType(from) && c10::isFloatingType(to));
}

/// The first few of many misfits say enough: a wrong model has hundreds.
class Misfits {
 public:
  void add(std::string what) {
    if (++count_ <= 8) text_ += "\n  " + what;
  }
  void throw_if_any(std::string_view origin) const {
    if (count_ == 0) return;
    const std::string more = count_ > 8 ? "\n  and " + std::to_string(count_ - 8) + " more" : "";
    throw Error(std::string(origin) + ": " + std::to_string(count_) + " tensors do not fit:" + text_ + more,
                ErrorCode::Data);
  }

 private:
  std::size_t count_ = 0;
  std::string text_;
};

}  // namespace

void load_tensors(const nn::TensorMap& destination, const nn::TensorMap& source, std::string_view origin) {
  Misfits misfits;
  for (const auto& [name, wanted] : destination) {
    const nn::Tensor found = source.find(name);
    if (!found.defined()) {
      misfits.add(name + ": missing");
    } else if (found.sizes() != wanted.sizes()) {
      misfits.add(name + ": shape " + shape_text(found) + ", expected " + shape_text(wanted));
    } else if (!converts(found.scalar_type(), wanted.scalar_type())) {
      misfits.add(name + ": type " + c10::toString(found.scalar_type()) + ", expected " +
                  c10::toString(wanted.scalar_type()));
    }
  }
  for (const auto& [name, unused] : source) {
    if (!destination.contains(name) && !ignorable(name)) misfits.add(name + ": unknown");
  }
  misfits.throw_if_any(origin);
  const nn::NoGradGuard no_grad;
  for (const auto& [name, wanted] : destination) nn::Tensor(wanted).copy_(source.at(name));
}

void load_state(nn::Module& module, const nn::TensorMap& source, std::string_view origin) {
  load_tensors(module.state(), source, origin);
}

}  // namespace creel::models
