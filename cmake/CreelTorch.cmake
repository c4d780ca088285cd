# The target creel_torch: LibTorch by hand. find_package(Torch) runs a CUDA probe that fails without a GPU, and its
# ${TORCH_LIBRARIES} names forty libraries where two are needed. Installed beside creelConfig.cmake as well.
if(NOT EXISTS "${CREEL_LIBTORCH}/lib/libtorch_cpu.so" OR NOT EXISTS "${CREEL_LIBTORCH}/include/ATen/core/Tensor.h")
  message(FATAL_ERROR "No LibTorch at CREEL_LIBTORCH='${CREEL_LIBTORCH}' (lib/libtorch_cpu.so or include/ATen/core/Tensor.h "
                      "is missing). ./creelw brings one; or pass -DCREEL_LIBTORCH=DIR, the folder that holds lib and include.")
endif()
if(NOT TARGET creel_torch)
  find_package(Threads REQUIRED)
  add_library(creel_torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(creel_torch SYSTEM INTERFACE
    "${CREEL_LIBTORCH}/include" "${CREEL_LIBTORCH}/include/torch/csrc/api/include")
  target_link_libraries(creel_torch INTERFACE
    "${CREEL_LIBTORCH}/lib/libtorch_cpu.so" "${CREEL_LIBTORCH}/lib/libc10.so" Threads::Threads)
  # The path is also the installed programs' (LibTorch is not copied into the prefix). libtorch_cpu.so finds its own
  # neighbours by its own rpath, so the linker needn't see them.
  target_link_options(creel_torch INTERFACE "LINKER:-rpath,${CREEL_LIBTORCH}/lib" "LINKER:--allow-shlib-undefined")
  target_compile_definitions(creel_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1 AT_PER_OPERATOR_HEADERS)
endif()
