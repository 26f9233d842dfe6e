# Exhaustive search; keeps what it has seen, so it is no part of a fuzzer.
add_library(stackdrain_explore STATIC stepper.cc explore.cc)
target_link_libraries(stackdrain_explore PUBLIC stackdrain_machine)
stackdrain_test(explore_test SOURCES stepper_test.cc explore_test.cc LIBS stackdrain_explore)
