#pragma once

#include <creel/comm/group.hpp>
#include <creel/models/model.hpp>
#include <creel/models/tokenizer.hpp>
#include <creel/pipeline/config/run_config.hpp>

#include <cstdint>
#include <memory>

namespace creel::pipeline {

struct Accuracy {
  std::int64_t correct = 0;
  std::int64_t total = 0;
  double top1() const noexcept {
    return total == 0 ? 0.0 : static_cast<double>(correct) / static_cast<double>(total);
  }
};

/// Zero-shot top-1 accuracy of a dual encoder on data.eval, whose samples carry their class as `cls`: an
/// image belongs to the class whose prompt-ensembled embedding is nearest. Each rank scores its share; all
/// get the sum. Bad samples are left out. Throws Error of code Data for a label outside evaluate.classes.
Accuracy zero_shot_accuracy(models::Model& model, std::shared_ptr<const models::Tokenizer> tokenizer,
                            const RunConfig& config, comm::Group& group);

}  // namespace creel::pipeline
