#include "gauge_registry.hpp"

#include <pthread.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace creel {

Gauge::Gauge(std::string name, std::function<std::int64_t()> read)
    : name_("creel." + std::move(name)), read_(std::move(read)) {
  const auto readable = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
  };
  std::replace_if(
      name_.begin(), name_.end(), [&](char c) { return !readable(static_cast<unsigned char>(c)); }, '_');
  GaugeRegistry::instance().add(*this);
}

Gauge::~Gauge() { GaugeRegistry::instance().remove(*this); }

GaugeRegistry& GaugeRegistry::instance() noexcept {
  static GaugeRegistry* const registry = [] {
    ::pthread_atfork([] { instance().lock_.lock(); }, [] { instance().lock_.unlock(); },
                     [] { instance().lock_.unlock(); });
    return new GaugeRegistry;  // never freed: gauges may be static objects
  }();
  return *registry;
}

void GaugeRegistry::add(Gauge& gauge) {
  const std::lock_guard guard{lock_};
  gauge.place_ = gauges_.size();
  gauges_.push_back(&gauge);
}

void GaugeRegistry::remove(const Gauge& gauge) noexcept {
  const std::lock_guard guard{lock_};
  gauges_.back()->place_ = gauge.place_;
  gauges_[gauge.place_] = gauges_.back();
  gauges_.pop_back();
}

std::map<std::string, std::int64_t> GaugeRegistry::read() const {
  std::map<std::string, std::int64_t> values;
  const std::lock_guard guard{lock_};
  for (const Gauge* gauge : gauges_) {
    std::int64_t value = 0;
    try {
      value = gauge->read_();
    } catch (...) {  // a number nobody can tell is none
    }
    values[gauge->name_] += value;
  }
  return values;
}

}  // namespace creel
