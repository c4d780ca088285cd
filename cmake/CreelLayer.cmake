# creel_layer(NAME [TORCH] [DEPENDS target…] [LINKS target…] [REGISTER KIND])
#
# Makes the static library creel::NAME from the include/ and src/ beside the calling CMakeLists.txt. DEPENDS are public
# (their headers show in ours), LINKS private. Each layer has an include root of its own, so that including upward
# fails: the folder is not on the path.
#
# creel_register(NAME DIR FUNCTION_PREFIX HEADER) turns each source's stem in DIR into a call in a generated
# register_<DIR>.cpp; a missing function is a link error. (A static initialiser in a static library is dropped by the linker.)
include_guard()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_property(GLOBAL PROPERTY CREEL_INSTALLED_LAYERS "")

function(creel_layer name)
  cmake_parse_arguments(arg "TORCH" "" "DEPENDS;LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/*.cpp" "${CMAKE_CURRENT_SOURCE_DIR}/src/*.S")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/*.hpp")
  add_library(creel_${name} STATIC ${sources})
  add_library(creel::${name} ALIAS creel_${name})
  set_target_properties(creel_${name} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME creel_${name})
  target_sources(creel_${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${CMAKE_CURRENT_SOURCE_DIR}/include" FILES ${headers})
  target_include_directories(creel_${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/src")
  target_compile_features(creel_${name} PUBLIC cxx_std_20)
  target_link_libraries(creel_${name} PUBLIC ${arg_DEPENDS} Threads::Threads PRIVATE $<BUILD_INTERFACE:creel_options> ${arg_LINKS})
  if(arg_TORCH)
    target_link_libraries(creel_${name} PUBLIC creel_torch)
    foreach(source IN LISTS sources)
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_DEFINITIONS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
    endforeach()
  endif()
endfunction()

# Lifts the ban on heavy LibTorch headers for the named sources of the calling layer.
function(creel_full_torch_headers)
  foreach(source IN LISTS ARGN)
    set_property(SOURCE "${CMAKE_CURRENT_SOURCE_DIR}/${source}" PROPERTY COMPILE_DEFINITIONS "")
  endforeach()
endfunction()

function(creel_register name dir prefix header)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/${dir}/*.cpp")
  set(declarations "")
  set(calls "")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    string(APPEND declarations "void register_${stem}(${prefix}& registry);\n")
    string(APPEND calls "  register_${stem}(registry);\n")
  endforeach()
  cmake_parse_arguments(arg "" "NAMESPACE" "" ${ARGN})
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/register_${dir}.cpp")
  file(CONFIGURE OUTPUT "${generated}" CONTENT
"// Generated from the sources in src/${dir}.
#include <${header}>
namespace ${arg_NAMESPACE} {
${declarations}
void register_${dir}(${prefix}& registry);
void register_${dir}(${prefix}& registry) {
${calls}}
}  // namespace ${arg_NAMESPACE}
")
  target_sources(creel_${name} PRIVATE "${generated}")
  get_property(torch TARGET creel_${name} PROPERTY LINK_LIBRARIES)
  if("creel_torch" IN_LIST torch)
    set_property(SOURCE "${generated}" APPEND PROPERTY COMPILE_DEFINITIONS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
  endif()
endfunction()

# One doctest binary per layer from the *_test.cpp beside the calling CMakeLists.txt; `fast` and `slow` tests apart.
function(creel_test name)
  cmake_parse_arguments(arg "TORCH" "" "LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp")
  add_executable(creel_${name}_test ${sources})
  target_link_libraries(creel_${name}_test PRIVATE creel_options creel_test_support ${arg_LINKS})
  add_test(NAME ${name} COMMAND creel_${name}_test)
endfunction()

function(creel_install_package)
  # Filled in with the install rules: see the end of this file's history.
endfunction()
