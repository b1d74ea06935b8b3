/* Limits of time, ends of one direction, and peers that end in unusual ways. */
#include "harness.h"

static void set_limit(int fd, int option, long ms) {
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};
    result("limit", setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit));
}
static void say_took(long began, long least, long most) {
    long took = now_ms() - began;
    say("in time %d", took >= least && took <= most);
    if (took < least || took > most) say("took %ld", took);
}

/* One limit for the whole call, however often something arrives. */
static void waitall_limit_server(int fd) {
    hear();
    for (int turn = 0; turn < 8; turn++) {
        result("write", write(fd, "ab", 2));
        pause_ms(120);
    }
    hear();
}
static void waitall_limit_client(int fd) {
    char bytes[64] = {0};
    set_limit(fd, SO_RCVTIMEO, 300);
    tell();
    long began = now_ms();
    result("some", recv(fd, bytes, 40, MSG_WAITALL) > 0);
    /* One that began again with each arrival would end after 1140 ms. */
    say_took(began, 295, 1000);
    pause_ms(900);
    result("rest", recv(fd, bytes, 40, MSG_DONTWAIT) > 0);
    began = now_ms();
    result("none", recv(fd, bytes, 40, MSG_WAITALL));
    say_took(began, 295, 5000);
    tell();
}

/* With a limit set a read is not begun again after a signal, whatever the handler asks for. */
static void limit_and_signal_client(int fd) {
    char bytes[8] = {0};
    set_limit(fd, SO_RCVTIMEO, 2000);
    long began = now_ms();
    interrupt_after(LATER_US, SA_RESTART);
    result("read", read(fd, bytes, 1));
    say_took(began, 140, 1950);
    tell();
    struct pollfd entry = {fd, POLLIN, 0};
    result("poll", poll(&entry, 1, 5000));
    interrupt_after(LATER_US, 0);
    result("part", recv(fd, bytes, 8, MSG_WAITALL));
    say("signals %d", (int)alarms);
    tell();
}
static void limit_and_signal_server(int fd) {
    hear();
    result("write", write(fd, "ab", 2));
    hear();
}

static void send_limit_server(int fd) {
    static unsigned char bulk[1 << 22];
    fill(bulk, 0, sizeof bulk);
    set_limit(fd, SO_SNDTIMEO, 80);
    long began = now_ms(), sent = write(fd, bulk, sizeof bulk);
    say("part %d", sent > 0 && sent < (long)sizeof bulk);
    say_took(began, 75, 10000);
    began = now_ms();
    for (int tries = 0; tries < 4; tries++) {
        ssize_t count = write(fd, bulk + sent, 100000);
        if (count < 0) { result("full", count); break; }
        say("moved on %d", count > 0);
        sent += count;
    }
    tell();
    hear();
    result("told", write_fully(fd, &sent, sizeof sent) == sizeof sent);
    hear();
}
static void send_limit_client(int fd) {
    static unsigned char bulk[1 << 23];
    hear();
    long total = 0, sent = 0;
    set_nonblocking(fd, 1);
    for (;;) {
        ssize_t count = read(fd, bulk + total, 1 << 16);
        if (count <= 0) break;
        total += count;
    }
    set_nonblocking(fd, 0);
    tell();
    read_fully(fd, &sent, sizeof sent);
    say("all %d, wrong at %ld", sent == total, first_wrong(bulk, 0, total));
    tell();
}

/* A blocking write that a signal interrupts, or whose reader leaves, says what it has sent. */
static void cut_write_server(int fd) {
    static unsigned char bulk[1 << 22];
    interrupt_after(LATER_US, 0);
    ssize_t count = write(fd, bulk, sizeof bulk);
    say("part %d", count > 0 && count < (ssize_t)sizeof bulk);
    interrupt_after(LATER_US, 0);
    result("nothing", write(fd, bulk, sizeof bulk));
    tell();
    signal(SIGPIPE, on_alarm);
    alarms = 0;
    result("left", write(fd, bulk, sizeof bulk) > 0 ? -1 : write(fd, bulk, 1));
    say("signals over 0: %d", alarms > 0);
}
static void cut_write_client(int fd) {
    hear();
    pause_ms(60);
    close(fd);
}

static void shut_read_client(int fd) {
    char bytes[8] = {0};
    hear();
    result("shutdown", shutdown(fd, SHUT_RD));
    result("read", read(fd, bytes, 8));
    say("%s", bytes);
    result("end", read(fd, bytes, 8));
    tell();
    hear();
    result("write", write(fd, "back", 4));
    tell();
    hear();
}
static void shut_read_server(int fd) {
    char bytes[8] = {0};
    result("write", write(fd, "abc", 3));
    tell();
    hear();
    result("write", write(fd, "d", 1));
    tell();
    hear();
    result("read", read_fully(fd, bytes, 4));
    say("%s", bytes);
    tell();
}
static void shut_both_client(int fd) {
    char bytes[8] = {0};
    hear();
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    result("shutdown", shutdown(fd, SHUT_RDWR));
    result("poll", poll(&entry, 1, 1000));
    say("events %x", entry.revents);
    result("read", read(fd, bytes, 8));
    result("end", read(fd, bytes, 8));
    result("write", write(fd, "x", 1));
    tell();
}
static void shut_both_server(int fd) {
    char bytes[8];
    result("write", write(fd, "abc", 3));
    tell();
    hear();
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    result("poll", poll(&entry, 1, 1000));
    say("events %x", entry.revents);
    result("read", read(fd, bytes, 8));
    result("write", write(fd, "x", 1));
}

/* What a process wrote reaches the program that another one became, however the writer ends. */
static void became_server(int fd, void (*leave)(void)) {
    result("write", write(fd, "unread bytes", 12));
    tell();
    pause_ms(400);
    leave();
}
static void leave_by_return(void) {}
static void leave_at_once(void) { _exit(0); }
static void leave_by_force(void) { kill(getpid(), SIGKILL); }
static void returned_server(int fd) { became_server(fd, leave_by_return); }
static void left_at_once_server(int fd) { became_server(fd, leave_at_once); }
static void killed_server(int fd) { became_server(fd, leave_by_force); }
static void became_client(int fd) {
    int ends[2];
    char bytes[32] = {0};
    if (pipe(ends) != 0) _exit(80);
    hear();
    pid_t child = fork();
    if (child == 0) {
        dup2(fd, 0);
        dup2(ends[1], 1);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(81);
    }
    close(fd);
    close(ends[1]);
    result("from cat", read_fully(ends[0], bytes, 31));
    say("%s", bytes);
    int status;
    waitpid(child, &status, 0);
    say("cat %d", WEXITSTATUS(status));
}

/* A program that takes the place of this one while the writer waits for its answer. */
static void answered_server(int fd) {
    char bytes[16] = {0};
    tell();
    result("write", write(fd, "to be returned", 14));
    result("read", read_fully(fd, bytes, 14));
    say("%s", bytes);
    close(fd);
}
static void answered_client(int fd) {
    hear();
    pause_ms(60);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(81);
    }
    close(fd);
    int status;
    waitpid(child, &status, 0);
    say("cat %d", WEXITSTATUS(status));
}

/* The writer has ended, or will send no more, or is in the middle of much, when the reader changes its ways. */
static void gone_server(int fd) {
    result("write", write(fd, "left behind\n", 12));
    result("closed", close(fd));
    tell();
}
static void gone_then_stream_client(int fd) {
    char line[32] = {0};
    hear();
    FILE *stream = fdopen(fd, "r");
    say("line %s", fgets(line, sizeof line, stream) ? line : "none");
    say("end %d", fgetc(stream) == EOF);
}
static void gone_then_exec_client(int fd) {
    became_client(fd);
}
static void shut_then_exec_server(int fd) {
    char bytes[32] = {0};
    result("write", write(fd, "question", 8));
    result("shutdown", shutdown(fd, SHUT_WR));
    tell();
    result("answer", read_fully(fd, bytes, 8));
    say("%s", bytes);
    result("end", read(fd, bytes, 1));
}
#define MUCH 900000
static void much_then_exec_server(int fd) {
    static unsigned char bulk[MUCH];
    fill(bulk, 0, MUCH);
    tell();
    result("written", write_fully(fd, bulk, MUCH));
    close(fd);
}
static void much_then_exec_client(int fd) {
    static unsigned char bulk[MUCH];
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    hear();
    pause_ms(60);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd, 0);
        dup2(ends[1], 1);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(81);
    }
    close(fd);
    close(ends[1]);
    result("read", read_fully(ends[0], bulk, MUCH));
    say("wrong at %ld", first_wrong(bulk, 0, MUCH));
    int status;
    waitpid(child, &status, 0);
}

/* The reader leaves in the second half of what a ring holds before its positions begin again. */
#define FAR_TURNS 40
#define FAR_BYTES 4096
static void far_server(int fd) {
    static unsigned char bulk[5 * FAR_BYTES];
    long at = 0;
    for (; at < FAR_TURNS * FAR_BYTES; at += FAR_BYTES) {
        fill(bulk, at, FAR_BYTES);
        if (write_fully(fd, bulk, FAR_BYTES) != FAR_BYTES || read_fully(fd, bulk, 1) != 1) break;
    }
    fill(bulk, at, sizeof bulk);
    result("written", write_fully(fd, bulk, sizeof bulk));
    tell();
    result("answer", read_fully(fd, bulk, 1));
}
static void far_client(int fd) {
    static unsigned char bulk[5 * FAR_BYTES];
    long at = 0;
    for (; at < FAR_TURNS * FAR_BYTES; at += FAR_BYTES)
        if (read_fully(fd, bulk, FAR_BYTES) != FAR_BYTES || write_fully(fd, bulk, 1) != 1) break;
    hear();
    FILE *stream = fdopen(fd, "r");
    result("read", (long)fread(bulk, 1, sizeof bulk, stream));
    say("wrong at %ld", first_wrong(bulk, at, sizeof bulk));
    result("answer", write(fd, "x", 1));
}

static void backlog_client(int fd) {
    char path[] = "/tmp/conformance-XXXXXX";
    if (!mkdtemp(path)) _exit(80);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), connected = 0;
    bind(listener, (struct sockaddr *)&address, sizeof address);
    result("listen", listen(listener, 1));
    for (int turn = 0; turn < 8; turn++) {
        int one = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(one, (struct sockaddr *)&address, sizeof address) != 0) { result("full", -1); break; }
        connected++;
    }
    say("connected %d", connected);
    result("accepted", accept(listener, NULL, NULL) >= 0);
    int late = socket(AF_UNIX, SOCK_STREAM, 0);
    result("late", connect(late, (struct sockaddr *)&address, sizeof address));
    unlink(address.sun_path);
    result("nobody", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address));
    rmdir(path);
    (void)fd;
    tell();
}

const struct one_case limit_cases[] = {
    {"waitall-limit", waitall_limit_server, waitall_limit_client},
    {"limit-and-signal", limit_and_signal_server, limit_and_signal_client},
    {"send-limit", send_limit_server, send_limit_client},
    {"cut-write", cut_write_server, cut_write_client},
    {"shut-read", shut_read_server, shut_read_client},
    {"shut-both", shut_both_server, shut_both_client},
    {"unread-then-return", returned_server, became_client},
    {"unread-then-exit", left_at_once_server, became_client},
    {"unread-then-killed", killed_server, became_client},
    {"answered-after-exec", answered_server, answered_client},
    {"gone-then-stream", gone_server, gone_then_stream_client},
    {"gone-then-exec", gone_server, gone_then_exec_client},
    {"shut-then-exec", shut_then_exec_server, answered_client},
    {"much-then-exec", much_then_exec_server, much_then_exec_client},
    {"far-then-stream", far_server, far_client},
    {"backlog", idle, backlog_client},
    {NULL, NULL, NULL},
};
