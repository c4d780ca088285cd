#pragma once

#include <creel/models/tokenizer.hpp>
#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/config/run_config.hpp>
#include <creel/pipeline/data/random_stream.hpp>
#include <creel/pipeline/data/resample.hpp>
#include <creel/pipeline/data/sample.hpp>
#include <creel/runtime/result.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

/// Memory that a thread keeps between samples. Each loader thread has its own; a transform may use it, not
/// rely on it.
struct Scratch {
  Resampler resampler;
};

/// What transforms may need from outside, given once for a chain.
struct TransformResources {
  std::shared_ptr<const models::Tokenizer>
      tokenizer;  ///< null: CLIP's own is loaded if a transform wants one
};

/// One step of turning a stored sample into a row. An object serves all threads: apply() is const, and what
/// varies comes from `random`, which belongs to this transform of this sample.
class Transform {
 public:
  virtual ~Transform() = default;
  /// The field it works on, and the one it makes; a chain is checked by them before it runs.
  virtual std::string_view needs() const noexcept = 0;
  virtual std::string_view makes() const noexcept = 0;
  virtual void prepare(TransformResources&) {}
  /// Changes the sample; a Failure is the sample's fault.
  virtual std::optional<Failure> apply(Sample& sample, RandomStream& random, Scratch& scratch) const = 0;
};

/// The transforms of a config in their order: `decode | resize(32) | normalize(0.5, 0.5) | tokenize(bpe,
/// 16)`.
class TransformChain {
 public:
  /// Checks names, arguments and order; throws ConfigError at the call's place in `file`.
  explicit TransformChain(const std::vector<TransformCall>& calls, TransformResources resources = {},
                          const std::string& file = {});
  TransformChain(TransformChain&&) noexcept = default;
  ~TransformChain();

  /// Runs all of them on `sample`. Randomness is a function of (seed, sample.epoch, sample.index, place in
  /// the chain). The Failure names the transform. May be called by any number of threads, each with its own
  /// scratch.
  std::optional<Failure> apply(Sample& sample, std::uint64_t seed, Scratch& scratch) const;

 private:
  struct Link {
    std::string name;
    std::unique_ptr<Transform> transform;
  };
  std::vector<Link> links_;
};

/// Names of all transforms, sorted.
std::vector<std::string> transform_names();

/// Everything that is wrong with a chain: names, arguments, and a transform whose field nothing before it has
/// made. Loads nothing. After a call that is wrong in itself the order is not judged.
std::vector<TransformMistake> check_transforms(const std::vector<TransformCall>& calls);

}  // namespace creel::pipeline
