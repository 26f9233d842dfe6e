stackdrain_library(stackdrain_machine SOURCES machine.cc checker.cc differential.cc lock_graph.cc signature.cc explain.cc
                                      LIBS stackdrain_program)
# Programs as cooperative threads; without marks nobody would see what they come to.
add_library(stackdrain_schedule STATIC fiber.cc race.cc schedule.cc schedule_mutator.cc schedule_text.cc)
target_link_libraries(stackdrain_schedule PUBLIC stackdrain_machine${STACKDRAIN_MARKED})
stackdrain_profiled(stackdrain_schedule schedule_throughput)
if(STACKDRAIN_FUZZ_ENGINE STREQUAL "libfuzzer")
  # What watches is no part of what is explored: which of its branches are taken says nothing before it reports. Nor is
  # the machine, which says itself what it comes by (count_states): as edges too that is a feature more a branch for the
  # engine to keep accounts of, which cost a quarter of a young corpus's executions.
  set(watchers machine.cc checker.cc lock_graph.cc)
  set_property(SOURCE ${watchers} APPEND PROPERTY COMPILE_OPTIONS
               "-fno-sanitize-coverage=edge,inline-8bit-counters,pc-table,trace-cmp,indirect-calls,stack-depth")
  # ... and ASan watches the pool, not who watches it: machine, model and checker have static arrays only, whose bounds
  # UBSan holds, and ask for poison where they look at a stack (F5). The unit tests have ASan everywhere.
  # ... of UBSan it is held to what bounds and arithmetic can get wrong: its pointers are to its own members and to the
  # pool, whose addresses it is given, so none is null, askew or of something else. The unit tests have all.
  if(STACKDRAIN_SANITIZE MATCHES "undefined")
    set_property(SOURCE ${watchers} APPEND PROPERTY COMPILE_OPTIONS
                 "-fno-sanitize=null,alignment,object-size,pointer-overflow")
  endif()
  if(STACKDRAIN_SANITIZE MATCHES "address")
    set_property(SOURCE ${watchers} APPEND PROPERTY COMPILE_OPTIONS
                 "-fno-sanitize=address;-DSTACKDRAIN_ASAN=1")
  endif()
endif()
# Without yield points nothing can be interrupted.
stackdrain_test(schedule_test SOURCES schedule_test.cc race_test.cc $<$<BOOL:${STACKDRAIN_YIELDS}>:schedule_points_test.cc>
                LIBS stackdrain_schedule)
if(TARGET schedule_test)
  target_compile_definitions(schedule_test PRIVATE STACKDRAIN_CORPUS="${PROJECT_SOURCE_DIR}/corpus")
endif()
stackdrain_test(machine_test SOURCES machine_test.cc checker_test.cc demand_test.cc live_stacks_test.cc unit_set_test.cc differential_test.cc lock_graph_test.cc signature_test.cc LIBS stackdrain_machine)
