# creel_layer(NAME [TORCH] [DEPENDS target…] [LINKS target…])
#
# Makes the static library creel::NAME from the include/ and src/ beside the calling CMakeLists.txt (a header-only one
# without src/), and its install rules: NAME is a component of find_package(creel). DEPENDS are public (their headers
# show in ours), LINKS private. Each layer has an include root of its own, so that including upward fails: the folder is
# not on the path. TORCH layers compile against LibTorch's core headers only; without LibTorch they are left out.
#
# creel_register(NAME DIR REGISTRY HEADER NAMESPACE ns) turns each source's stem in src/DIR into a call in a generated
# register_DIR.cpp; a missing function is a link error. (A static initialiser in a static library is dropped by the linker.)
include_guard()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(CREEL_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/creel")

function(creel_layer name)
  cmake_parse_arguments(arg "TORCH" "" "DEPENDS;LINKS" ${ARGN})
  if(arg_TORCH AND NOT CREEL_WITH_TORCH)
    return()
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/*.cpp" "${CMAKE_CURRENT_SOURCE_DIR}/src/*.S")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/*.hpp")
  if(arg_TORCH)
    list(APPEND arg_DEPENDS creel_torch)
  endif()
  if(sources)
    add_library(creel_${name} STATIC ${sources})
    set(scope PUBLIC)
    target_include_directories(creel_${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/src")
    target_link_libraries(creel_${name} PRIVATE $<BUILD_INTERFACE:creel_options>)
    creel_private_links(creel_${name} ${arg_LINKS})
    if(CREEL_PCH)
      target_precompile_headers(creel_${name} PRIVATE <algorithm> <functional> <map> <memory> <string> <vector>
                                $<$<BOOL:${arg_TORCH}>:<ATen/core/Tensor.h$<ANGLE-R>>)
    endif()
  else()
    add_library(creel_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(creel::${name} ALIAS creel_${name})
  set_target_properties(creel_${name} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME creel_${name})
  target_sources(creel_${name} ${scope} FILE_SET HEADERS BASE_DIRS "${CMAKE_CURRENT_SOURCE_DIR}/include" FILES ${headers})
  target_compile_features(creel_${name} ${scope} cxx_std_20)
  target_link_libraries(creel_${name} ${scope} ${arg_DEPENDS} Threads::Threads)
  if(arg_TORCH)
    # <ATen/ATen.h> or <torch/torch.h> is an #error under this: ten seconds a source that few need.
    foreach(source IN LISTS sources)
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_DEFINITIONS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
    endforeach()
  endif()
  creel_install_layer(${name} ${arg_DEPENDS} ${arg_LINKS})
endfunction()

# Links privately; a header-only library stays a matter of our build, so that who uses the installed layer needs no
# trace of it.
function(creel_private_links target)
  foreach(link IN LISTS ARGN)
    set(header_only FALSE)
    if(TARGET ${link})
      get_target_property(type ${link} TYPE)
      get_target_property(imported ${link} IMPORTED)
      get_target_property(libraries ${link} INTERFACE_LINK_LIBRARIES)
      if(type STREQUAL "INTERFACE_LIBRARY" AND imported AND NOT libraries)
        set(header_only TRUE)
      endif()
    endif()
    if(header_only)
      target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:${link}>)
    else()
      target_link_libraries(${target} PRIVATE ${link})
    endif()
  endforeach()
endfunction()

# Install rules of one layer: archive, headers, its targets file, and creel-NAME.cmake, which finds what it links first.
function(creel_install_layer name)
  get_target_property(exported creel_${name} INTERFACE_LINK_LIBRARIES)
  set(needs "")
  foreach(link IN LISTS ARGN ITEMS Threads::Threads)
    if(link MATCHES "^creel::(.+)$")
      string(APPEND needs "include(\"\${CMAKE_CURRENT_LIST_DIR}/creel-${CMAKE_MATCH_1}.cmake\")\n")
    elseif(exported MATCHES "${link}(;|>|$)" AND NOT exported MATCHES "BUILD_INTERFACE:${link}>")
      get_property(recipe GLOBAL PROPERTY "CREEL_FIND_${link}")
      if(NOT recipe)
        message(FATAL_ERROR "creel_layer(${name}) links ${link}; declare it by creel_dependency() in cmake/CreelDeps.cmake, "
                            "so that the installed layer finds it too.")
      endif()
      string(APPEND needs "${recipe}")
    endif()
  endforeach()
  set(script "${PROJECT_BINARY_DIR}/package/creel-${name}.cmake")
  file(CONFIGURE OUTPUT "${script}" @ONLY CONTENT
"# Generated: what creel::${name} needs, then the target itself.
${needs}include(\"\${CMAKE_CURRENT_LIST_DIR}/creel-${name}-targets.cmake\")
")
  install(TARGETS creel_${name} EXPORT creel-${name} COMPONENT ${name}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT creel-${name} FILE creel-${name}-targets.cmake NAMESPACE creel:: DESTINATION ${CREEL_PACKAGE_DIR} COMPONENT ${name})
  install(FILES "${script}" DESTINATION ${CREEL_PACKAGE_DIR} COMPONENT ${name})
endfunction()

# Lifts the ban on heavy LibTorch headers for the named sources of the calling layer.
function(creel_full_torch_headers)
  foreach(source IN LISTS ARGN)
    set_property(SOURCE "${CMAKE_CURRENT_SOURCE_DIR}/${source}" PROPERTY COMPILE_DEFINITIONS "")
  endforeach()
endfunction()

function(creel_register name dir registry header)
  if(NOT TARGET creel_${name})
    return()
  endif()
  cmake_parse_arguments(arg "" "NAMESPACE" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/${dir}/*.cpp")
  set(declarations "")
  set(calls "")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    string(APPEND declarations "void register_${stem}(${registry}& registry);\n")
    string(APPEND calls "  register_${stem}(registry);\n")
  endforeach()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/register_${dir}.cpp")
  file(CONFIGURE OUTPUT "${generated}" CONTENT
"// Generated from the sources in src/${dir}.
#include <${header}>
namespace ${arg_NAMESPACE} {
${declarations}
void register_${dir}(${registry}& registry);
void register_${dir}(${registry}& registry) {
${calls}}
}  // namespace ${arg_NAMESPACE}
")
  target_sources(creel_${name} PRIVATE "${generated}")
  get_property(links TARGET creel_${name} PROPERTY LINK_LIBRARIES)
  if("creel_torch" IN_LIST links)
    set_property(SOURCE "${generated}" APPEND PROPERTY COMPILE_DEFINITIONS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
  endif()
endfunction()

# creel_program(NAME [TORCH] [LINKS target…] [SOURCES file…]): an installed executable from the src/ beside the calling
# CMakeLists.txt, or from SOURCES.
function(creel_program name)
  cmake_parse_arguments(arg "TORCH" "" "LINKS;SOURCES" ${ARGN})
  if(arg_TORCH AND NOT CREEL_WITH_TORCH)
    return()
  endif()
  if(NOT arg_SOURCES)
    file(GLOB_RECURSE arg_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/*.cpp")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE creel_options ${arg_LINKS})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)
endfunction()

# The parts of the package that belong to no layer: find_package's entry, the version, the licence, pkg-config.
function(creel_install_package)
  set(package "${PROJECT_BINARY_DIR}/package")
  configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/creelConfig.cmake.in" "${package}/creelConfig.cmake"
                                INSTALL_DESTINATION ${CREEL_PACKAGE_DIR} NO_SET_AND_CHECK_MACRO)
  # Before 1.0 a minor version may change the interface.
  write_basic_package_version_file("${package}/creelConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
  # With every layer, so that one that is installed alone (--component runtime) can be found.
  foreach(component IN LISTS CREEL_COMPONENTS ITEMS package)
    install(FILES "${package}/creelConfig.cmake" "${package}/creelConfigVersion.cmake" "${PROJECT_SOURCE_DIR}/cmake/CreelTorch.cmake"
            DESTINATION ${CREEL_PACKAGE_DIR} COMPONENT ${component})
  endforeach()
  install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT package)
  if(TARGET creel_runtime)
    # Relative to the file itself, so that the package may be moved or installed with another --prefix.
    file(RELATIVE_PATH prefix_from_pc "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    configure_file("${PROJECT_SOURCE_DIR}/cmake/creel-runtime.pc.in" "${package}/creel-runtime.pc" @ONLY)
    install(FILES "${package}/creel-runtime.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT runtime)
  endif()
endfunction()
