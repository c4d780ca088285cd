# Finds what the chosen layers need, and nothing more. Debian's package names stand in creelw.
include_guard()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

if("runtime" IN_LIST CREEL_COMPONENTS)
  find_package(Boost 1.74 REQUIRED COMPONENTS context)
  pkg_check_modules(libdw REQUIRED IMPORTED_TARGET libdw libelf)
  find_package(nlohmann_json 3.11 REQUIRED)
endif()
if("scheduler" IN_LIST CREEL_COMPONENTS)
  find_package(TBB 2021 REQUIRED)
endif()
if("pipeline" IN_LIST CREEL_COMPONENTS)
  find_package(yaml-cpp REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(PNG REQUIRED)
endif()
if(CREEL_BUILD_TESTS)
  find_package(doctest REQUIRED)
endif()

# LibTorch by hand: find_package(Torch) runs a CUDA probe, and ${TORCH_LIBRARIES} names forty libraries where two
# are needed.
if("models" IN_LIST CREEL_COMPONENTS)
  if(NOT EXISTS "${CREEL_LIBTORCH}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "No LibTorch at CREEL_LIBTORCH='${CREEL_LIBTORCH}' (lib/libtorch_cpu.so is missing). "
                        "./creelw brings one; or pass -DCREEL_LIBTORCH=DIR, or -DCREEL_COMPONENTS=\"runtime;scheduler;comm\".")
  endif()
  add_library(creel_torch INTERFACE)
  target_include_directories(creel_torch SYSTEM INTERFACE
    "${CREEL_LIBTORCH}/include" "${CREEL_LIBTORCH}/include/torch/csrc/api/include")
  target_link_libraries(creel_torch INTERFACE
    "${CREEL_LIBTORCH}/lib/libtorch_cpu.so" "${CREEL_LIBTORCH}/lib/libc10.so" Threads::Threads)
  target_link_options(creel_torch INTERFACE "LINKER:-rpath,${CREEL_LIBTORCH}/lib" "LINKER:--allow-shlib-undefined")
  # The compiler keeps heavy headers out: <ATen/ATen.h> or <torch/torch.h> is an #error under these. The few sources
  # that need one lift it by creel_full_torch_headers().
  set(CREEL_TORCH_DEFINITIONS AT_PER_OPERATOR_HEADERS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
  target_compile_definitions(creel_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1 AT_PER_OPERATOR_HEADERS)
endif()
