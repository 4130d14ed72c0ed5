# cmake -D build=... -D prefix=... -D config=... -P install.cmake: the build installed afresh, so that no older install
# can stand in for a file that is missing now.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE ${prefix})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${prefix} --config ${config}
  COMMAND_ERROR_IS_FATAL ANY)
