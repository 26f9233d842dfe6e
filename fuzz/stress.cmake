# Real threads on each pool: a program, which the unit tests run shortly under whatever sanitizer this build has.
add_executable(pool_stress pool_stress.cc)
target_link_libraries(pool_stress PRIVATE stackdrain_target)
if(STACKDRAIN_TESTS)
  add_test(NAME pool_stress COMMAND pool_stress sound 20)
  # The known-bad control must be seen.
  add_test(NAME pool_stress_control COMMAND pool_stress immediate 200)
  set_tests_properties(pool_stress_control PROPERTIES WILL_FAIL TRUE)
  set_tests_properties(pool_stress pool_stress_control PROPERTIES TIMEOUT 600)
endif()
