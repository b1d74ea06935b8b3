/* differential SEED STEPS: random operations on the two ends of a connection, in one thread. Prints what each gave. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* Bytes on their way in one direction: few enough that neither a socket nor a ring is ever full. */
#define OUTSTANDING_MAX 30000
static uint64_t state;
static uint32_t draw(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static int ends[2], level[2], edge[2], spare = -1;
static long sent[2], received[2];
static unsigned char bytes[65536];

static unsigned char byte_at(int from, long index) { return (unsigned char)(index * 37 + index / 256 * 11 + from); }

static const char *error_of(long value) { return value < 0 ? strerrorname_np(errno) : "ok"; }

static void transmit(int side, uint32_t kind) {
    long length = draw(4) == 0 ? draw(9000) : draw(200);
    if (sent[side] - received[!side] + length > OUTSTANDING_MAX) return;
    for (long index = 0; index < length; index++) bytes[index] = byte_at(side, sent[side] + index);
    long half = length / 3, count;
    struct iovec parts[2] = {{bytes, (size_t)half}, {bytes + half, (size_t)(length - half)}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    struct mmsghdr many = {.msg_hdr = message};
    int fd = ends[side];
    switch (kind) {
    case 0: count = write(fd, bytes, (size_t)length); break;
    case 1: count = send(fd, bytes, (size_t)length, MSG_NOSIGNAL); break;
    case 2: count = writev(fd, parts, 2); break;
    case 3: count = sendmsg(fd, &message, MSG_DONTWAIT); break;
    case 4: count = sendmmsg(fd, &many, 1, 0) == 1 ? (long)many.msg_len : -1; break;
    case 5: {
        FILE *file = tmpfile();
        if (fwrite(bytes, 1, (size_t)length, file) != (size_t)length) abort();
        fflush(file);
        off_t at = 0;
        count = sendfile(fd, fileno(file), &at, (size_t)length);
        fclose(file);
        break;
    }
    default: count = sendto(fd, bytes, (size_t)length, 0, NULL, 0);
    }
    printf("send %u of %ld: %ld %s\n", kind, length, count, error_of(count));
    if (count > 0) sent[side] += count;
}

/* Reads what is there, up to a length: how it is cut into calls is not promised. */
static void take(int side, uint32_t kind) {
    long wanted = draw(3) == 0 ? draw(20000) : draw(300), done = 0, count = 0;
    int wrong = 0;
    while (done < wanted) {
        size_t left = (size_t)(wanted - done);
        struct iovec parts[2] = {{bytes, left / 2}, {bytes + left / 2, left - left / 2}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        switch (kind) {
        case 0: count = read(ends[side], bytes, left); break;
        case 1: count = recv(ends[side], bytes, left, MSG_DONTWAIT); break;
        case 2: count = readv(ends[side], parts, 2); break;
        case 3: count = recvmsg(ends[side], &message, 0); break;
        default: count = recvfrom(ends[side], bytes, left, 0, NULL, NULL);
        }
        if (count <= 0) break;
        for (long index = 0; index < count; index++)
            wrong |= bytes[index] != byte_at(!side, received[side] + index);
        received[side] += count;
        done += count;
    }
    printf("take %u of %ld: %ld, then %s%s\n", kind, wanted, done, count == 0 ? "end" : error_of(count), wrong ? " WRONG" : "");
}

static void look(int side) {
    int unread = -1;
    unsigned char first = 0;
    long peeked = recv(ends[side], &first, 1, MSG_PEEK | MSG_DONTWAIT);
    const char *error = error_of(peeked);
    int asked = ioctl(ends[side], FIONREAD, &unread);
    printf("peek %ld %s %d, unread %d %d\n", peeked, error, peeked == 1 ? first : -1, asked, unread);
}

static void wait_for(int side, uint32_t kind) {
    struct epoll_event event = {0};
    /* Not POLLOUT: when a socket counts as full depends on how it stores what was sent. */
    struct pollfd entry = {ends[side], POLLIN | POLLRDHUP, 0};
    struct timeval none = {0, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[side], &set);
    int count;
    switch (kind) {
    case 0: count = poll(&entry, 1, 0); printf("poll %d %x\n", count, entry.revents); break;
    case 1: count = select(ends[side] + 1, &set, NULL, NULL, &none); printf("select %d %d\n", count, !!FD_ISSET(ends[side], &set)); break;
    case 2: count = epoll_wait(level[side], &event, 1, 0); printf("level %d %x\n", count, count > 0 ? event.events : 0); break;
    default: count = epoll_wait(edge[side], &event, 1, 0); printf("edge %d\n", count);
    }
}

static void change(int side, uint32_t kind) {
    switch (kind) {
    case 0:
        if (spare >= 0) close(spare);
        spare = dup(ends[side]);
        printf("dup %d\n", spare >= 0);
        break;
    case 1: {
        int on = 1;
        printf("nonblocking %d %d\n", ioctl(ends[side], FIONBIO, &on), !!(fcntl(ends[side], F_GETFL) & O_NONBLOCK));
        break;
    }
    default: {
        int error = -1;
        socklen_t length = sizeof error;
        printf("option %d %d\n", getsockopt(ends[side], SOL_SOCKET, SO_ERROR, &error, &length), error);
    }
    }
}

int main(int count, char **words) {
    if (count != 3) return 64;
    state = strtoull(words[1], NULL, 10);
    long steps = atol(words[2]);
    char folder[] = "/tmp/differential-XXXXXX";
    if (!mkdtemp(folder)) return 65;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) return 66;
    ends[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(ends[0], (struct sockaddr *)&address, sizeof address) != 0) return 67;
    ends[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    unlink(address.sun_path);
    rmdir(folder);
    for (int side = 0; side < 2; side++) {
        struct epoll_event event = {EPOLLIN | EPOLLRDHUP, {.u64 = 1}};
        level[side] = epoll_create1(0);
        epoll_ctl(level[side], EPOLL_CTL_ADD, ends[side], &event);
        edge[side] = epoll_create1(0);
        event.events |= EPOLLET;
        epoll_ctl(edge[side], EPOLL_CTL_ADD, ends[side], &event);
    }
    for (int turn = 0; turn < 60; turn++)
        for (int side = 0; side < 2; side++)
            if (write(ends[side], "w", 1) != 1 || read(ends[!side], bytes, 1) != 1) return 68;
    signal(SIGPIPE, SIG_IGN);
    for (long step = 0; step < steps; step++) {
        int side = (int)draw(2);
        uint32_t what = draw(100);
        if (what < 40) transmit(side, draw(7));
        else if (what < 75) take(side, draw(5));
        else if (what < 85) look(side);
        else if (what < 97) wait_for(side, draw(4));
        else change(side, draw(3));
    }
    if (draw(2) == 0) printf("shutdown %d\n", shutdown(ends[0], SHUT_WR));
    take(1, 0);
    if (spare >= 0) close(spare);
    printf("close %d\n", close(ends[0]));
    for (int step = 0; step < 8; step++) {
        if (draw(2) == 0) take(1, 0);
        else transmit(1, draw(3));
    }
    return 0;
}
