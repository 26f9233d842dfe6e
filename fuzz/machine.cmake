add_library(stackdrain_machine STATIC machine.cc checker.cc explain.cc)
target_link_libraries(stackdrain_machine PUBLIC stackdrain_program)
stackdrain_test(machine_test SOURCES machine_test.cc LIBS stackdrain_machine)

# The harnesses: one file each. They link nothing but the C++ standard library.
if(STACKDRAIN_FUZZ_ENGINE)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_fuzzer.cc)
  foreach(source ${sources})
    get_filename_component(fuzzer ${source} NAME_WE)
    add_executable(${fuzzer} ${source})
    target_link_libraries(${fuzzer} PRIVATE stackdrain_machine)
    # clang links libFuzzer for this flag, afl-clang-fast++ its own persistent driver; OSS-Fuzz says what it wants.
    if(DEFINED ENV{LIB_FUZZING_ENGINE})
      target_link_libraries(${fuzzer} PRIVATE $ENV{LIB_FUZZING_ENGINE})
    else()
      target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer)
    endif()
  endforeach()
endif()
