# The C++ tests: of the CPU core, and of the GPU kernels' body on the host; with or without a sanitizer.
# docs/building.md tells how to run them.
option(SRN_TESTS "Build the C++ tests" OFF)
set(SRN_SANITIZE "" CACHE STRING "Sanitizers to build everything with: address,undefined or thread; empty: none")

if(NOT SRN_SANITIZE MATCHES "^(address,undefined|thread|)$")
  message(FATAL_ERROR "SRN_SANITIZE is \"${SRN_SANITIZE}\"; expected \"address,undefined\", \"thread\" or none")
endif()
if(SRN_SANITIZE)
  # -g1: lines, for reports. -Og compiles the kernels in half of the time of -O1, and they run nearly as fast.
  set(options -fsanitize=${SRN_SANITIZE} -fno-sanitize-recover=all -g1 -Og)
  if(SRN_SANITIZE MATCHES "undefined")
    # AddressSanitizer finds these too, and they take half of the time to compile.
    list(APPEND options -fno-sanitize=null,object-size,pointer-overflow)
  endif()
  if(SRN_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Checks as calls, not in line: the kernels are unrolled so far that GCC takes half as long again for the latter.
    list(APPEND options --param=asan-instrumentation-with-call-threshold=0)
  endif()
  target_compile_options(srn_common INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${options}>")
  target_link_options(srn_common INTERFACE -fsanitize=${SRN_SANITIZE})
endif()

if(SRN_TESTS)
  enable_testing()
  add_custom_target(srn_tests)

  # One program with every instruction set, as in the Python module; dispatch.cpp takes the one that a test names.
  add_executable(srn_core_test csrc/tests/core_test.cpp)
  target_link_libraries(srn_core_test PRIVATE srn_common srn_cpu)
  add_dependencies(srn_tests srn_core_test)
  if(SRN_SANITIZE STREQUAL "thread")
    target_sources(srn_core_test PRIVATE csrc/tests/omp_shim.cpp) # found before libgomp's functions of the same names
  endif()

  # The body of the persistent GPU kernels, its blocks as threads of the host.
  find_package(Threads REQUIRED)
  add_executable(srn_persistent_test csrc/tests/persistent_test.cpp)
  target_link_libraries(srn_persistent_test PRIVATE srn_common Threads::Threads)
  add_dependencies(srn_tests srn_persistent_test)
  add_test(NAME srn_persistent_test COMMAND srn_persistent_test)
  # And the Python binding over it, which the backend's tests import.
  pybind11_add_module(srn_persistent_host MODULE NO_EXTRAS EXCLUDE_FROM_ALL csrc/tests/persistent_host.cpp
                      csrc/python/cuda.cpp)
  target_compile_definitions(srn_persistent_host PRIVATE SRN_STAMPS)
  target_link_libraries(srn_persistent_host PRIVATE srn_common Threads::Threads)

  foreach(isa IN LISTS SRN_CPU_ISAS)
    target_link_libraries(srn_core_test PRIVATE srn_cpu_${isa})
    add_test(NAME srn_core_test_${isa} COMMAND srn_core_test)
    set_tests_properties(srn_core_test_${isa} PROPERTIES ENVIRONMENT SRN_KERNELS_ISA=${isa} SKIP_RETURN_CODE 77)

    add_executable(srn_elementary_test_${isa} csrc/tests/elementary_test.cpp)
    target_compile_definitions(srn_elementary_test_${isa} PRIVATE SRN_ISA=${isa})
    target_compile_options(srn_elementary_test_${isa} PRIVATE ${SRN_FLAGS_${isa}})
    target_link_libraries(srn_elementary_test_${isa} PRIVATE srn_common)
    add_dependencies(srn_tests srn_elementary_test_${isa})
    add_test(NAME srn_elementary_test_${isa} COMMAND srn_elementary_test_${isa})
    set_tests_properties(srn_elementary_test_${isa} PROPERTIES SKIP_RETURN_CODE 77)
  endforeach()
endif()
