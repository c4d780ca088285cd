#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace fiber_programs {

using Lines = std::vector<std::string>;
/// Each returns the same lines in every run.
using Programs = std::vector<std::pair<std::string, std::function<Lines()>>>;

}  // namespace fiber_programs

namespace on_creel {
fiber_programs::Programs all();
}
namespace on_boost {  // only where CREEL_TEST_BOOST_FIBER is defined
fiber_programs::Programs all();
}
