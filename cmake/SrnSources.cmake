# Run as a script, with the repository's ROOT: writes the C++ source OUT, a function that returns the digest of the native
# sources. `native.sources` in srn_kernels makes the same of those beside the package, and so tells a module of others.
file(GLOB_RECURSE files RELATIVE "${ROOT}" "${ROOT}/csrc/*.h" "${ROOT}/csrc/*.cuh" "${ROOT}/csrc/*.cpp" "${ROOT}/csrc/*.cu")
list(FILTER files EXCLUDE REGEX "^csrc/tests/|/\\.[^/]*$") # nor an editor's own
list(SORT files)
set(text "")
foreach(file IN LISTS files)
  file(SHA256 "${ROOT}/${file}" digest)
  string(APPEND text "${file} ${digest}\n")
endforeach()
string(SHA256 digest "${text}")
file(WRITE "${OUT}" "namespace srn {\nconst char* sources() { return \"${digest}\"; }\n}  // namespace srn\n")
