stackdrain_library(stackdrain_program SOURCES program.cc mutator.cc LIBS stackdrain_target)
stackdrain_test(program_test SOURCES program_test.cc mutator_test.cc LIBS stackdrain_program)
# AFL++ itself loads it, so it is built as the tool is and not as a harness; its sources once more, as code that can be moved.
add_library(afl_mutator MODULE EXCLUDE_FROM_ALL afl_mutator.cc mutator.cc program.cc)
target_link_libraries(afl_mutator PRIVATE stackdrain_flags)
add_library(afl_schedule_mutator MODULE EXCLUDE_FROM_ALL afl_mutator.cc schedule_mutator.cc mutator.cc program.cc)
target_compile_definitions(afl_schedule_mutator PRIVATE STACKDRAIN_SCHEDULES=1)
target_link_libraries(afl_schedule_mutator PRIVATE stackdrain_flags)
