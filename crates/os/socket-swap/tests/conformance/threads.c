/* Several threads at one connection. */
#include "harness.h"

struct task {
    int fd;
    long count;
    int error;
    char bytes[8];
    pthread_t thread;
};
static void *read_one(void *argument) {
    struct task *task = argument;
    task->count = read(task->fd, task->bytes, 1);
    task->error = task->count < 0 ? errno : 0;
    return NULL;
}
static void start(struct task *task, void *(*body)(void *)) { pthread_create(&task->thread, NULL, body, task); }
static void say_task(const char *what, struct task *task) {
    pthread_join(task->thread, NULL);
    errno = task->error;
    result(what, task->count);
}

/* Whoever is in a call keeps the connection until it ends. */
static void close_in_read_client(int fd) {
    struct task task = {.fd = fd};
    start(&task, read_one);
    others_asleep();
    result("closed", close(fd));
    int other = open("/dev/zero", O_RDONLY);
    say("same number %d", other == fd);
    tell();
    say_task("read", &task);
    say("%s", task.bytes);
    tell();
}
static void close_in_read_server(int fd) {
    char byte;
    hear();
    pause_ms(20);
    result("write", write(fd, "z", 1));
    hear();
    result("end", read(fd, &byte, 1));
    result("write", send(fd, "x", 1, MSG_NOSIGNAL));
}
static void close_copy_in_read_client(int fd) {
    int copy = dup(fd);
    char byte = 0;
    struct task task = {.fd = copy};
    start(&task, read_one);
    others_asleep();
    result("closed", close(copy));
    tell();
    say_task("read", &task);
    say("%s", task.bytes);
    tell();
    result("read", read(fd, &byte, 1));
    say("%c", byte);
    tell();
}
static void close_copy_in_read_server(int fd) {
    answer_once(fd);
    result("write", write(fd, "y", 1));
    hear();
}

static void *poll_one(void *argument) {
    struct task *task = argument;
    struct pollfd entry = {task->fd, POLLIN, 0};
    task->count = poll(&entry, 1, 300);
    task->error = entry.revents;
    return NULL;
}
static void close_in_poll_client(int fd) {
    struct task task = {.fd = fd};
    start(&task, poll_one);
    others_asleep();
    result("closed", close(fd));
    pthread_join(task.thread, NULL);
    say("poll %ld events %x", task.count, task.error);
    tell();
}
static void *select_one(void *argument) {
    struct task *task = argument;
    struct timeval limit = {0, 200000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(task->fd, &set);
    task->count = select(task->fd + 1, &set, NULL, NULL, &limit);
    task->error = task->count < 0 ? errno : 0;
    return NULL;
}
static void close_in_select_client(int fd) {
    struct task task = {.fd = fd};
    start(&task, select_one);
    others_asleep();
    result("closed", close(fd));
    say_task("select", &task);
    tell();
}

#define BULK 1000000
static unsigned char bulk[BULK];
static void *write_bulk(void *argument) {
    struct task *task = argument;
    task->count = write(task->fd, bulk, BULK);
    task->error = task->count < 0 ? errno : 0;
    return NULL;
}
static void close_in_write_server(int fd) {
    struct task task = {.fd = fd};
    fill(bulk, 0, BULK);
    start(&task, write_bulk);
    others_asleep();
    result("closed", close(fd));
    tell();
    say_task("write", &task);
}
static void close_in_write_client(int fd) {
    hear();
    pause_ms(20);
    result("read", read_fully(fd, bulk, BULK));
    say("wrong at %ld", first_wrong(bulk, 0, BULK));
    result("end", read(fd, bulk, 1));
}
static void shut_in_read_client(int fd) {
    struct task task = {.fd = fd};
    start(&task, read_one);
    others_asleep();
    result("shutdown", shutdown(fd, SHUT_RD));
    say_task("read", &task);
    tell();
}

/* Two readers share what arrives: every byte comes once. */
#define RECORDS 40000
static long sums[2], counts[2];
static void *read_records(void *argument) {
    struct task *task = argument;
    unsigned char bytes[300];
    for (;;) {
        ssize_t count = read(task->fd, bytes, sizeof bytes);
        if (count <= 0) break;
        for (ssize_t index = 0; index < count; index++) task->count += bytes[index];
        counts[task->error] += count;
    }
    sums[task->error] = task->count;
    return NULL;
}
static void two_readers_client(int fd) {
    struct task tasks[2] = {{.fd = fd, .error = 0}, {.fd = dup(fd), .error = 1}};
    for (int place = 0; place < 2; place++) start(&tasks[place], read_records);
    tell();
    for (int place = 0; place < 2; place++) pthread_join(tasks[place].thread, NULL);
    say("bytes %ld sum %ld", counts[0] + counts[1], sums[0] + sums[1]);
}
static void two_readers_server(int fd) {
    unsigned char bytes[100];
    hear();
    for (long turn = 0; turn < RECORDS; turn += 100) {
        fill(bytes, turn, 100);
        if (write_fully(fd, bytes, 100) != 100) say("short");
        if (turn % 8000 == 0) pause_ms(2);
    }
    result("closed", close(fd));
}
static void *write_records(void *argument) {
    struct task *task = argument;
    unsigned char bytes[100];
    memset(bytes, task->bytes[0], sizeof bytes);
    for (long turn = 0; turn < RECORDS; turn += 100) task->count += write_fully(task->fd, bytes, 100);
    return NULL;
}
static void two_writers_server(int fd) {
    struct task tasks[2] = {{.fd = fd, .bytes = "a"}, {.fd = dup(fd), .bytes = "b"}};
    for (int place = 0; place < 2; place++) start(&tasks[place], write_records);
    for (int place = 0; place < 2; place++) say_task("written", &tasks[place]);
    close(tasks[1].fd);
    close(fd);
}
static void two_writers_client(int fd) {
    long seen[2] = {0, 0};
    for (;;) {
        char bytes[100];
        long count = read_fully(fd, bytes, 100);
        if (count <= 0) break;
        for (long index = 1; index < count; index++)
            if (bytes[index] != bytes[0]) { say("mixed at %ld", index); return; }
        seen[bytes[0] == 'b'] += count;
    }
    say("a %ld b %ld", seen[0], seen[1]);
}

/* A child begins beside a thread that waits. */
static void fork_beside_client(int fd) {
    struct task task = {.fd = fd};
    start(&task, read_one);
    others_asleep();
    pid_t child = fork();
    if (child == 0) _exit(write(fd, "child", 5) == 5 ? 7 : 8);
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    tell();
    say_task("read", &task);
    say("%s", task.bytes);
    close(fd);
}
static void fork_beside_server(int fd) {
    char bytes[8] = {0};
    result("read", read_fully(fd, bytes, 5));
    say("%s", bytes);
    hear();
    result("write", write(fd, "z", 1));
    result("end", read(fd, bytes, 1));
}

static void cancel_client(int fd) {
    char byte = 0;
    struct task task = {.fd = fd};
    start(&task, read_one);
    others_asleep();
    void *ended;
    result("cancel", pthread_cancel(task.thread));
    pthread_join(task.thread, &ended);
    say("cancelled %d", ended == PTHREAD_CANCELED);
    tell();
    result("read", read(fd, &byte, 1));
    say("%c", byte);
    close(fd);
    tell();
}
static void cancel_server(int fd) {
    char byte;
    answer_once(fd);
    result("end", read(fd, &byte, 1));
}

const struct one_case thread_cases[] = {
    {"close-in-read", close_in_read_server, close_in_read_client},
    {"close-copy-in-read", close_copy_in_read_server, close_copy_in_read_client},
    {"close-in-poll", idle, close_in_poll_client},
    {"close-in-select", idle, close_in_select_client},
    {"close-in-write", close_in_write_server, close_in_write_client},
    {"shut-in-read", idle, shut_in_read_client},
    {"two-readers", two_readers_server, two_readers_client},
    {"two-writers", two_writers_server, two_writers_client},
    {"fork-beside-thread", fork_beside_server, fork_beside_client},
    {"cancel", cancel_server, cancel_client},
    {NULL, NULL, NULL},
};
