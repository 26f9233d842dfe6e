add_library(stackdrain_program STATIC program.cc mutator.cc)
target_link_libraries(stackdrain_program PUBLIC stackdrain_target)
stackdrain_test(program_test SOURCES program_test.cc mutator_test.cc LIBS stackdrain_program)
