# The installed package: library, headers, and what find_package(moe_act CONFIG) reads. The same three folders under an
# install prefix and inside the Python package.

include(CMakePackageConfigHelpers)
if(SKBUILD)
  set(CMAKE_INSTALL_LIBDIR lib)
endif()
set(moe_act_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moe_act)

install(TARGETS moe_act EXPORT moe_act_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/moe_act DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT moe_act_targets NAMESPACE moe_act:: FILE moe_actTargets.cmake DESTINATION ${moe_act_config_dir})

file(WRITE ${PROJECT_BINARY_DIR}/moe_actConfig.cmake "include(\"\${CMAKE_CURRENT_LIST_DIR}/moe_actTargets.cmake\")\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moe_actConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moe_actConfig.cmake ${PROJECT_BINARY_DIR}/moe_actConfigVersion.cmake
  DESTINATION ${moe_act_config_dir})
