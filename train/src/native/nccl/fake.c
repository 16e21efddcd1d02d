// NCCL's functions in memory, for tests: all ranks have the same tensors.
#include <stddef.h>
#include <string.h>

typedef struct { char internal[128]; } Id;
typedef struct { int size, in_group, begun, error; } Comm;
static Comm only;

int ncclGetUniqueId(Id *id) {
  for (int i = 0; i < 128; ++i) id->internal[i] = (char)i;
  return 0;
}

int ncclCommInitRank(Comm **comm, int size, Id id, int rank) {
  for (int i = 0; i < 128; ++i)
    if (id.internal[i] != (char)i) return 4;
  if (rank >= size) return 5;
  only = (Comm){.size = size};
  *comm = &only;
  return 0;
}

// Only float32 and float64, whose sum over the ranks is a multiple; 123 breaks the connection.
int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Comm *comm, void *stream) {
  if (operation != 0 || stream || (type != 7 && type != 8)) return 4;
  for (size_t i = 0; i < count; ++i) {
    if (type == 7) ((float *)to)[i] = ((const float *)from)[i] * (float)comm->size;
    if (type == 8) ((double *)to)[i] = ((const double *)from)[i] * comm->size;
  }
  if (type == 7 && count == 123) comm->error = 6;
  return 0;
}

// Only int64, which becomes the number of the root.
int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Comm *comm, void *stream) {
  if (!only.in_group || from != to || stream || type != 4) return 4;
  for (size_t i = 0; i < count; ++i) ((long long *)to)[i] = root;
  comm->begun += 1;
  return 0;
}

int ncclGroupStart(void) { only.in_group = 1; return 0; }
int ncclGroupEnd(void) { only.in_group = 0; return only.begun == 2 ? 0 : 3; }
int ncclCommGetAsyncError(Comm *comm, int *error) { *error = comm->error; return 0; }
int ncclCommAbort(Comm *comm) { memset(comm, 0, sizeof *comm); return 0; }
const char *ncclGetErrorString(int code) { return code == 6 ? "remote process exited" : "invalid argument"; }
