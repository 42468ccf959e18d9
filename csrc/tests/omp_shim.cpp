// The three entry points of libgomp that the kernels call, on std::thread. ThreadSanitizer knows when a std::thread
// starts and ends; libgomp is not compiled with it, and every use of a thread of its pool looks like a race.
#include <thread>
#include <vector>

namespace {
thread_local int thread_number = 0, team_size = 1;
}

extern "C" {

void GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned) {
  const int size = threads == 0 ? 1 : int(threads);
  const auto run = [=](int number) {
    thread_number = number, team_size = size;
    work(data);
    thread_number = 0, team_size = 1;
  };
  std::vector<std::thread> others;
  for (int number = 1; number < size; ++number) others.emplace_back(run, number);
  run(0);
  for (std::thread& other : others) other.join();
}

int omp_get_thread_num() { return thread_number; }
int omp_get_num_threads() { return team_size; }

}  // extern "C"
