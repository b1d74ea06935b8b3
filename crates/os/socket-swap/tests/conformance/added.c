/* More of what programs rely on. */
#include "harness.h"

static void eintr_client(int fd) {
    char byte;
    interrupt_after(LATER_US, 0);
    result("read", read(fd, &byte, 1));
    say("signals %d", (int)alarms);
    struct pollfd entry = {fd, POLLIN, 0};
    interrupt_after(LATER_US, SA_RESTART);
    result("poll", poll(&entry, 1, 2000));
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 1}};
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    interrupt_after(LATER_US, SA_RESTART);
    result("epoll", epoll_wait(set, &event, 1, 2000));
    say("signals %d", (int)alarms);
    tell();
}
static void restart_client(int fd) {
    char byte = 0;
    interrupt_after(10000, SA_RESTART);
    tell();
    result("read", read(fd, &byte, 1));
    say("%c signals %d", byte, (int)alarms);
    tell();
}
static void restart_server(int fd) {
    hear();
    pause_ms(60);
    result("write", write(fd, "z", 1));
    hear();
}

static void ppoll_client(int fd) {
    char byte;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    raise(SIGALRM);
    say("held %d", (int)alarms);
    struct pollfd entry = {fd, POLLIN, 0};
    struct timespec limit = {2, 0};
    result("ppoll", ppoll(&entry, 1, &limit, &before));
    say("signals %d", (int)alarms);
    struct timespec brief = {0, 20000000};
    result("ppoll", ppoll(&entry, 1, &brief, NULL));
    tell();
    result("ppoll", ppoll(&entry, 1, NULL, NULL));
    result("read", read(fd, &byte, 1));
    result("none", poll(NULL, 0, 5));
    tell();
}

static void select_client(int fd) {
    char byte;
    fd_set set;
    struct timeval limit = {0, 10000};
    FD_ZERO(&set);
    FD_SET(fd, &set);
    result("select", select(fd + 1, &set, NULL, NULL, &limit));
    say("set %d", FD_ISSET(fd, &set) != 0);
    tell();
    FD_ZERO(&set);
    FD_SET(fd, &set);
    limit.tv_sec = 5;
    result("select", select(fd + 1, &set, NULL, NULL, &limit));
    say("set %d", FD_ISSET(fd, &set) != 0);
    fd_set out;
    FD_ZERO(&out);
    FD_SET(fd, &out);
    result("both", select(fd + 1, &set, &out, NULL, NULL));
    result("read", read(fd, &byte, 1));
    struct timespec none = {0, 0};
    FD_ZERO(&set);
    FD_SET(fd, &set);
    result("pselect", pselect(fd + 1, &set, NULL, NULL, &none, NULL));
    tell();
}

static void sendfile_server(int fd) {
    char path[] = "/tmp/conformance-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    static unsigned char bulk[100000];
    fill(bulk, 6, sizeof bulk);
    result("file", write(file, bulk, sizeof bulk));
    off_t at = 0;
    unsigned char head[6];
    fill(head, 0, 6);
    result("write", write(fd, head, 6));
    long sent = 0;
    while (sent < 100000) {
        ssize_t count = sendfile(fd, file, &at, (size_t)(100000 - sent));
        if (count <= 0) break;
        sent += count;
    }
    say("sent %ld", sent);
    fill(head, 100006, 6);
    result("write", write(fd, head, 6));
    hear();
}
static void sendfile_client(int fd) {
    static unsigned char bulk[100012];
    result("read", read_fully(fd, bulk, sizeof bulk));
    say("wrong at %ld", first_wrong(bulk, 0, sizeof bulk));
    tell();
}

static void splice_server(int fd) {
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    result("pipe", write(ends[1], "through the pipe", 16));
    result("splice", splice(ends[0], NULL, fd, NULL, 16, 0));
    hear();
    result("splice", splice(fd, NULL, ends[1], NULL, 100, 0));
    char bytes[16] = {0};
    result("pipe", read(ends[0], bytes, sizeof bytes - 1));
    say("%s", bytes);
    set_nonblocking(fd, 1);
    result("nothing", splice(fd, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
    tell();
}
static void splice_client(int fd) {
    char bytes[20] = {0};
    result("read", read_fully(fd, bytes, 16));
    say("%s", bytes);
    result("write", write(fd, "back again", 10));
    tell();
    hear();
}

static void sendmmsg_server(int fd) {
    struct iovec parts[3] = {{"first", 5}, {"second", 6}, {"third", 5}};
    struct mmsghdr messages[3];
    memset(messages, 0, sizeof messages);
    for (int place = 0; place < 3; place++) {
        messages[place].msg_hdr.msg_iov = &parts[place];
        messages[place].msg_hdr.msg_iovlen = 1;
    }
    result("sendmmsg", sendmmsg(fd, messages, 3, 0));
    say("%u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
    tell();
    hear();
}
static void sendmmsg_client(int fd) {
    char one[6] = {0}, two[7] = {0}, three[6] = {0};
    hear();
    struct iovec parts[3] = {{one, 5}, {two, 6}, {three, 5}};
    struct mmsghdr messages[3];
    memset(messages, 0, sizeof messages);
    for (int place = 0; place < 3; place++) {
        messages[place].msg_hdr.msg_iov = &parts[place];
        messages[place].msg_hdr.msg_iovlen = 1;
    }
    result("recvmmsg", recvmmsg(fd, messages, 3, MSG_WAITFORONE, NULL));
    say("%s %s %s", one, two, three);
    tell();
}

static void dup2_over_client(int fd) {
    char byte;
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    int copy = fcntl(fd, F_DUPFD, 100);
    result("dup2", dup2(ends[0], fd) == fd);
    result("pipe", write(ends[1], "p", 1));
    result("read", read(fd, &byte, 1));
    say("%c", byte);
    tell();
    result("read copy", read(copy, &byte, 1));
    say("%c", byte);
    result("dup3", dup3(ends[1], copy, O_CLOEXEC) == copy);
    tell();
}

static void close_range_client(int fd) {
    char byte;
    int copy = fcntl(fd, F_DUPFD, 200);
    int other = open("/dev/null", O_RDONLY);
    say("other %d", other >= 0);
    result("close_range", close_range((unsigned)fd, (unsigned)fd, 0));
    result("closed", read(fd, &byte, 1));
    tell();
    result("read", read(copy, &byte, 1));
    result("close_range", close_range(150, 300, 0));
    result("closed", write(copy, &byte, 1));
    tell();
}
static void close_range_server(int fd) {
    char byte;
    hear();
    result("write", write(fd, "z", 1));
    hear();
    result("end", read(fd, &byte, 1));
}

static void exec_high_server(int fd) {
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    char script[100];
    snprintf(script, sizeof script, "cat <&%d >&%d", fd, ends[1]);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", script, "with", "more", "words", "than", "registers", (char *)NULL);
        _exit(81);
    }
    close(fd);
    close(ends[1]);
    tell();
    char bytes[32] = {0};
    result("from cat", read_fully(ends[0], bytes, 10));
    say("%s", bytes);
    int status;
    waitpid(child, &status, 0);
    say("sh %d", WEXITSTATUS(status));
}
static void exec_high_client(int fd) {
    hear();
    pause_ms(20);
    result("write", write(fd, "to another", 10));
    result("closed", close(fd));
}

static void dprintf_server(int fd) {
    result("write", write(fd, "one ", 4));
    result("dprintf", dprintf(fd, "%d %s %d %g ", 2, "three", 4, 5.5));
    result("write", write(fd, "six", 3));
    close(fd);
}
static void dprintf_client(int fd) {
    char bytes[64] = {0};
    result("read", read_fully(fd, bytes, sizeof bytes - 1));
    say("%s", bytes);
}

static void daemon_server(int fd) {
    char byte;
    pid_t child = fork();
    if (child == 0) {
        if (daemon(1, 1) != 0) _exit(82);
        for (int turn = 0; turn < 100; turn++)
            if (read(fd, &byte, 1) != 1 || write(fd, &byte, 1) != 1) _exit(83);
        close(fd);
        int other = open("/dev/zero", O_RDONLY);
        char answer = read(other, &byte, 1) == 1 && byte == 0 ? 'k' : '!';
        tell();
        _exit(answer != 'k');
    }
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    close(fd);
}
static void daemon_client(int fd) {
    char byte;
    int wrong = 0;
    for (int turn = 0; turn < 100; turn++)
        wrong += write(fd, "d", 1) != 1 || read(fd, &byte, 1) != 1 || byte != 'd';
    say("wrong %d", wrong);
    result("end", read(fd, &byte, 1));
    hear();
}

static void vfork_server(int fd) {
    char bytes[32] = {0};
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    pid_t child = vfork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(fd);
        execl("/bin/echo", "echo", "from the child", (char *)NULL);
        _exit(81);
    }
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    result("pipe", read(ends[0], bytes, sizeof bytes - 1));
    result("write", write(fd, "still", 5));
    result("read", read_fully(fd, bytes, 5));
    say("%.5s", bytes);
}
static void vfork_client(int fd) {
    char bytes[8] = {0};
    result("read", read_fully(fd, bytes, 5));
    say("%s", bytes);
    result("write", write(fd, "there", 5));
}

extern char **environ;
static void spawn_server(int fd) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 0);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    char *words[] = {"cat", NULL};
    pid_t child;
    result("spawn", posix_spawn(&child, "/bin/cat", &actions, NULL, words, environ));
    close(fd);
    tell();
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
}
static void spawn_client(int fd) {
    char bytes[16] = {0};
    hear();
    result("write", write(fd, "to and fro", 10));
    result("read", read_fully(fd, bytes, 10));
    say("%s", bytes);
    result("shutdown", shutdown(fd, SHUT_WR));
    result("end", read(fd, bytes, 1));
}

static void oneshot_client(int fd) {
    char byte;
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLONESHOT, {.u64 = 9}}, got;
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    tell();
    result("wait", epoll_wait(set, &got, 1, 5000));
    say("events %x", got.events);
    result("spent", epoll_wait(set, &got, 1, 20));
    result("again", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    result("mod", epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    result("wait", epoll_wait(set, &got, 1, 5000));
    result("read", read(fd, &byte, 1));
    result("mod", epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    result("nothing", epoll_wait(set, &got, 1, 20));
    result("del", epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    result("del", epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    tell();
}

static void nested_client(int fd) {
    char byte;
    int inner = epoll_create1(0), outer = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 1}}, got;
    result("inner", epoll_ctl(inner, EPOLL_CTL_ADD, fd, &event));
    event.data.u64 = 2;
    result("outer", epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
    result("nothing", epoll_wait(outer, &got, 1, 10));
    tell();
    result("wait", epoll_wait(outer, &got, 1, 5000));
    say("data %d", (int)got.data.u64);
    struct pollfd entry = {inner, POLLIN, 0};
    result("poll", poll(&entry, 1, 0));
    result("inner", epoll_wait(inner, &got, 1, 0));
    result("read", read(fd, &byte, 1));
    result("drained", epoll_wait(outer, &got, 1, 10));
    tell();
}

static void out_and_in_client(int fd) {
    char byte;
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP, {.u64 = 3}}, got;
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    result("out", epoll_wait(set, &got, 1, 100));
    say("events %x", got.events);
    tell();
    struct pollfd entry = {fd, POLLIN, 0};
    result("in", poll(&entry, 1, 5000));
    result("both", epoll_wait(set, &got, 1, 100));
    say("events %x", got.events);
    result("read", read(fd, &byte, 1));
    result("out", epoll_wait(set, &got, 1, 100));
    say("events %x", got.events);
    tell();
}

struct shared { int fd; char seen; };
static void *reading_thread(void *argument) {
    struct shared *shared = argument;
    if (read(shared->fd, &shared->seen, 1) != 1) shared->seen = '!';
    return NULL;
}
static void thread_client(int fd) {
    struct shared one = {fd, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, reading_thread, &one);
    pause_ms(20);
    result("write", write(fd, "while another reads", 19));
    tell();
    pthread_join(thread, NULL);
    say("%c", one.seen);
    tell();
}

static void *epoll_thread(void *argument) {
    struct shared *shared = argument;
    struct epoll_event got;
    shared->seen = epoll_wait(shared->fd, &got, 1, 5000) == 1 ? '1' : '0';
    return NULL;
}
static void two_waiters_client(int fd) {
    char byte;
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 3}};
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    struct shared one = {set, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, epoll_thread, &one);
    pause_ms(20);
    tell();
    pthread_join(thread, NULL);
    say("%c", one.seen);
    result("read", read(fd, &byte, 1));
    tell();
}

static void many_server(int fd) {
    static unsigned char bulk[300000];
    for (long length = 1; length <= 300000; length = length * 3 + 1) {
        fill(bulk, length, length);
        if (write_fully(fd, bulk, length) != length) say("short at %ld", length);
        unsigned char answer;
        if (read(fd, &answer, 1) != 1) say("no answer at %ld", length);
    }
    say("done");
}
static void many_client(int fd) {
    static unsigned char bulk[300000];
    for (long length = 1; length <= 300000; length = length * 3 + 1) {
        long count = read_fully(fd, bulk, length);
        long wrong = first_wrong(bulk, length, count);
        if (count != length || wrong >= 0) say("%ld of %ld, wrong at %ld", count, length, wrong);
        if (write(fd, "k", 1) != 1) say("cannot answer");
    }
    say("done");
}

static void both_ways(int fd, long seed) {
    static unsigned char out[3000], in[3000];
    long sent = 0, received = 0, total = 6000000;
    int wrong = 0;
    set_nonblocking(fd, 1);
    while (sent < total || received < total) {
        struct pollfd entry = {fd, POLLIN, 0};
        if (sent < total) entry.events |= POLLOUT;
        if (poll(&entry, 1, 5000) <= 0) { say("stuck"); return; }
        if (entry.revents & POLLOUT && sent < total) {
            seed = seed * 1103515245 + 12345;
            long length = (seed >> 16 & 0x7fff) % 3000 + 1;
            if (length > total - sent) length = total - sent;
            fill(out, sent, length);
            ssize_t count = write(fd, out, (size_t)length);
            if (count > 0) sent += count;
        }
        if (entry.revents & POLLIN) {
            seed = seed * 1103515245 + 12345;
            long length = (seed >> 16 & 0x7fff) % 3000 + 1;
            /* Not the byte behind the end, which the other side may have sent already. */
            if (length > total - received) length = total - received;
            if (length == 0) { pause_ms(1); continue; }
            ssize_t count = read(fd, in, (size_t)length);
            if (count > 0) { wrong |= first_wrong(in, received, count) >= 0; received += count; }
            if (count == 0) { say("early end"); return; }
        }
    }
    say("sent %ld received %ld wrong %d", sent, received, wrong);
    set_nonblocking(fd, 0);
    char byte;
    result("write", write(fd, "e", 1));
    result("read", read(fd, &byte, 1));
}
static void both_ways_server(int fd) { both_ways(fd, 1); }
static void both_ways_client(int fd) { both_ways(fd, 2); }

static void pass_itself_server(int fd) {
    int ends[2];
    char bytes[8] = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) _exit(80);
    tell();
    pause_ms(20);
    result("send", send_fd(ends[0], fd));
    int again = receive_fd(ends[1]);
    result("read", read_fully(again, bytes, 5));
    say("%s", bytes);
    close(fd);
    result("write", write(again, "reply", 5));
    close(again);
}
static void pass_itself_client(int fd) {
    char bytes[8] = {0};
    hear();
    result("write", write(fd, "query", 5));
    result("read", read_fully(fd, bytes, 8));
    say("%s", bytes);
}

static void unread_server(int fd) {
    char byte;
    hear();
    result("read", read(fd, &byte, 1));
    result("again", read(fd, &byte, 1));
    result("write", send(fd, "x", 1, MSG_NOSIGNAL));
}
static void unread_client(int fd) {
    pause_ms(30);
    close(fd);
    tell();
}
static void unread_writes_server(int fd) {
    result("write", write(fd, "never read", 10));
    unread_server(fd);
}

static void high_load_fork_server(int fd) {
    for (int turn = 0; turn < 3; turn++) {
        pid_t child = fork();
        if (child == 0) {
            char byte;
            for (int step = 0; step < 200; step++)
                if (read(fd, &byte, 1) != 1 || write(fd, &byte, 1) != 1) _exit(1);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        say("child %d", WEXITSTATUS(status));
    }
}
static void high_load_fork_client(int fd) {
    int wrong = 0;
    for (int step = 0; step < 600; step++) {
        char byte = (char)step, back = 0;
        if (write(fd, &byte, 1) != 1 || read(fd, &back, 1) != 1 || back != byte) wrong++;
    }
    say("wrong %d", wrong);
    char byte;
    result("end", read(fd, &byte, 1));
}

static void self_client(int fd) {
    char path[] = "/tmp/conformance-XXXXXX", byte;
    if (!mkdtemp(path)) _exit(80);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    result("bind", bind(listener, (struct sockaddr *)&address, sizeof address));
    result("listen", listen(listener, 1));
    int near = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    result("connect", connect(near, (struct sockaddr *)&address, sizeof address));
    int far = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int wrong = 0;
    for (int turn = 0; turn < 300; turn++) {
        wrong += write(near, "n", 1) != 1 || read(far, &byte, 1) != 1 || byte != 'n';
        wrong += write(far, "f", 1) != 1 || read(near, &byte, 1) != 1 || byte != 'f';
    }
    say("wrong %d", wrong);
    result("empty", read(near, &byte, 1));
    close(near);
    result("end", read(far, &byte, 1));
    unlink(address.sun_path);
    rmdir(path);
    (void)fd;
    tell();
}

const struct one_case added_cases[] = {
    {"eintr", idle, eintr_client},
    {"restart", restart_server, restart_client},
    {"ppoll", answer_once, ppoll_client},
    {"select", answer_once, select_client},
    {"sendfile", sendfile_server, sendfile_client},
    {"splice", splice_server, splice_client},
    {"sendmmsg", sendmmsg_server, sendmmsg_client},
    {"dup2-over", answer_once, dup2_over_client},
    {"close-range", close_range_server, close_range_client},
    {"exec-high", exec_high_server, exec_high_client},
    {"dprintf", dprintf_server, dprintf_client},
    {"daemon", daemon_server, daemon_client},
    {"vfork", vfork_server, vfork_client},
    {"spawn", spawn_server, spawn_client},
    {"oneshot", answer_once, oneshot_client},
    {"nested-epoll", answer_once, nested_client},
    {"out-and-in", answer_once, out_and_in_client},
    {"read-in-thread", answer_once, thread_client},
    {"epoll-in-thread", answer_once, two_waiters_client},
    {"many-lengths", many_server, many_client},
    {"both-ways", both_ways_server, both_ways_client},
    {"pass-itself", pass_itself_server, pass_itself_client},
    {"unread-at-close", unread_writes_server, unread_client},
    {"close-then-send", unread_server, unread_client},
    {"children-in-turn", high_load_fork_server, high_load_fork_client},
    {"connect-to-self", idle, self_client},
    {NULL, NULL, NULL},
};
