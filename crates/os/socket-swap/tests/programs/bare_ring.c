/* bare_ring line|trip|stream SIZE COUNT [PARTS]: what two processors can do with shared memory at all, without sockets, to
   set beside what swapped sockets do. `line`: a cache line there and back; `trip`: 64 bytes there and back through two
   rings; `stream`: one way. PARTS adds what a socket needs to each write: `f` the fence that decides whether the reader
   sleeps, `l` a lock, `r` a count of users, `c` a look at the coarse clock; and `n`: 2 KiB and more are
   copied in past the caches, as swapped sockets do. */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNREAD_MAX (128 * 1024u)
#define RING (256 * 1024u)
#define PIECE (16 * 1024u)
#define BYTES_MAX (64 * 1024)
#define APART 24

struct ring {
    _Alignas(128) _Atomic uint64_t written;
    _Alignas(128) _Atomic uint64_t read;
    _Alignas(128) _Atomic uint64_t asleep;
    _Alignas(4096) char bytes[RING];
};

static struct ring *rings;
static char bytes[BYTES_MAX];
static int fences, locks, counts, clocks, past_caches;
static _Atomic uint64_t lock, users = 1;
static uint64_t seen;

static void stay_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void copy(char *ring, uint64_t position, char *other, size_t count, int in) {
    size_t at = position % RING, first = count < RING - at ? count : RING - at;
    if (in && past_caches && count >= 2048 && first == count && at % 64 == 0 && count % 64 == 0) {
        for (size_t place = 0; place < count; place += 16)
            _mm_stream_si128((__m128i *)(ring + at + place), _mm_loadu_si128((const __m128i *)(other + place)));
        _mm_sfence();
        return;
    }
    memcpy(in ? ring + at : other, in ? other : ring + at, first);
    if (first < count) memcpy(in ? ring : other + first, in ? other + first : ring, count - first);
}

static __attribute__((noinline)) size_t put(struct ring *ring, char *from, size_t count) {
    uint64_t nobody = 0, before = atomic_load(&users);
    if (counts) atomic_compare_exchange_strong(&users, &before, before + 1);
    if (locks) atomic_compare_exchange_strong(&lock, &nobody, 1);
    if (clocks && now_ns(CLOCK_MONOTONIC_COARSE) == 0) abort();
    if (count > PIECE) count = PIECE;
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    while (UNREAD_MAX - (written - seen) < count) {
        seen = atomic_load_explicit(&ring->read, memory_order_acquire);
        __builtin_ia32_pause();
    }
    copy(ring->bytes, written, from, count, 1);
    atomic_store_explicit(&ring->written, written + count, memory_order_release);
    if (fences) atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->asleep, memory_order_acquire)) abort();
    if (locks) atomic_store_explicit(&lock, 0, memory_order_release);
    if (counts) atomic_fetch_sub(&users, 1);
    return count;
}

static __attribute__((noinline)) size_t take(struct ring *ring, char *to, size_t room, int apart) {
    uint64_t read = atomic_load_explicit(&ring->read, memory_order_relaxed), unread;
    while ((unread = atomic_load_explicit(&ring->written, memory_order_acquire) - read) == 0)
        for (int pause = 0; pause < apart; pause++) __builtin_ia32_pause();
    size_t count = unread < room ? unread : room;
    copy(ring->bytes, read, to, count, 0);
    atomic_store_explicit(&ring->read, read + count, memory_order_release);
    return count;
}

static double line(long count) {
    _Atomic uint64_t *word = &rings[0].written;
    if (fork() == 0) {
        stay_on(0);
        for (uint64_t turn = 0; turn < (uint64_t)count; turn++) {
            while (atomic_load_explicit(word, memory_order_acquire) != 2 * turn + 1) {}
            atomic_store_explicit(word, 2 * turn + 2, memory_order_release);
        }
        _exit(0);
    }
    stay_on(1);
    uint64_t began = now_ns(CLOCK_MONOTONIC);
    for (uint64_t turn = 0; turn < (uint64_t)count; turn++) {
        atomic_store_explicit(word, 2 * turn + 1, memory_order_release);
        while (atomic_load_explicit(word, memory_order_acquire) != 2 * turn + 2) {}
    }
    return (double)(now_ns(CLOCK_MONOTONIC) - began);
}

static double trip(long size, long count) {
    if (fork() == 0) {
        stay_on(0);
        for (long turn = 0; turn < count; turn++) {
            for (long done = 0; done < size;) done += (long)take(&rings[0], bytes + done, (size_t)(size - done), 1);
            put(&rings[1], bytes, (size_t)size);
        }
        _exit(0);
    }
    stay_on(1);
    uint64_t began = now_ns(CLOCK_MONOTONIC);
    for (long turn = 0; turn < count; turn++) {
        put(&rings[0], bytes, (size_t)size);
        for (long done = 0; done < size;) done += (long)take(&rings[1], bytes + done, (size_t)(size - done), 1);
    }
    return (double)(now_ns(CLOCK_MONOTONIC) - began);
}

static double stream(long size, long count) {
    int64_t total = (int64_t)size * count;
    size_t room = size < 4096 ? 4096 : (size_t)size;
    if (fork() == 0) {
        stay_on(0);
        for (int64_t done = 0; done < total;) done += (int64_t)take(&rings[0], bytes, room, size < 4096 ? APART : 1);
        _exit(0);
    }
    stay_on(1);
    uint64_t began = now_ns(CLOCK_MONOTONIC);
    for (long message = 0; message < count; message++)
        for (long done = 0; done < size;) done += (long)put(&rings[0], bytes + done, (size_t)(size - done));
    wait(NULL);
    return (double)(now_ns(CLOCK_MONOTONIC) - began);
}

int main(int number, char **words) {
    if (number < 4) return 64;
    long size = atol(words[2]), count = atol(words[3]);
    const char *parts = number > 4 ? words[4] : "";
    if (size < 1 || size > BYTES_MAX || count < 1) return 64;
    fences = strchr(parts, 'f') != NULL, locks = strchr(parts, 'l') != NULL;
    counts = strchr(parts, 'r') != NULL, clocks = strchr(parts, 'c') != NULL;
    past_caches = strchr(parts, 'n') != NULL;
    rings = mmap(NULL, 2 * sizeof *rings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (rings == MAP_FAILED) return 65;
    int is_stream = strcmp(words[1], "stream") == 0;
    double took = is_stream ? stream(size, count) : strcmp(words[1], "trip") == 0 ? trip(size, count) : line(count);
    if (is_stream) printf("%.2f M/s %.2f GB/s\n", (double)count / took * 1e3, (double)size * (double)count / took);
    else printf("%.3f us\n", took / (double)count / 1e3);
    return 0;
}
