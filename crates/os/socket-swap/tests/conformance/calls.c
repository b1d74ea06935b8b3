/* Calls and options that programs use now and then: what they return, and what they leave as it was. */
#include "harness.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void say_name(const char *what, const struct sockaddr_un *name, socklen_t length) {
    int is_path = length > sizeof(sa_family_t) && name->sun_path[0] == '/';
    say("%s: family %d, a path %d, length over 2 %d", what, length > 0 ? name->sun_family : -1, is_path, length > 2);
}
/* The server's end is bound to the listener's path, the client's to none. */
static void look_at_names(int fd) {
    struct sockaddr_un name;
    char bytes[8] = {0};
    for (int turn = 0; turn < 3; turn++) {
        socklen_t length = sizeof name;
        memset(&name, 0, sizeof name);
        result("recvfrom", recvfrom(fd, bytes, 1, 0, (struct sockaddr *)&name, &length));
        say_name("from", &name, length);
    }
    socklen_t untouched = 77;
    result("recvfrom", recvfrom(fd, bytes, 1, 0, NULL, &untouched));
    say("length %d", (int)untouched);
    struct iovec part = {bytes, 1};
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1};
    memset(&name, 0, sizeof name);
    result("recvmsg", recvmsg(fd, &message, MSG_CMSG_CLOEXEC));
    say_name("from", &name, message.msg_namelen);
    say("flags %x control %d", (unsigned)message.msg_flags, (int)message.msg_controllen);
    socklen_t length = sizeof name;
    result("getpeername", getpeername(fd, (struct sockaddr *)&name, &length));
    say_name("peer", &name, length);
    length = sizeof name;
    result("getsockname", getsockname(fd, (struct sockaddr *)&name, &length));
    say_name("own", &name, length);
    length = sizeof name;
    tell();
    result("end", recvfrom(fd, bytes, 1, 0, (struct sockaddr *)&name, &length));
    say("length %d", (int)length);
}
static void names_server(int fd) {
    look_at_names(fd);
}
static void names_client(int fd) {
    result("write", write(fd, "abcde", 5));
    hear();
    close(fd);
}
static void names_of_listener_server(int fd) {
    result("write", write(fd, "abcde", 5));
    hear();
    close(fd);
}
static void names_of_listener_client(int fd) {
    pause_ms(20);
    look_at_names(fd);
}

static void nothing_client(int fd) {
    char byte = 0;
    struct iovec parts[2] = {{&byte, 0}, {&byte, 0}};
    result("read", read(fd, &byte, 0));
    result("readv", readv(fd, parts, 2));
    result("readv", readv(fd, parts, 0));
    result("recv", recv(fd, &byte, 0, MSG_DONTWAIT));
    result("write", write(fd, &byte, 0));
    result("send", send(fd, &byte, 0, 0));
    result("writev", writev(fd, parts, 2));
    result("writev", writev(fd, parts, 0));
    tell();
    result("recv", recv(fd, &byte, 0, 0));
    result("recv", recv(fd, &byte, 0, MSG_DONTWAIT));
    result("read", read(fd, &byte, 1));
    tell();
}

static void vectors_client(int fd) {
    char byte = 0;
    static struct iovec parts[2000];
    for (int place = 0; place < 2000; place++) parts[place] = (struct iovec){&byte, 1};
    result("writev", writev(fd, parts, 1025));
    volatile int negative = -1;
    result("writev", writev(fd, parts, negative));
    result("readv", readv(fd, parts, 1025));
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2000};
    result("sendmsg", sendmsg(fd, &message, 0));
    result("recvmsg", recvmsg(fd, &message, MSG_DONTWAIT));
    result("writev", writev(fd, parts, 1024));
    result("preadv2", preadv2(fd, parts, 1, 0, 0));
    result("pwritev2", pwritev2(fd, parts, 1, -1, 0));
    tell();
    result("preadv2", preadv2(fd, parts, 1, -1, 0));
    tell();
}
static void vectors_server(int fd) {
    char bytes[1100];
    result("read", read_fully(fd, bytes, 1025));
    hear();
    result("write", write(fd, "z", 1));
    hear();
}

static void positions_client(int fd) {
    char byte = 0;
    struct stat about;
    result("pread", pread(fd, &byte, 1, 0));
    result("pwrite", pwrite(fd, &byte, 1, 0));
    result("lseek", lseek(fd, 0, SEEK_CUR));
    result("fsync", fsync(fd));
    result("ftruncate", ftruncate(fd, 10));
    result("mmap", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    say("socket %d", fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode));
    result("isatty", isatty(fd) ? 1 : -1);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    result("open", open(path, O_RDWR));
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    say("stream %d", fopen(path, "r") != NULL);
    result("fopen", -1);
    tell();
    result("read", read(fd, &byte, 1));
    tell();
}

static void options_client(int fd) {
    int value = -1, size = 65536;
    socklen_t length = sizeof value;
    struct ucred peer = {0};
    struct linger lingering = {1, 0};
    result("type", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
    say("%d", value == SOCK_STREAM);
    result("error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length));
    say("%d", value);
    result("listens", getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
    say("%d", value);
    result("domain", getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length));
    say("%d", value == AF_UNIX);
    length = sizeof peer;
    result("peer", getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length));
    say("%d %d", peer.pid > 0 && peer.pid != getpid(), peer.uid == getuid());
    result("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &lingering, sizeof lingering));
    result("buffer", setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    length = sizeof value;
    result("buffer", getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, &length));
    say("%d", value == 2 * size);
    result("unknown", setsockopt(fd, SOL_SOCKET, 9999, &value, sizeof value));
    result("level", getsockopt(fd, 9999, 1, &value, &length));
    result("ioctl", ioctl(fd, 0x12345678, &value));
    tell();
    result("read", read(fd, &value, 1));
    tell();
}

static void wrong_client(int fd) {
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    result("getpeername", getpeername(fd, (struct sockaddr *)&name, &length));
    result("connect", connect(fd, (struct sockaddr *)&name, length));
    result("listen", listen(fd, 1));
    result("accept", accept(fd, NULL, NULL));
    result("sendto", sendto(fd, "x", 1, 0, (struct sockaddr *)&name, length));
    result("splice", splice(fd, NULL, fd, NULL, 1, 0));
    int ends[2], file = open("/dev/null", O_RDWR);
    loff_t at = 0;
    if (pipe(ends) != 0) _exit(80);
    result("splice", splice(fd, NULL, file, NULL, 1, SPLICE_F_NONBLOCK));
    result("splice", splice(fd, &at, ends[1], NULL, 1, SPLICE_F_NONBLOCK));
    result("tee", tee(fd, ends[1], 1, SPLICE_F_NONBLOCK));
    result("copy", copy_file_range(fd, NULL, file, NULL, 1, 0));
    result("shutdown", shutdown(fd, 7));
    tell();
    char byte;
    result("read", read(fd, &byte, 1));
    int copy = dup(fd);
    close(copy);
    result("closed read", read(copy, &byte, 1));
    result("closed write", write(copy, &byte, 1));
    result("closed recv", recv(copy, &byte, 1, MSG_DONTWAIT));
    result("closed shutdown", shutdown(copy, SHUT_WR));
    result("closed close", close(copy));
    result("closed dup", dup(copy));
    tell();
}

static void lowat_client(int fd) {
    char bytes[8] = {0};
    int low = 4;
    result("set", setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
    tell();
    result("recv", recv(fd, bytes, 8, 0));
    say("%s", bytes);
}
static void lowat_server(int fd) {
    hear();
    result("write", write(fd, "ab", 2));
    pause_ms(40);
    result("write", write(fd, "cd", 2));
}

static void passcred_server(int fd) {
    result("write", write(fd, "a", 1));
    tell();
    hear();
    result("write", write(fd, "b", 1));
    tell();
    hear();
}
static void passcred_client(int fd) {
    char bytes[8] = {0}, space[CMSG_SPACE(sizeof(struct ucred))];
    int on = 1;
    hear();
    result("set", setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    tell();
    hear();
    for (int turn = 0; turn < 2; turn++) {
        struct iovec part = {bytes, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        result("recvmsg", recvmsg(fd, &message, 0));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        say("%s credentials %d", bytes, header && header->cmsg_type == SCM_CREDENTIALS);
    }
    tell();
}

static volatile sig_atomic_t signals;
static void count_signal(int number) { (void)number; signals++; }
static void async_client(int fd) {
    char byte;
    signal(SIGIO, count_signal);
    result("owner", fcntl(fd, F_SETOWN, getpid()));
    result("async", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
    say("none %d", (int)signals);
    tell();
    for (int turn = 0; turn < 500 && signals == 0; turn++) pause_ms(10);
    say("signal %d", signals > 0);
    result("read", read(fd, &byte, 1));
    tell();
}

static void urgent_server(int fd) {
    result("send", send(fd, "abc", 3, 0));
    tell();
    hear();
    result("urgent", send(fd, "u", 1, MSG_OOB));
    result("send", send(fd, "def", 3, 0));
    tell();
    hear();
}
static void urgent_client(int fd) {
    char bytes[8] = {0};
    hear();
    result("none", recv(fd, bytes, 1, MSG_OOB));
    result("read", read_fully(fd, bytes, 3));
    tell();
    hear();
    result("urgent", recv(fd, bytes, 1, MSG_OOB));
    say("%s", bytes);
    result("read", read_fully(fd, bytes, 3));
    say("%s", bytes);
    tell();
}

static void truncated_server(int fd) {
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    result("write", write(fd, "before", 6));
    result("send", send_fd(fd, ends[0]));
    result("send", send_fd(fd, ends[0]));
    result("send", send_fd(fd, ends[0]));
    hear();
}
static void truncated_client(int fd) {
    char bytes[8] = {0}, small[4], space[CMSG_SPACE(sizeof(int))];
    result("read", read_fully(fd, bytes, 6));
    result("without control", read(fd, bytes, 1));
    struct iovec part = {bytes, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = small, .msg_controllen = sizeof small};
    result("little control", recvmsg(fd, &message, 0));
    say("flags %x", (unsigned)message.msg_flags);
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    result("cloexec", recvmsg(fd, &message, MSG_CMSG_CLOEXEC));
    int passed = -1;
    if (CMSG_FIRSTHDR(&message)) memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof passed);
    say("flags %x closes %d", (unsigned)message.msg_flags, fcntl(passed, F_GETFD));
    result("nothing", recv(fd, bytes, 8, MSG_DONTWAIT | MSG_TRUNC));
    tell();
}

static void from_socket_client(int fd) {
    char bytes[16] = {0};
    int ends[2];
    if (pipe(ends) != 0) _exit(80);
    hear();
    result("sendfile", sendfile(ends[1], fd, NULL, 100));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    result("pipe", read(ends[0], bytes, 15));
    result("rest", recv(fd, bytes, 15, MSG_DONTWAIT));
    /* A full pipe takes nothing out of the socket. */
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], bytes, sizeof bytes) > 0) {}
    fcntl(ends[1], F_SETFL, 0);
    tell();
    hear();
    result("splice", splice(fd, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
    memset(bytes, 0, sizeof bytes);
    result("read", read_fully(fd, bytes, 4));
    say("%s", bytes);
    tell();
}
static void from_socket_server(int fd) {
    result("write", write(fd, "0123456789", 10));
    tell();
    hear();
    result("write", write(fd, "more", 4));
    tell();
    hear();
}

/* The names behind fortified and 64-bit forms, which compilers put in. */
extern ssize_t __read_chk(int, void *, size_t, size_t);
extern ssize_t __recv_chk(int, void *, size_t, size_t, int);
extern ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
extern int __poll_chk(struct pollfd *, nfds_t, int, size_t);
extern int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
static void forms_client(int fd) {
    char bytes[8] = {0};
    struct pollfd entry = {fd, POLLIN, 0};
    struct timespec limit = {5, 0};
    result("poll", __poll_chk(&entry, 1, 5000, sizeof entry));
    result("ppoll", __ppoll_chk(&entry, 1, &limit, NULL, sizeof entry));
    result("read", __read_chk(fd, bytes, 1, sizeof bytes));
    result("recv", __recv_chk(fd, bytes + 1, 1, sizeof bytes, 0));
    result("recvfrom", __recvfrom_chk(fd, bytes + 2, 1, sizeof bytes, 0, NULL, NULL));
    say("%s", bytes);
    result("fcntl64", fcntl64(fd, F_GETFD));
    result("by number", syscall(SYS_write, fd, "n", 1));
    result("by number", syscall(SYS_read, fd, bytes, 1));
    say("%c", bytes[0]);
    int file = memfd_create("file", 0);
    off64_t from = 1;
    result("write", write(file, "sent", 4));
    result("sendfile64", sendfile64(fd, file, &from, 3));
    result("write", write(fd, "w", 1));
    tell();
}
static void forms_server(int fd) {
    char bytes[8] = {0};
    result("write", write(fd, "abcd", 4));
    result("read", read_fully(fd, bytes, 5));
    say("%s", bytes);
    hear();
}

static void stdout_server(int fd) {
    char bytes[32] = {0};
    result("read", read_fully(fd, bytes, 16));
    say("%s", bytes);
    result("write", write(fd, "words\n", 6));
    hear();
}
static void stdout_client(int fd) {
    char line[16] = {0};
    int out = dup(1), in = dup(0);
    dup2(fd, 1);
    dup2(fd, 0);
    printf("printed %d\n", 1234);
    say("flushed %d", fflush(stdout));
    result("write", write(fd, "...", 3));
    say("read %s", fgets(line, sizeof line, stdin) ? line : "none");
    dup2(out, 1);
    dup2(in, 0);
    tell();
}

static void two_streams_client(int fd) {
    char line[64];
    FILE *in = fdopen(dup(fd), "r"), *out = fdopen(fd, "w");
    for (int turn = 0; turn < 3; turn++) {
        fprintf(out, "line %d\n", turn);
        fflush(out);
        say("got %s", fgets(line, sizeof line, in) ? line : "none");
    }
    say("closed %d", fclose(out));
    say("end %d", fgetc(in) == EOF);
    fclose(in);
}
static void two_streams_server(int fd) {
    char bytes[16] = {0};
    for (int turn = 0; turn < 3; turn++) {
        result("read", read_fully(fd, bytes, 7));
        result("write", write(fd, bytes, 7));
    }
    result("shutdown", shutdown(fd, SHUT_WR));
    result("end", read(fd, bytes, 1));
}

static void very_high_client(int fd) {
    char byte = 0;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int high = limit.rlim_max > 70001 ? dup2(fd, 70000) : dup(fd);
    say("high %d", high >= 0);
    close(fd);
    tell();
    result("read", read(high, &byte, 1));
    say("%c", byte);
    tell();
}

const struct one_case call_cases[] = {
    {"names", names_server, names_client},
    {"names-of-listener", names_of_listener_server, names_of_listener_client},
    {"empty-buffers", answer_once, nothing_client},
    {"vectors", vectors_server, vectors_client},
    {"positions", answer_once, positions_client},
    {"options", answer_once, options_client},
    {"wrong-calls", answer_once, wrong_client},
    {"low-water", lowat_server, lowat_client},
    {"credentials", passcred_server, passcred_client},
    {"async", answer_once, async_client},
    {"urgent", urgent_server, urgent_client},
    {"truncated-control", truncated_server, truncated_client},
    {"from-socket", from_socket_server, from_socket_client},
    {"other-forms", forms_server, forms_client},
    {"standard-output", stdout_server, stdout_client},
    {"two-streams", two_streams_server, two_streams_client},
    {"very-high", answer_once, very_high_client},
    {NULL, NULL, NULL},
};
