#pragma once

#include <string_view>

namespace creel_test {

/// Marks the running test case as skipped because of `reason`; it should return right after. With CI or
/// CREEL_NO_SKIP set, tests/run.py counts it as failed, since a machine that runs the gates has what the
/// tests need; only a reason that begins with "CUDA" is excepted.
void skip(std::string_view reason);

}  // namespace creel_test
