/* Runs one side of one case: conformance server|client NAME PATH. Prints what this side saw. */
#include "harness.h"

static char record[65536];
static size_t record_length;
static int to_other = -1, from_other = -1;

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(record + record_length, sizeof record - record_length - 1, format, arguments);
    va_end(arguments);
    record_length += (size_t)added;
    if (record_length > sizeof record - 2) record_length = sizeof record - 2;
    record[record_length++] = '\n';
}

void result(const char *what, long value) {
    int error = errno;
    if (value < 0) say("%s: %ld %s", what, value, strerrorname_np(error));
    else say("%s: %ld", what, value);
}

static void print_record(void) {
    size_t done = 0;
    while (done < record_length) {
        ssize_t count = write(1, record + done, record_length - done);
        if (count <= 0) break;
        done += (size_t)count;
    }
}

void tell(void) {
    if (write(to_other, "t", 1) != 1) _exit(90);
}

void hear(void) {
    char byte;
    if (read(from_other, &byte, 1) != 1) _exit(91);
}

long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {}
}
static int is_asleep(const char *thread) {
    char path[300], line[400] = {0};
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
    FILE *file = fopen(path, "r");
    if (!file) return 1;
    size_t count = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[count] = 0;
    const char *behind_name = strrchr(line, ')');
    return behind_name && behind_name[1] == ' ' && behind_name[2] == 'S';
}
void others_asleep(void) {
    for (int turn = 0; turn < 500; turn++) {
        pause_ms(10);
        DIR *threads = opendir("/proc/self/task");
        if (!threads) _exit(94);
        int all = 1;
        for (struct dirent *entry; (entry = readdir(threads));)
            if (entry->d_name[0] != '.' && atoi(entry->d_name) != gettid()) all &= is_asleep(entry->d_name);
        closedir(threads);
        if (!all) continue;
        /* Not in a lock on the way there. */
        pause_ms(30);
        return;
    }
    _exit(93);
}

long read_fully(int fd, void *buffer, long length) {
    long done = 0;
    while (done < length) {
        ssize_t count = read(fd, (char *)buffer + done, (size_t)(length - done));
        if (count == 0) break;
        if (count < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        done += count;
    }
    return done;
}

long write_fully(int fd, const void *buffer, long length) {
    long done = 0;
    while (done < length) {
        ssize_t count = write(fd, (const char *)buffer + done, (size_t)(length - done));
        if (count < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        done += count;
    }
    return done;
}

unsigned char byte_at(long index) { return (unsigned char)(index * 131 + index / 251 * 17 + index / 65521); }

void fill(unsigned char *buffer, long from, long length) {
    for (long index = 0; index < length; index++) buffer[index] = byte_at(from + index);
}

long first_wrong(const unsigned char *buffer, long from, long length) {
    for (long index = 0; index < length; index++)
        if (buffer[index] != byte_at(from + index)) return from + index;
    return -1;
}

void settle(int fd, int first) {
    for (int turn = 0; turn < 200; turn++) {
        char byte = (char)turn;
        if (first && write(fd, &byte, 1) != 1) _exit(92);
        if (read(fd, &byte, 1) != 1 || byte != (char)turn) _exit(93);
        if (!first && write(fd, &byte, 1) != 1) _exit(94);
    }
}

void set_nonblocking(int fd, int on) {
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void idle(int fd) { (void)fd; hear(); }

void answer_once(int fd) {
    hear();
    pause_ms(20);
    result("write", write(fd, "z", 1));
    hear();
}

void make_pair(int ends[2]) {
    char path[] = "/tmp/conformance-XXXXXX", byte;
    if (!mkdtemp(path)) _exit(96);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) _exit(97);
    ends[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(ends[0], (struct sockaddr *)&address, sizeof address) != 0) _exit(98);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    unlink(address.sun_path);
    rmdir(path);
    for (int turn = 0; turn < 60; turn++)
        for (int side = 0; side < 2; side++)
            if (write(ends[side], "p", 1) != 1 || read(ends[!side], &byte, 1) != 1) _exit(99);
}

int send_fd(int through, int passed) {
    char byte = 'f', space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
    return (int)sendmsg(through, &message, 0);
}

int receive_fd(int through) {
    char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    ssize_t count = recvmsg(through, &message, 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (count != 1 || byte != 'f' || !header || header->cmsg_type != SCM_RIGHTS) return -1;
    int passed;
    memcpy(&passed, CMSG_DATA(header), sizeof passed);
    return passed;
}

static const struct one_case *const all_cases[] = {basic_cases,  added_cases, call_cases, limit_cases,
                                                   thread_cases, set_cases,   name_cases};
#define TABLES (sizeof all_cases / sizeof all_cases[0])

static const struct one_case *find(const char *name) {
    for (size_t table = 0; table < TABLES; table++)
        for (const struct one_case *entry = all_cases[table]; entry->name; entry++)
            if (strcmp(entry->name, name) == 0) return entry;
    return NULL;
}

static int connect_to(struct sockaddr_un *address) {
    for (int attempt = 0; attempt < 3000; attempt++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)address, sizeof *address) == 0) return fd;
        close(fd);
        pause_ms(10);
    }
    _exit(95);
}

volatile sig_atomic_t alarms;
void on_alarm(int number) { (void)number; alarms++; }
void interrupt_after(long us, int flags) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 0}, {0, us}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "list") == 0) {
        for (size_t table = 0; table < TABLES; table++)
            for (const struct one_case *entry = all_cases[table]; entry->name; entry++) puts(entry->name);
        return 0;
    }
    if (count != 4) return 64;
    const struct one_case *chosen = find(words[2]);
    if (!chosen) return 65;
    int serving = strcmp(words[1], "server") == 0;
    alarm(60);
    signal(SIGPIPE, SIG_IGN);
    char up[200], down[200];
    snprintf(up, sizeof up, "%s.up", words[3]);
    snprintf(down, sizeof down, "%s.down", words[3]);
    /* Read and write at once, so that opening waits for nobody and the end of one side is no end of the pipe. */
    to_other = open(serving ? down : up, O_RDWR | O_CLOEXEC);
    from_other = open(serving ? up : down, O_RDWR | O_CLOEXEC);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[3]);
    if (serving) {
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0) return 66;
        int fd = accept(listener, NULL, NULL);
        settle(fd, 0);
        chosen->server(fd);
    } else {
        int fd = connect_to(&address);
        settle(fd, 1);
        chosen->client(fd);
    }
    print_record();
    return 0;
}
