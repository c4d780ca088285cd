# Compiler, warnings, sanitizers: what every target of the house is built with.
include_guard()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON) # the CUDA plugin and the Python module link the layers
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

option(CREEL_WERROR "Turn warnings into errors" OFF)
option(CREEL_PCH "Precompile the heavy headers (hides missing includes: for a quick build only)" OFF)
set(CREEL_SANITIZE "" CACHE STRING "Sanitizers: address;undefined or thread")
option(CREEL_ASSERTS "Check CREEL_ASSERT conditions" OFF)
option(CREEL_PERTURB "Delay threads at synchronisation points, as CREEL_PERTURB_SEED draws it (for tests)" OFF)

find_program(CREEL_CCACHE ccache)
if(CREEL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CREEL_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CREEL_CCACHE})
endif()
find_program(CREEL_MOLD mold)

add_library(creel_options INTERFACE)
target_compile_options(creel_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor
  # g++ 12 sees overlaps in every `"text" + string` that is inlined (GCC bug 105651).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
  # Frame pointers for outside profilers; our own dumps unwind by CFI and do not need them.
  -fno-omit-frame-pointer -fasynchronous-unwind-tables
  # Line numbers in every dump, also of a release build.
  -g1
  $<$<BOOL:${CREEL_WERROR}>:-Werror>)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  target_compile_options(creel_options INTERFACE -march=x86-64-v2)
endif()
if(CREEL_MOLD)
  target_link_options(creel_options INTERFACE -fuse-ld=mold)
endif()
if(CREEL_ASSERTS)
  target_compile_definitions(creel_options INTERFACE CREEL_ASSERTS=1)
endif()
if(CREEL_PERTURB)
  target_compile_definitions(creel_options INTERFACE CREEL_PERTURB=1)
endif()
if(CREEL_SANITIZE)
  list(JOIN CREEL_SANITIZE "," _sanitizers)
  # Globally, not per target: a program mixes instrumented and plain objects at its peril.
  add_compile_options(-fsanitize=${_sanitizers} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${_sanitizers})
endif()
