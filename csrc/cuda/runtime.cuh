// CUDA's answers, checked.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace srn {
namespace SRN_ISA {
namespace persistent {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or the next call would be blamed for it
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

// Whether the driver is new enough for the CUDA that this library carries; if not, the reason.
inline bool driver_serves(std::string& reason) {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  if (driver / 1000 >= CUDART_VERSION / 1000) return true;
  if (driver == 0) {
    reason = "there is no NVIDIA driver";
    return false;
  }
  const auto release = [](int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  };
  reason = "it was built with CUDA " + release(CUDART_VERSION) + ", the driver serves CUDA " + release(driver) +
           ": build it with an older nvcc, or install a newer driver";
  return false;
}

// Makes a device the calling thread's current one, and afterwards restores the previous one.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) : device_(device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~DeviceGuard() {
    if (before_ != device_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  const int device_;
  int before_ = 0;
};

inline int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
