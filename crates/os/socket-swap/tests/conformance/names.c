/* Calls under the other names that libc has for them, and processes that are made without `fork`. */
#include "harness.h"
#include <sched.h>
#include <sys/mman.h>

extern ssize_t __read(int fd, void *to, size_t count);
extern ssize_t __write(int fd, const void *from, size_t count);
extern ssize_t __send(int fd, const void *from, size_t count, int flags);
extern int __close(int fd);
extern int __connect(int fd, const struct sockaddr *name, socklen_t length);
extern int __dup2(int fd, int to);
extern int __fcntl(int fd, int command, ...);
extern int __poll(struct pollfd *entries, nfds_t count, int limit);
extern int __select(int count, fd_set *in, fd_set *out, fd_set *other, struct timeval *limit);
extern FILE *_IO_fdopen(int fd, const char *mode);
extern int __clone(int (*child)(void *), void *stack, int flags, void *word, ...);

static void second_names_server(int fd) {
    char bytes[32] = {0};
    hear();
    pause_ms(20);
    result("write", write(fd, "abcdefghij", 10));
    result("read", read_fully(fd, bytes, 26));
    say("%s", bytes);
    result("write", write(fd, "kl", 2));
    result("end", read(fd, bytes, 1));
    tell();
}
static void second_names_client(int fd) {
    char bytes[8] = {0};
    struct pollfd entry = {fd, POLLIN, 0};
    result("nothing", __poll(&entry, 1, 0));
    tell();
    result("poll", __poll(&entry, 1, 5000));
    say("events %x", entry.revents);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    struct timeval limit = {5, 0};
    result("select", __select(fd + 1, &in, NULL, NULL, &limit));
    say("set %d", FD_ISSET(fd, &in) != 0);
    result("read", __read(fd, bytes, 3));
    say("%s", bytes);
    struct iovec part = {bytes, 3};
    result("preadv64v2", preadv64v2(fd, &part, 1, -1, 0));
    say("%s", bytes);
    result("write", __write(fd, "by write ", 9));
    result("send", __send(fd, "by send ", 8, 0));
    struct iovec out = {(void *)"by both", 7};
    result("pwritev64v2", pwritev64v2(fd, &out, 1, -1, 0));
    result("dup2", __dup2(fd, 700));
    result("write", write(700, "!!", 2));
    result("closed", __close(700));
    result("read", read(fd, bytes, 4));
    result("read", read_fully(fd, bytes, 2));
    result("fcntl", __fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK));
    result("read", __read(fd, bytes, 1));
    result("closed", __close(fd));
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    result("same number", ends[0] == fd);
    result("write", write(ends[1], "in the pipe", 7));
    result("read", read(ends[0], bytes, 7));
    hear();
}

static void second_fdopen_server(int fd) {
    char line[64] = {0};
    FILE *stream = _IO_fdopen(fd, "r+");
    say("line %s", fgets(line, sizeof line, stream) ? line : "none");
    fputs("answer\n", stream);
    fclose(stream);
}
static void second_fdopen_client(int fd) {
    char bytes[8] = {0};
    result("write", write(fd, "question\n", 9));
    result("read", read_fully(fd, bytes, 8));
    say("%s", bytes);
}

static void second_connect_client(int fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address;
    getpeername(fd, (struct sockaddr *)&address, &length);
    result("again", __connect(fd, (struct sockaddr *)&address, length));
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    result("connect", __connect(other, (struct sockaddr *)&address, length));
    tell();
}

typedef int clone_call(int (*child)(void *), void *stack, int flags, void *word, ...);
static char child_stack[262144] __attribute__((aligned(16)));

/* A copy of the process reads and writes, and then the first one does. */
static int reads_and_writes(void *at) {
    char bytes[4] = {0};
    int fd = *(int *)at;
    return (int)(read_fully(fd, bytes, 3) + write(fd, "from clone", 10));
}
static void cloned(int fd, clone_call *call) {
    char bytes[8] = {0};
    int status, child = call(reads_and_writes, child_stack + sizeof child_stack, SIGCHLD, &fd);
    tell();
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    result("read", read_fully(fd, bytes, 3));
    say("%s", bytes);
    result("write", write(fd, "from parent", 11));
}
static void clone_client(int fd) { cloned(fd, clone); }
static void second_clone_client(int fd) { cloned(fd, __clone); }
static void clone_server(int fd) {
    char bytes[32] = {0};
    hear();
    result("write", write(fd, "abcdef", 6));
    result("read", read_fully(fd, bytes, 21));
    say("%s", bytes);
    result("end", read(fd, bytes, 1));
}

/* A copy of the process has the connection for longer than the first one, and both write at the same time, less than any buffer
   holds. */
#define WORDS 10000
static volatile int *arrived;
static int write_words(int fd, const char *word) {
    __atomic_fetch_add(arrived, 1, __ATOMIC_SEQ_CST);
    while (*arrived < 2) sched_yield();
    for (int turn = 0; turn < WORDS; turn++)
        if (write(fd, word, 5) != 5) return 1;
    return 0;
}
static int writes_longer(void *at) {
    int failed = write_words(*(int *)at, "child");
    pause_ms(60);
    return failed || write(*(int *)at, "child", 5) != 5;
}
static void cloned_and_left(int fd, clone_call *call) {
    arrived = mmap(NULL, sizeof *arrived, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status, child = call(writes_longer, child_stack + sizeof child_stack, SIGCHLD, &fd);
    result("written", write_words(fd, "first"));
    result("closed", close(fd));
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
}
static void clone_left_server(int fd) { cloned_and_left(fd, clone); }
static void second_clone_left_server(int fd) { cloned_and_left(fd, __clone); }
static void clone_left_client(int fd) {
    char word[6] = {0};
    int of_child = 0, of_first = 0;
    while (read_fully(fd, word, 5) == 5) {
        of_child += strcmp(word, "child") == 0;
        of_first += strcmp(word, "first") == 0;
    }
    say("child %d first %d", of_child, of_first);
}

const struct one_case name_cases[] = {
    {"second-names", second_names_server, second_names_client},
    {"second-fdopen", second_fdopen_server, second_fdopen_client},
    {"second-connect", idle, second_connect_client},
    {"clone", clone_server, clone_client},
    {"second-clone", clone_server, second_clone_client},
    {"clone-left", clone_left_server, clone_left_client},
    {"second-clone-left", second_clone_left_server, clone_left_client},
    {NULL, NULL, NULL},
};
