#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace creel::models::detail {

/// `unknown model 'clp'; did you mean 'clip'? (known: clip)`
std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& known);

}  // namespace creel::models::detail
