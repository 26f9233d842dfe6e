if(STACKDRAIN_TOOLS)
  find_package(absl REQUIRED)
  add_executable(stackdrain_tool stackdrain_tool.cc tool.cc files.cc replay_tool.cc explore_tool.cc explain_tool.cc bundle.cc schedule_tool.cc)
  target_link_libraries(stackdrain_tool PRIVATE stackdrain_explore stackdrain_explain stackdrain_trace absl::flags
                                                absl::flags_parse absl::flags_usage)
endif()
