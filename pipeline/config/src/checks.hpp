#pragma once

#include "issues.hpp"
#include "keys.hpp"

#include <creel/pipeline/config/config_loader.hpp>

#include <span>

namespace creel::pipeline::detail {

/// The checks that look beyond one value: sizes that must divide, names that must exist, files that must be
/// there.
void check_values(const RunConfig& config, Issues& issues);
void check_transforms(const RunConfig& config, const TransformRules& rules, Issues& issues);
void check_files(RunConfig& config, std::span<const Key> keys, Issues& issues);

}  // namespace creel::pipeline::detail
