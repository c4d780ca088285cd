# Tests: one doctest binary per layer (creel_test), and scripts that drive whole programs (creel_script_test). Both are
# listed by ctest and run by tests/run.py. A test carries its folders under tests/ as labels, and the targets
# test-LABEL build what a label's tests need; test-all builds all.
include_guard()

function(creel_test_labels name targets labels_out)
  file(RELATIVE_PATH folder "${PROJECT_SOURCE_DIR}/tests" "${CMAKE_CURRENT_SOURCE_DIR}")
  string(REPLACE "/" ";" labels "${folder}")
  list(APPEND labels ${name})
  list(REMOVE_DUPLICATES labels)
  foreach(label IN LISTS labels ITEMS all)
    if(NOT TARGET test-${label})
      add_custom_target(test-${label})
    endif()
    if(targets)
      add_dependencies(test-${label} ${targets})
    endif()
  endforeach()
  set(${labels_out} "${labels}" PARENT_SCOPE)
endfunction()

# creel_test(NAME [LINKS target…] [SOURCES file…] [TIMEOUT seconds])
#
# One binary from the *_test.cpp beside and below the calling CMakeLists.txt. Test cases that take over a second stand in
# the doctest suite "slow". Left out where a linked layer is (no LibTorch).
function(creel_test name)
  cmake_parse_arguments(arg "TORCH" "TIMEOUT" "LINKS;SOURCES" ${ARGN})
  foreach(link IN LISTS arg_LINKS)
    if(link MATCHES "^creel::" AND NOT TARGET ${link})
      message(STATUS "Tests of ${name} are left out: they need ${link}")
      return()
    endif()
  endforeach()
  if(NOT arg_SOURCES)
    file(GLOB_RECURSE arg_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp")
  endif()
  add_executable(creel_${name}_test ${arg_SOURCES})
  target_link_libraries(creel_${name}_test PRIVATE creel_options creel_test_support ${arg_LINKS})
  target_compile_options(creel_${name}_test PRIVATE -O1) # a third of the compiler's time; what is tested is -O2
  creel_test_labels(${name} creel_${name}_test labels)
  add_test(NAME ${name} COMMAND creel_${name}_test)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${labels}" ENVIRONMENT CREEL_TEST_KIND=doctest)
endfunction()

# creel_script_test(NAME COMMAND command… [NEEDS target…] [SLOW] [TIMEOUT seconds])
#
# One test case: passes with exit code 0, is skipped with 77 (its last line says why), fails otherwise. It runs in an empty
# temporary folder with CREEL_SOURCE_DIR and CREEL_BUILD_DIR set. Left out where a needed target is.
function(creel_script_test name)
  cmake_parse_arguments(arg "SLOW" "TIMEOUT" "COMMAND;NEEDS" ${ARGN})
  foreach(target IN LISTS arg_NEEDS)
    if(NOT TARGET ${target})
      message(STATUS "Test ${name} is left out: it needs ${target}")
      return()
    endif()
  endforeach()
  creel_test_labels(${name} "${arg_NEEDS}" labels)
  if(arg_SLOW)
    list(APPEND labels slow)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${labels}" SKIP_RETURN_CODE 77
    ENVIRONMENT "CREEL_TEST_KIND=script;CREEL_SOURCE_DIR=${PROJECT_SOURCE_DIR};CREEL_BUILD_DIR=${PROJECT_BINARY_DIR}")
endfunction()
