// A CUDA driver without a device, for tests of the host's side: the functions that the runtime calls, with the signatures of `cuda.h`. Device memory is host memory.
// All work on the stream is queued and done when something waits for it, the latest moment that the documentation allows: copies from page-locked memory read it
// then, so reusing a buffer too early shows as wrong numbers. What a capture refuses is refused. FAKE_FAULT is `function:n:code`: the n-th call of the function
// fails with that code; 700 loses the device. FAKE_old, FAKE_missing and FAKE_v1_elapsed make drivers of other versions. At the end the number of things not given back is written to FAKE_LOG.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

typedef int Result;
typedef unsigned long long Address;

namespace {
struct Event {
    bool timed = false, recorded = false, done = true;
    long records = 0;
    double time = 0;
};
struct Function {
    std::string name;
    int shared = 48 << 10;
};
struct Module {
    std::map<std::string, Function*> functions;
};
typedef std::vector<std::function<void()>> List;

bool lost = false, capturing = false, retained = false;
void* current = nullptr;
double now = 0;
List queue, captured;
std::set<void*> held;
std::map<Address, size_t> memory;
std::map<std::string, int> calls;
char context_object;

std::string fault() { const char* text = getenv("FAKE_FAULT"); return text ? text : ""; }

struct AtEnd {
    ~AtEnd() {
        if (const char* path = getenv("FAKE_LOG"))
            if (FILE* file = fopen(path, "w")) {
                fprintf(file, "held %zu\n", held.size() + memory.size() + (retained ? 1 : 0));
                fclose(file);
            }
    }
} at_end;

// The code to return when this call is to fail, or the device is lost, else 0.
Result enter(const char* name) {
    if (lost) return 700;
    int n = ++calls[name];
    std::string text = fault(), head = std::string(name) + ":" + std::to_string(n) + ":";
    if (text.rfind(head, 0) != 0) return 0;
    int code = atoi(text.c_str() + head.size());
    if (code == 700) lost = true;
    return code;
}
// As above, for calls that need the context.
Result enter_context(const char* name) {
    if (Result code = enter(name)) return code;
    return current == &context_object && retained ? 0 : 201;
}
void finish() {
    List work;
    work.swap(queue);
    for (auto& item : work) item();
}
bool inside(Address at, size_t bytes) {
    auto next = memory.upper_bound(at);
    if (next == memory.begin()) return false;
    --next;
    return at + bytes <= next->first + next->second;
}
void submit(std::function<void()> item) { (capturing ? captured : queue).push_back(item); }
}  // namespace

#define ENTER if (Result code = enter(__func__)) return code
#define CONTEXT if (Result code = enter_context(__func__)) return code
#define UNCAPTURED if (capturing) return 900

extern "C" {
Result cuGetErrorString(Result code, const char** text) { *text = code == 700 ? "an illegal address" : "a fault of the test"; return 0; }
Result cuDriverGetVersion(int* version) { 
#ifdef FAKE_old
    *version = 11080;
#else
    *version = 13000;
#endif
    return 0;
}
Result cuInit(unsigned) { ENTER; return 0; }
Result cuDeviceGetCount(int* count) { *count = 1; return 0; }
Result cuDeviceGet(int* device, int ordinal) { *device = 7; return ordinal == 0 ? 0 : 101; }
Result cuDeviceGetName(char* name, int size, int) { snprintf(name, size, "Fake H200"); return 0; }
Result cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = 1 << 30; return 0; }
Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    std::map<int, int> values = {{16, 132}, {38, 50 << 20}, {75, 9}, {76, 0}, {97, 232448}};
    if (device != 7 || !values.count(attribute)) return 1;
    *value = values[attribute];
    return 0;
}
Result cuDevicePrimaryCtxRetain(void** context, int) { ENTER; retained = true; *context = &context_object; return 0; }
Result cuDevicePrimaryCtxRelease_v2(int) { if (!retained) abort(); retained = false; return 0; }
Result cuCtxSetCurrent(void* context) { if (lost) return 700; current = context; return 0; }
Result cuMemGetInfo_v2(size_t* free, size_t* total) { CONTEXT; *free = 1 << 29; *total = 1 << 30; return 0; }

Result cuStreamCreate(void** stream, unsigned flags) {
    CONTEXT;
    if (flags != 1) return 1;
    held.insert(*stream = malloc(1));
    return 0;
}
Result cuStreamDestroy_v2(void* stream) { CONTEXT; if (!held.erase(stream)) abort(); free(stream); return 0; }
Result cuStreamSynchronize(void* stream) {
    CONTEXT;
    UNCAPTURED;
    if (!held.count(stream)) abort();
    finish();
    return 0;
}
Result cuStreamBeginCapture_v2(void*, int mode) { CONTEXT; UNCAPTURED; if (mode != 1) return 1; capturing = true; return 0; }
Result cuStreamEndCapture(void*, void** graph) {
    Result code = enter_context("cuStreamEndCapture");
    if (!capturing) return 903;
    capturing = false;
    List list;
    list.swap(captured);
    if (code) return code;
    held.insert(*graph = new List(list));
    return 0;
}
Result cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    CONTEXT;
    if (flags) return 1;
    held.insert(*executable = new List(*(List*)graph));
    return 0;
}
Result cuGraphDestroy(void* graph) { CONTEXT; if (!held.erase(graph)) abort(); delete (List*)graph; return 0; }
Result cuGraphExecDestroy(void* graph) { CONTEXT; if (!held.erase(graph)) abort(); delete (List*)graph; return 0; }
#ifndef FAKE_missing
Result cuGraphUpload(void*, void*) { CONTEXT; return 0; }
#endif
Result cuGraphLaunch(void* graph, void*) {
    CONTEXT;
    UNCAPTURED;
    for (auto& item : *(List*)graph) submit(item);
    return 0;
}

Result cuEventCreate(void** event, unsigned flags) {
    CONTEXT;
    Event* made = new Event;
    made->timed = flags == 0;
    held.insert(*event = made);
    return 0;
}
Result cuEventDestroy_v2(void* event) { CONTEXT; if (!held.erase(event)) abort(); delete (Event*)event; return 0; }
static Result record(Event* event) {
    event->recorded = true;
    event->done = false;
    // An event that is recorded again is past when the latest record is; a captured record counts each time it is replayed.
    const long mine = capturing ? 0 : ++event->records;
    submit([event, mine] {
        if (!mine || mine == event->records) event->done = true;
        event->time = now;
    });
    return 0;
}
// Within a capture it would order work and could not be waited for or timed, which is never meant here.
Result cuEventRecord(void* event, void*) { CONTEXT; UNCAPTURED; return record((Event*)event); }
Result cuEventRecordWithFlags(void* event, void*, unsigned flags) { CONTEXT; if (flags != 1) return 1; return record((Event*)event); }
Result cuEventSynchronize(void* handle) {
    CONTEXT;
    UNCAPTURED;
    // Work up to the event, and no further, is done: what comes after it may stay queued.
    Event* event = (Event*)handle;
    size_t k = 0;
    while (!event->done && k < queue.size()) queue[k++]();
    queue.erase(queue.begin(), queue.begin() + k);
    return event->done || !event->recorded ? 0 : 999;
}
static Result elapsed(float* milliseconds, Event* from, Event* to) {
    if (!from->timed || !to->timed || !from->recorded || !to->recorded) return 400;
    if (!from->done || !to->done) return 600;
    *milliseconds = to->time - from->time;
    return 0;
}
#ifndef FAKE_v1_elapsed
Result cuEventElapsedTime_v2(float* ms, void* from, void* to) { CONTEXT; return elapsed(ms, (Event*)from, (Event*)to); }
#endif
Result cuEventElapsedTime(float* ms, void* from, void* to) { CONTEXT; return elapsed(ms, (Event*)from, (Event*)to); }

Result cuMemHostAlloc(void** buffer, size_t bytes, unsigned) { CONTEXT; UNCAPTURED; held.insert(*buffer = malloc(bytes)); return 0; }
Result cuMemFreeHost(void* buffer) { CONTEXT; if (!held.erase(buffer)) abort(); free(buffer); return 0; }
Result cuMemAlloc_v2(Address* address, size_t bytes) {
    CONTEXT;
    UNCAPTURED;
    if (!bytes) return 1;
    void* found = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(found, 0xa5, bytes);
    memory[*address = (Address)found] = bytes;
    return 0;
}
Result cuMemFree_v2(Address address) { CONTEXT; if (!memory.erase(address)) abort(); free((void*)address); return 0; }
Result cuMemsetD8Async(Address address, unsigned char value, size_t bytes, void*) {
    CONTEXT;
    if (!inside(address, bytes)) return 1;
    submit([=] { memset((void*)address, value, bytes); });
    return 0;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void*) {
    CONTEXT;
    if (!inside(to, bytes)) return 1;
    submit([=] { memcpy((void*)to, from, bytes); });
    return 0;
}
Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void*) {
    CONTEXT;
    if (!inside(from, bytes)) return 1;
    submit([=] { memcpy(to, (void*)from, bytes); });
    return 0;
}

Result cuModuleLoadData(void** module, const void* image) {
    CONTEXT;
    UNCAPTURED;
    if (memcmp(image, "\x7f" "ELF", 4)) return 200;
    held.insert(*module = new Module);
    return 0;
}
Result cuModuleUnload(void* handle) {
    CONTEXT;
    if (!held.erase(handle)) abort();
    for (auto& item : ((Module*)handle)->functions) delete item.second;
    delete (Module*)handle;
    return 0;
}
Result cuModuleGetFunction(void** function, void* module, const char* name) {
    CONTEXT;
    Function*& found = ((Module*)module)->functions[name];
    if (!found) found = new Function{name};
    *function = found;
    return 0;
}
Result cuFuncGetAttribute(int* value, int attribute, void*) { CONTEXT; if (attribute) return 1; *value = 1024; return 0; }
Result cuFuncSetAttribute(void* function, int attribute, int value) {
    CONTEXT;
    if (attribute != 8) return 1;
    ((Function*)function)->shared = value;
    return 0;
}
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int threads, size_t) { CONTEXT; *blocks = 2048 / threads; return 0; }
Result cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void*,
                      void** parameters, void** extra) {
    CONTEXT;
    Function* function = (Function*)handle;
    if (!gx || !bx || gy != 1 || gz != 1 || by != 1 || bz != 1 || extra || (int)shared > function->shared) return 1;
    // The driver copies the arguments before it returns.
    double* arena = *(double**)parameters[0];
    const void* const* tables = *(const void* const**)parameters[1];
    size_t threads = (size_t)gx * bx;
    std::string name = function->name;
    submit([=] {
        now += 0.5;
        if (name == "twice") for (size_t k = 0; k < threads; k++) arena[k] *= 2;
        if (name == "add_table") for (size_t k = 0; k < threads; k++) arena[k] += ((const double*)tables[1])[k];
    });
    return 0;
}
}
