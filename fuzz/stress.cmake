# Real threads on each pool: programs, which the unit tests run shortly under whatever sanitizer this build has.
foreach(stress pool_stress goroutine_stress)
  add_executable(${stress} ${stress}.cc)
  target_link_libraries(${stress} PRIVATE stackdrain_target)
  if(STACKDRAIN_TESTS)
    add_test(NAME ${stress} COMMAND ${stress} sound 20)
    # The known-bad control must be seen.
    add_test(NAME ${stress}_control COMMAND ${stress} immediate 200)
    set_tests_properties(${stress}_control PROPERTIES WILL_FAIL TRUE)
    set_tests_properties(${stress} ${stress}_control PROPERTIES TIMEOUT 600)
  endif()
endforeach()
