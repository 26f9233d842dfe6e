add_library(stackdrain_machine STATIC machine.cc checker.cc explain.cc)
target_link_libraries(stackdrain_machine PUBLIC stackdrain_program)
stackdrain_test(machine_test SOURCES machine_test.cc LIBS stackdrain_machine)

# The harnesses: one line a fuzzer. They link nothing but the C++ standard library.
set(STACKDRAIN_FUZZERS policy_fuzzer)
if(STACKDRAIN_FUZZ_ENGINE)
  foreach(fuzzer ${STACKDRAIN_FUZZERS})
    add_executable(${fuzzer} ${fuzzer}.cc)
    target_link_libraries(${fuzzer} PRIVATE stackdrain_machine)
    # clang links libFuzzer for this flag, afl-clang-fast++ its own persistent driver.
    target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
