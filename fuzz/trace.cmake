# Reads real traces; wants zstd, so it is no part of a fuzzer.
if(STACKDRAIN_TOOLS)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
  add_library(stackdrain_trace STATIC trace.cc replay.cc)
  target_link_libraries(stackdrain_trace PUBLIC stackdrain_target PRIVATE PkgConfig::ZSTD)
  stackdrain_test(trace_test SOURCES trace_test.cc replay_test.cc LIBS stackdrain_trace)
endif()
