/* Waiting for many descriptors, in every way there is. */
#include "harness.h"

#define PAIRS 25
/* 50 descriptors: every other one a connection's end, the rest pipes. */
struct many {
    int watched[2 * PAIRS], ends[2 * PAIRS];
};
static void make_many(struct many *many) {
    for (int pair = 0; pair < PAIRS; pair++) {
        int ends[2];
        make_pair(ends);
        many->watched[2 * pair] = ends[0];
        many->ends[2 * pair] = ends[1];
        if (pipe(ends) != 0) _exit(80);
        many->watched[2 * pair + 1] = ends[0];
        many->ends[2 * pair + 1] = ends[1];
    }
}
static const int chosen[] = {0, 1, 7, 20, 33, 48};
#define CHOSEN 6
static void write_chosen(struct many *many) {
    for (int place = 0; place < CHOSEN; place++)
        if (write(many->ends[chosen[place]], "c", 1) != 1) say("cannot write");
}
static void read_chosen(struct many *many) {
    char byte;
    for (int place = 0; place < CHOSEN; place++)
        if (read(many->watched[chosen[place]], &byte, 1) != 1 || byte != 'c') say("cannot read");
}

static int select_all(struct many *many, fd_set *in, fd_set *out, long ms) {
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};
    int above = 0;
    FD_ZERO(in);
    FD_ZERO(out);
    for (int place = 0; place < 2 * PAIRS; place++) {
        int fd = many->watched[place];
        FD_SET(fd, in);
        if (place % 10 == 0) FD_SET(fd, out);
        if (fd >= above) above = fd + 1;
    }
    return select(above, in, ms < 0 ? NULL : out, NULL, ms < 0 ? NULL : &limit);
}
static void say_selected(struct many *many, fd_set *in, fd_set *out) {
    for (int place = 0; place < 2 * PAIRS; place++) {
        int fd = many->watched[place];
        if (FD_ISSET(fd, in) || FD_ISSET(fd, out)) say("%d: %d %d", place, !!FD_ISSET(fd, in), !!FD_ISSET(fd, out));
    }
}
static void select_many_client(int fd) {
    struct many many;
    fd_set in, out;
    make_many(&many);
    result("select", select_all(&many, &in, &out, 10));
    say_selected(&many, &in, &out);
    write_chosen(&many);
    FD_ZERO(&out);
    result("select", select_all(&many, &in, &out, 1000));
    say_selected(&many, &in, &out);
    read_chosen(&many);
    result("select", select_all(&many, &in, &out, 0));
    pid_t child = fork();
    if (child == 0) {
        pause_ms(40);
        _exit(write(many.ends[30], "c", 1) != 1);
    }
    result("sleep", select_all(&many, &in, &out, -1));
    FD_ZERO(&out);
    say_selected(&many, &in, &out);
    int status;
    waitpid(child, &status, 0);
    (void)fd;
    tell();
}
static void poll_many_client(int fd) {
    struct many many;
    struct pollfd entries[2 * PAIRS];
    make_many(&many);
    for (int round = 0; round < 3; round++) {
        for (int place = 0; place < 2 * PAIRS; place++)
            entries[place] = (struct pollfd){many.watched[place], place % 3 ? POLLIN : POLLRDNORM, 99};
        if (round == 1) write_chosen(&many);
        result("poll", poll(entries, 2 * PAIRS, round == 1 ? 1000 : 10));
        for (int place = 0; place < 2 * PAIRS; place++)
            if (entries[place].revents) say("%d: %x", place, entries[place].revents);
        if (round == 1) read_chosen(&many);
    }
    (void)fd;
    tell();
}
/* Level-triggered, with room for fewer events than there are: all have their turn. */
static void epoll_many_client(int fd) {
    struct many many;
    struct epoll_event got[4];
    make_many(&many);
    int set = epoll_create1(0);
    for (int place = 0; place < 2 * PAIRS; place++) {
        struct epoll_event event = {EPOLLIN, {.u64 = (uint64_t)place}};
        epoll_ctl(set, EPOLL_CTL_ADD, many.watched[place], &event);
    }
    result("none", epoll_wait(set, got, 4, 10));
    write_chosen(&many);
    int seen[2 * PAIRS] = {0}, different = 0;
    for (int turn = 0; turn < 40 && different < CHOSEN; turn++) {
        int count = epoll_wait(set, got, 4, 1000);
        for (int place = 0; place < count; place++) {
            if (got[place].events != EPOLLIN) say("events %x", got[place].events);
            different += !seen[got[place].data.u64]++;
        }
    }
    for (int place = 0; place < 2 * PAIRS; place++)
        if (seen[place]) say("seen %d", place);
    read_chosen(&many);
    result("none", epoll_wait(set, got, 4, 10));
    (void)fd;
    tell();
}

/* As some servers: a set gets the socket before it is connected. */
static void set_before_connect_client(int fd) {
    char path[] = "/tmp/conformance-XXXXXX", byte = 'b';
    if (!mkdtemp(path)) _exit(81);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), set = epoll_create1(EPOLL_CLOEXEC);
    result("bind", bind(listener, (struct sockaddr *)&address, sizeof address));
    result("listen", listen(listener, 1));
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), late = 0;
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 5}};
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, end, &event));
    result("connect", connect(end, (struct sockaddr *)&address, sizeof address));
    int other = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    while (epoll_wait(set, &event, 1, 0) == 1) {}
    for (int turn = 0; turn < 100; turn++) {
        if (write(other, &byte, 1) != 1 || epoll_wait(set, &event, 1, 1000) != 1) late++;
        if (read(end, &byte, 1) != 1 || write(end, &byte, 1) != 1 || read(other, &byte, 1) != 1) late++;
    }
    say("late %d", late);
    close(listener);
    unlink(address.sun_path);
    rmdir(path);
    (void)fd;
    tell();
}

struct waiter {
    int set, count;
    pthread_t thread;
};
static void *wait_in_set(void *argument) {
    struct waiter *waiter = argument;
    struct epoll_event got;
    waiter->count = epoll_wait(waiter->set, &got, 1, 1000);
    return NULL;
}
static void exclusive_client(int fd) {
    char byte;
    struct waiter waiters[2];
    struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE, {.u64 = 1}};
    for (int place = 0; place < 2; place++) {
        waiters[place].set = epoll_create1(0);
        result("add", epoll_ctl(waiters[place].set, EPOLL_CTL_ADD, fd, &event));
    }
    result("mod", epoll_ctl(waiters[0].set, EPOLL_CTL_MOD, fd, &event));
    event.events |= EPOLLONESHOT;
    result("add", epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, fd, &event));
    for (int place = 0; place < 2; place++)
        pthread_create(&waiters[place].thread, NULL, wait_in_set, &waiters[place]);
    pause_ms(50);
    tell();
    for (int place = 0; place < 2; place++) pthread_join(waiters[place].thread, NULL);
    say("woken %d", waiters[0].count + waiters[1].count);
    result("read", read(fd, &byte, 1));
    for (int place = 0; place < 2; place++) {
        struct epoll_event got;
        result("drained", epoll_wait(waiters[place].set, &got, 1, 0));
    }
    tell();
}

/* Children that share a listener and wait for it as servers do. */
static void prefork_client(int fd) {
    char path[] = "/tmp/conformance-XXXXXX", byte;
    if (!mkdtemp(path)) _exit(80);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 8);
    pid_t children[2];
    for (int place = 0; place < 2; place++) {
        children[place] = fork();
        if (children[place] != 0) continue;
        int set = epoll_create1(0), served = 0;
        struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE, {.u64 = 1}};
        epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
        while (epoll_wait(set, &event, 1, 1500) == 1) {
            int one = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (one < 0) continue;
            while (read(one, &byte, 1) == 1)
                if (write(one, &byte, 1) != 1) _exit(50);
            close(one);
            served++;
        }
        _exit(served);
    }
    int wrong = 0, served = 0, status;
    for (int turn = 0; turn < 6; turn++) {
        int one = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        wrong += connect(one, (struct sockaddr *)&address, sizeof address) != 0;
        for (int step = 0; step < 60; step++)
            wrong += write(one, "s", 1) != 1 || read(one, &byte, 1) != 1 || byte != 's';
        close(one);
    }
    for (int place = 0; place < 2; place++) {
        waitpid(children[place], &status, 0);
        served += WEXITSTATUS(status);
    }
    say("wrong %d served %d", wrong, served);
    unlink(address.sun_path);
    rmdir(path);
    (void)fd;
    tell();
}

/* More news before the first were read are an edge of their own. */
static void edge_again_client(int fd) {
    char bytes[8];
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 5}}, got;
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    for (int turn = 0; turn < 3; turn++) {
        tell();
        result("wait", epoll_wait(set, &got, 1, 5000));
    }
    result("read", recv(fd, bytes, 8, MSG_DONTWAIT));
    result("mod", epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    tell();
    result("wait", epoll_wait(set, &got, 1, 5000));
    event.events |= EPOLLOUT;
    result("mod", epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    result("wait", epoll_wait(set, &got, 1, 5000));
    say("events %x", got.events);
    tell();
}
static void edge_again_server(int fd) {
    for (int turn = 0; turn < 4; turn++) {
        hear();
        pause_ms(30);
        result("write", write(fd, "e", 1));
    }
    hear();
}

static void two_sets_client(int fd) {
    char byte;
    int sets[2], copy = dup(fd);
    struct epoll_event event = {EPOLLIN, {.u64 = 5}}, got;
    for (int place = 0; place < 2; place++) {
        sets[place] = epoll_create1(0);
        result("add", epoll_ctl(sets[place], EPOLL_CTL_ADD, place ? copy : fd, &event));
    }
    result("twice", epoll_ctl(sets[0], EPOLL_CTL_ADD, fd, &event));
    result("copy", epoll_ctl(sets[0], EPOLL_CTL_ADD, copy, &event));
    result("itself", epoll_ctl(sets[0], EPOLL_CTL_ADD, sets[0], &event));
    result("del", epoll_ctl(sets[0], EPOLL_CTL_DEL, copy, NULL));
    tell();
    for (int place = 0; place < 2; place++) result("wait", epoll_wait(sets[place], &got, 1, 5000));
    result("read", read(fd, &byte, 1));
    for (int place = 0; place < 2; place++) result("wait", epoll_wait(sets[place], &got, 1, 0));
    /* The set goes on watching what it was told by this number, as the copy keeps the connection open. */
    result("closed", close(fd));
    tell();
    for (int place = 0; place < 2; place++) result("wait", epoll_wait(sets[place], &got, 1, 5000));
    result("read", read(copy, &byte, 1));
    for (int place = 0; place < 2; place++) result("wait", epoll_wait(sets[place], &got, 1, 0));
    result("closed", close(copy));
    for (int place = 0; place < 2; place++) result("wait", epoll_wait(sets[place], &got, 1, 20));
    tell();
}
static void two_sets_server(int fd) {
    for (int turn = 0; turn < 2; turn++) {
        hear();
        pause_ms(20);
        result("write", write(fd, "s", 1));
    }
    hear();
}

static volatile sig_atomic_t signals;
static void count_signal(int number) { (void)number; signals++; }
static void masks_client(int fd) {
    char byte;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    struct sigaction action = {.sa_handler = count_signal};
    sigaction(SIGUSR1, &action, NULL);
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 5}}, got;
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    raise(SIGUSR1);
    result("pwait", epoll_pwait(set, &got, 1, 20, NULL));
    say("signals %d", (int)signals);
    result("pwait", epoll_pwait(set, &got, 1, 2000, &before));
    say("signals %d", (int)signals);
    struct timespec limit = {2, 0};
    raise(SIGUSR1);
    result("pwait2", epoll_pwait2(set, &got, 1, &limit, &before));
    say("signals %d", (int)signals);
    raise(SIGUSR1);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    result("pselect", pselect(fd + 1, &in, NULL, NULL, &limit, &before));
    say("signals %d", (int)signals);
    tell();
    result("pwait2", epoll_pwait2(set, &got, 1, &limit, &before));
    result("read", read(fd, &byte, 1));
    result("room", epoll_wait(set, &got, 0, 0));
    result("set", epoll_wait(fd, &got, 1, 0));
    tell();
}

/* Answers that never come while the reader still looks: nearly each send rings, and the stream goes to the socket and back. */
#define SLOW_TURNS 9000
static void slow_answers_server(int fd) {
    int turn = 0;
    for (; turn < SLOW_TURNS; turn++) {
        unsigned char asked, bytes[3];
        if (read(fd, &asked, 1) != 1 || asked != byte_at(turn)) break;
        nanosleep(&(struct timespec){0, 60000}, NULL);
        fill(bytes, turn * 3, 3);
        if (write_fully(fd, bytes, 1 + turn % 3) != 1 + turn % 3) break;
    }
    say("answered %d", turn);
    hear();
}
static void slow_answers_client(int fd) {
    int set = epoll_create1(0), turn = 0;
    struct epoll_event event = {EPOLLIN, {.u64 = 3}}, got;
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    for (; turn < SLOW_TURNS; turn++) {
        unsigned char asked = byte_at(turn), bytes[3];
        if (write(fd, &asked, 1) != 1) break;
        struct pollfd entry = {fd, POLLIN, 0};
        if (turn % 4 == 1 && epoll_wait(set, &got, 1, 5000) != 1) break;
        if (turn % 4 == 2 && (poll(&entry, 1, 5000) != 1 || entry.revents != POLLIN)) break;
        set_nonblocking(fd, turn % 4 == 1);
        long count = 1 + turn % 3;
        if (read(fd, bytes, sizeof bytes) != count || first_wrong(bytes, turn * 3, count) >= 0) break;
    }
    say("asked %d", turn);
    set_nonblocking(fd, 1);
    char byte;
    result("nothing more", read(fd, &byte, 1));
    tell();
}

/* Runtimes wait by one descriptor of a set and register by a copy of it. */
static void set_copies_server(int fd) {
    for (int turn = 0; turn < 4; turn++) {
        hear();
        pause_ms(20);
        result("write", write(fd, "c", 1));
    }
    hear();
}
static void set_copies_client(int fd) {
    char byte;
    struct epoll_event event = {EPOLLIN, {.u64 = 9}}, got = {0, {.u64 = 0}};
    int set = epoll_create1(0), copy = dup(set), third = fcntl(copy, F_DUPFD_CLOEXEC, 900);
    result("add", epoll_ctl(copy, EPOLL_CTL_ADD, fd, &event));
    result("twice", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    result("nothing", epoll_wait(set, &got, 1, 10));
    tell();
    result("wait", epoll_wait(set, &got, 1, 5000));
    say("events %x data %d", got.events, (int)got.data.u64);
    result("third", epoll_wait(third, &got, 1, 0));
    result("read", read(fd, &byte, 1));
    result("drained", epoll_wait(copy, &got, 1, 0));
    result("closed", close(set));
    tell();
    result("wait", epoll_wait(third, &got, 1, 5000));
    say("events %x data %d", got.events, (int)got.data.u64);
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    say("same number %d", ends[0] == set);
    result("no set", epoll_wait(ends[0], &got, 1, 0));
    result("read", read(fd, &byte, 1));
    event.events = EPOLLIN | EPOLLOUT;
    result("mod", epoll_ctl(third, EPOLL_CTL_MOD, fd, &event));
    result("room", epoll_wait(copy, &got, 1, 1000));
    say("events %x", got.events);
    event.events = EPOLLIN;
    result("mod", epoll_ctl(copy, EPOLL_CTL_MOD, fd, &event));
    result("closed", close(copy));
    tell();
    result("wait", epoll_wait(third, &got, 1, -1));
    result("read", read(fd, &byte, 1));
    result("dup2", dup2(third, 901));
    result("closed", close(third));
    result("del", epoll_ctl(901, EPOLL_CTL_DEL, fd, NULL));
    tell();
    result("none", epoll_wait(901, &got, 1, 60));
    result("closed", close(901));
    set = epoll_create(1);
    result("fresh", epoll_wait(set, &got, 1, 0));
    result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    result("wait", epoll_wait(set, &got, 1, 1000));
    result("read", read(fd, &byte, 1));
    tell();
}

const struct one_case set_cases[] = {
    {"select-many", idle, select_many_client},
    {"poll-many", idle, poll_many_client},
    {"epoll-many", idle, epoll_many_client},
    {"set-before-connect", idle, set_before_connect_client},
    {"exclusive", answer_once, exclusive_client},
    {"prefork", idle, prefork_client},
    {"edge-again", edge_again_server, edge_again_client},
    {"two-sets", two_sets_server, two_sets_client},
    {"masks", answer_once, masks_client},
    {"set-copies", set_copies_server, set_copies_client},
    {"slow-answers", slow_answers_server, slow_answers_client},
    {NULL, NULL, NULL},
};
