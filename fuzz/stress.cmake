# Real threads on each pool: programs, which the unit tests run shortly under whatever sanitizer this build has.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_stress.cc)
foreach(source ${sources})
  get_filename_component(stress ${source} NAME_WE)
  add_executable(${stress} ${source})
  target_link_libraries(${stress} PRIVATE stackdrain_target)
  if(STACKDRAIN_TESTS)
    add_test(NAME ${stress} COMMAND ${stress} sound 20)
    # The known-bad control must be seen: an end with an error alone may be bad usage.
    add_test(NAME ${stress}_control COMMAND ${stress} immediate 200)
    set_tests_properties(${stress}_control PROPERTIES PASS_REGULAR_EXPRESSION "immediate +FAILS ")
    set_tests_properties(${stress} ${stress}_control PROPERTIES TIMEOUT 600)
  endif()
endforeach()
