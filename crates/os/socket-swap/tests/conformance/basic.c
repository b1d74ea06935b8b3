/* The 27 things that a stream socket promises and that replacements of it got wrong. */
#include "harness.h"

#define BULK 524288
static void last_bytes_server(int fd) {
    static unsigned char bulk[BULK];
    fill(bulk, 0, BULK);
    result("written", write_fully(fd, bulk, BULK));
    result("closed", close(fd));
}
static void last_bytes_client(int fd) {
    static unsigned char bulk[BULK + 1];
    pause_ms(30);
    result("arrived", read_fully(fd, bulk, BULK + 1));
    say("wrong at %ld", first_wrong(bulk, 0, BULK));
    result("again", read(fd, bulk, 1));
}

static void block_in_read(int fd) {
    char bytes[64];
    tell();
    result("read", read(fd, bytes, sizeof bytes));
    result("again", read(fd, bytes, sizeof bytes));
}
static void killed_client(int fd) {
    (void)fd;
    hear();
    pause_ms(40);
    kill(getpid(), SIGKILL);
}
static void exiting_client(int fd) {
    (void)fd;
    hear();
    pause_ms(40);
    _exit(0);
}
static void closing_client(int fd) {
    hear();
    pause_ms(40);
    result("closed", close(fd));
}

static void dup_server(int fd) {
    char bytes[16] = {0};
    int copy = dup(fd);
    result("write", write(copy, "by the copy", 11));
    result("closed", close(fd));
    tell();
    result("read", read_fully(copy, bytes, 6));
    say("%s", bytes);
    result("closed copy", close(copy));
    tell();
}
static void dup_client(int fd) {
    char bytes[16] = {0};
    result("read", read_fully(fd, bytes, 11));
    say("%s", bytes);
    hear();
    result("write", write(fd, "answer", 6));
    hear();
    result("end", read(fd, bytes, 1));
}

static void writev_server(int fd) {
    struct iovec parts[3] = {{"one", 3}, {"", 0}, {"twothree", 8}};
    result("writev", writev(fd, parts, 3));
    tell();
    hear();
}
static void writev_client(int fd) {
    char first[4] = {0}, second[9] = {0};
    hear();
    struct iovec parts[2] = {{first, 3}, {second, 8}};
    result("readv", readv(fd, parts, 2));
    say("%s %s", first, second);
    tell();
}

static void peek_server(int fd) {
    result("write", write(fd, "abcdef", 6));
    hear();
}
static void peek_client(int fd) {
    char bytes[8] = {0};
    pause_ms(20);
    result("peek", recv(fd, bytes, 3, MSG_PEEK));
    say("%s", bytes);
    result("peek more", recv(fd, bytes, 7, MSG_PEEK));
    say("%s", bytes);
    memset(bytes, 0, sizeof bytes);
    result("read", read(fd, bytes, 7));
    say("%s", bytes);
    result("peek nothing", recv(fd, bytes, 7, MSG_PEEK | MSG_DONTWAIT));
    tell();
}

static void waitall_server(int fd) {
    for (int part = 0; part < 3; part++) {
        pause_ms(20);
        result("write", write(fd, "abcd" + part, 2));
    }
    hear();
    result("write", write(fd, "xy", 2));
    close(fd);
}
static void waitall_client(int fd) {
    char bytes[8] = {0};
    result("all", recv(fd, bytes, 6, MSG_WAITALL));
    say("%s", bytes);
    tell();
    result("until the end", recv(fd, bytes, 6, MSG_WAITALL));
}

static void dontwait_client(int fd) {
    char byte;
    result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    tell();
}
static void nonblock_client(int fd) {
    char byte;
    set_nonblocking(fd, 1);
    result("read", read(fd, &byte, 1));
    int copy = dup(fd);
    result("read copy", read(copy, &byte, 1));
    tell();
}
static void fionbio_client(int fd) {
    char byte;
    int on = 1;
    result("ioctl", ioctl(fd, FIONBIO, &on));
    result("read", read(fd, &byte, 1));
    result("flag", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    tell();
}

static long filled;
static void full_server(int fd) {
    static unsigned char bulk[70000];
    set_nonblocking(fd, 1);
    for (;;) {
        fill(bulk, filled, sizeof bulk);
        ssize_t count = write(fd, bulk, sizeof bulk);
        if (count < 0) break;
        filled += count;
        if (filled > 1 << 24) break;
    }
    result("full", -1);
    say("some %d", filled > 0);
    struct pollfd entry = {fd, POLLOUT, 0};
    result("poll", poll(&entry, 1, 30));
    tell();
    result("poll", poll(&entry, 1, 5000));
    say("events %x", entry.revents);
    set_nonblocking(fd, 0);
    hear();
    result("sent", write_fully(fd, &filled, sizeof filled) == sizeof filled);
}
static void full_client(int fd) {
    static unsigned char bulk[1 << 24];
    hear();
    set_nonblocking(fd, 1);
    long total = 0;
    for (;;) {
        ssize_t count = read(fd, bulk + total, sizeof bulk - (size_t)total);
        if (count <= 0) break;
        total += count;
    }
    result("empty", -1);
    say("wrong at %ld", first_wrong(bulk, 0, total));
    set_nonblocking(fd, 0);
    tell();
    long sent = 0;
    read_fully(fd, &sent, sizeof sent);
    say("all %d", sent == total);
}

static void rcvtimeo_client(int fd) {
    struct timeval limit = {0, 60000};
    char byte;
    result("set", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    long before = now_ms();
    result("read", read(fd, &byte, 1));
    long took = now_ms() - before;
    say("in time %d", took >= 55 && took < 2000);
    tell();
}

static void shutdown_server(int fd) {
    char bytes[8] = {0};
    result("write", write(fd, "bye", 3));
    result("shutdown", shutdown(fd, SHUT_WR));
    result("write", write(fd, "x", 1));
    result("read", read_fully(fd, bytes, 5));
    say("%s", bytes);
    result("end", read(fd, bytes, 1));
}
static void shutdown_client(int fd) {
    char bytes[8] = {0};
    result("read", read_fully(fd, bytes, 8));
    say("%s", bytes);
    result("write", write(fd, "still", 5));
    close(fd);
}

static void epoll_server(int fd) {
    for (int turn = 0; turn < 3; turn++) {
        hear();
        pause_ms(20);
        result("write", write(fd, "ab", 2));
    }
    hear();
    close(fd);
}
static void epoll_client(int fd) {
    char byte;
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 77}}, got;
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    result("nothing", epoll_wait(set, &got, 1, 10));
    for (int turn = 0; turn < 3; turn++) {
        tell();
        result("wait", epoll_wait(set, &got, 1, 5000));
        say("events %x data %d", got.events, (int)got.data.u64);
        result("read", read(fd, &byte, 1));
        result("level", epoll_wait(set, &got, 1, 0));
        result("read", read(fd, &byte, 1));
        result("drained", epoll_wait(set, &got, 1, 0));
    }
    tell();
    result("end", epoll_wait(set, &got, 1, 5000));
    say("events %x", got.events);
    result("read", read(fd, &byte, 1));
}

static void edge_client(int fd) {
    char bytes[8];
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 5}}, got;
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    for (int turn = 0; turn < 3; turn++) {
        tell();
        result("wait", epoll_wait(set, &got, 1, 5000));
        say("events %x", got.events);
        result("once", epoll_wait(set, &got, 1, 30));
        result("read", read(fd, bytes, 1));
        result("no news", epoll_wait(set, &got, 1, 30));
    }
    tell();
    result("end", epoll_wait(set, &got, 1, 5000));
    say("in %d hup %d", (got.events & EPOLLIN) != 0, (got.events & EPOLLHUP) != 0);
    result("read", read(fd, bytes, sizeof bytes));
    result("read", read(fd, bytes, sizeof bytes));
}

static void poll_server(int fd) {
    hear();
    pause_ms(20);
    result("write", write(fd, "z", 1));
    hear();
}
static void poll_negative_client(int fd) {
    char byte;
    struct pollfd entries[3] = {{-1, POLLIN, 7}, {fd, POLLIN, 7}, {-1, POLLOUT, 7}};
    result("nothing", poll(entries, 3, 0));
    tell();
    result("poll", poll(entries, 3, 5000));
    say("%x %x %x", entries[0].revents, entries[1].revents, entries[2].revents);
    result("read", read(fd, &byte, 1));
    tell();
}
static void poll_mixed_client(int fd) {
    char byte;
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    struct pollfd entries[2] = {{ends[0], POLLIN, 0}, {fd, POLLIN | POLLOUT, 0}};
    result("poll", poll(entries, 2, 0));
    say("%x %x", entries[0].revents, entries[1].revents);
    result("pipe", write(ends[1], "p", 1));
    entries[1].events = POLLIN;
    result("poll", poll(entries, 2, 5000));
    say("%x %x", entries[0].revents, entries[1].revents);
    tell();
    result("read", read(ends[0], &byte, 1));
    result("poll", poll(entries, 2, 5000));
    say("%x %x", entries[0].revents, entries[1].revents);
    result("read", read(fd, &byte, 1));
    tell();
}

static void child_client(int fd) {
    char bytes[8] = {0};
    pid_t child = fork();
    if (child == 0) {
        long count = read_fully(fd, bytes, 3);
        count += write(fd, "from child", 10);
        _exit((int)count);
    }
    tell();
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    result("read", read_fully(fd, bytes, 3));
    say("%s", bytes);
    result("write", write(fd, "from parent", 11));
}
static void child_server(int fd) {
    char bytes[32] = {0};
    hear();
    result("write", write(fd, "abcdef", 6));
    result("read", read_fully(fd, bytes, 21));
    say("%s", bytes);
}

static void fork_end_server(int fd) {
    pid_t child = fork();
    if (child == 0) {
        hear();
        _exit(write(fd, "last", 4) == 4);
    }
    close(fd);
    tell();
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
}
static void fork_end_client(int fd) {
    char bytes[8] = {0};
    hear();
    set_nonblocking(fd, 1);
    result("not yet", read(fd, bytes, 1));
    set_nonblocking(fd, 0);
    tell();
    result("read", read_fully(fd, bytes, 8));
    say("%s", bytes);
}

static void exec_server(int fd) {
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd, 0);
        dup2(ends[1], 1);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(81);
    }
    close(fd);
    close(ends[1]);
    tell();
    char bytes[32] = {0};
    result("from cat", read_fully(ends[0], bytes, 18));
    say("%s", bytes);
    int status;
    waitpid(child, &status, 0);
    say("cat %d", WEXITSTATUS(status));
}
static void exec_client(int fd) {
    result("write", write(fd, "before ", 7));
    hear();
    pause_ms(30);
    result("write", write(fd, "after exec.", 11));
    result("closed", close(fd));
}

static void rights_server(int fd) {
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    result("write", write(ends[1], "in the pipe", 11));
    result("write", write(fd, "before", 6));
    result("send", send_fd(fd, ends[0]));
    result("write", write(fd, "behind", 6));
    hear();
}
static void rights_client(int fd) {
    char bytes[16] = {0};
    result("read", read_fully(fd, bytes, 6));
    say("%s", bytes);
    int passed = receive_fd(fd);
    say("passed %d", passed >= 0);
    result("read", read_fully(fd, bytes, 6));
    say("%s", bytes);
    result("pipe", read(passed, bytes, sizeof bytes - 1));
    say("%s", bytes);
    tell();
}

static void stdio_server(int fd) {
    char line[64] = {0};
    FILE *stream = fdopen(fd, "r+");
    say("open %d", stream != NULL);
    say("line %s", fgets(line, sizeof line, stream) ? line : "none");
    fprintf(stream, "answer %d\n", 42);
    fflush(stream);
    hear();
    result("closed", fclose(stream));
}
static void stdio_client(int fd) {
    char bytes[32] = {0};
    result("write", write(fd, "question\n", 9));
    result("read", read_fully(fd, bytes, 10));
    say("%s", bytes);
    tell();
    result("end", read(fd, bytes, 1));
}

static void dupfd_client(int fd) {
    char bytes[8] = {0};
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
    say("high %d cloexec %d", high >= 1000, fcntl(high, F_GETFD));
    close(fd);
    tell();
    result("read", read(high, bytes, 1));
    result("write", write(high, "y", 1));
    tell();
}

static void setlk_client(int fd) {
    (void)fd;
    char path[] = "/tmp/conformance-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    result("lock", fcntl(file, F_SETLK, &lock));
    result("ask", fcntl(file, F_GETLK, &lock));
    say("type %d", lock.l_type == F_UNLCK);
    result("pipe size", fcntl(file, F_GETPIPE_SZ));
    tell();
}

static volatile sig_atomic_t signals;
static void count_signal(int number) { (void)number; signals++; }
static void epipe_server(int fd) {
    hear();
    signal(SIGPIPE, count_signal);
    result("write", write(fd, "x", 1));
    say("signals %d", (int)signals);
    result("send", send(fd, "x", 1, MSG_NOSIGNAL));
    say("signals %d", (int)signals);
}
static void epipe_client(int fd) {
    close(fd);
    tell();
}

static void fionread_client(int fd) {
    char byte;
    int count = -1;
    result("ioctl", ioctl(fd, FIONREAD, &count));
    say("%d", count);
    tell();
    hear();
    result("ioctl", ioctl(fd, FIONREAD, &count));
    say("%d", count);
    result("read", read(fd, &byte, 1));
    result("ioctl", ioctl(fd, FIONREAD, &count));
    say("%d", count);
    tell();
}
static void fionread_server(int fd) {
    hear();
    result("write", write(fd, "12345", 5));
    tell();
    hear();
}

const struct one_case basic_cases[] = {
    {"last-bytes-before-close", last_bytes_server, last_bytes_client},
    {"peer-killed", block_in_read, killed_client},
    {"peer-exits", block_in_read, exiting_client},
    {"peer-closes", block_in_read, closing_client},
    {"dup", dup_server, dup_client},
    {"writev", writev_server, writev_client},
    {"peek", peek_server, peek_client},
    {"waitall", waitall_server, waitall_client},
    {"dontwait", idle, dontwait_client},
    {"nonblock-empty", idle, nonblock_client},
    {"fionbio", idle, fionbio_client},
    {"nonblock-full", full_server, full_client},
    {"rcvtimeo", idle, rcvtimeo_client},
    {"shutdown", shutdown_server, shutdown_client},
    {"epoll-one", epoll_server, epoll_client},
    {"epoll-edge", epoll_server, edge_client},
    {"poll-negative", poll_server, poll_negative_client},
    {"poll-mixed", poll_server, poll_mixed_client},
    {"read-in-child", child_server, child_client},
    {"end-through-fork", fork_end_server, fork_end_client},
    {"exec-stdin", exec_server, exec_client},
    {"rights", rights_server, rights_client},
    {"stdio", stdio_server, stdio_client},
    {"dupfd-high", poll_server, dupfd_client},
    {"setlk", idle, setlk_client},
    {"epipe", epipe_server, epipe_client},
    {"fionread", fionread_server, fionread_client},
    {NULL, NULL, NULL},
};
