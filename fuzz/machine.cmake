add_library(stackdrain_machine STATIC machine.cc checker.cc differential.cc lock_graph.cc explain.cc)
target_link_libraries(stackdrain_machine PUBLIC stackdrain_program)
stackdrain_test(machine_test SOURCES machine_test.cc differential_test.cc lock_graph_test.cc LIBS stackdrain_machine)
