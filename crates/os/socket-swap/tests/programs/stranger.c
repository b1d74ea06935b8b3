/* stranger SEED PATH [listen]: connects to a program, or lets it connect, and speaks the rendezvous of docs/spec/swap.md wrongly in
   ways that the seed chooses: offers of every wrong shape, doors of every wrong kind, silence, death at any step. What it sends
   through the connection is answered by an echo, and as long as no segment of its own says otherwise it insists on that, as on a
   plain socket. Prints what was not so, whether the two ends were linked, and when it left. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "rendezvous.h"

/* An answer later than this is a wrong one. */
#define LATE_MS 100
/* So long it is waited for. */
#define LIMIT_MS 5000
#define DATAGRAM_MAX 4096

static uint64_t state;
static uint64_t next(void) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 2685821657736338717u;
}
static int one_of(int count) { return (int)((next() >> 33) % (uint64_t)count); }

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int fd, own_door = -1, own_segment_fd = -1, taken = -1, step, half;
/* Whether the other side owes an answer: no segment that it may have accepted has said anything. */
static int is_due = 1;
static unsigned char *own, *others;
static uint32_t from, to;

static void leave(void) {
    int linked = others && (*(volatile uint64_t *)(others + STANCE) & 1);
    printf("%sleft %ld\n", linked ? "linked\n" : "", now_ms());
    fflush(stdout);
    switch (one_of(4)) {
    case 0: kill(getpid(), SIGKILL); break;
    case 1: close(fd); break;
    case 2: shutdown(fd, SHUT_RDWR); break;
    default: break;
    }
    _exit(0);
}

/* Sends some bytes and takes the answer. */
static void exchange(void) {
    unsigned char out[200], in[256];
    int length = 1 + one_of(one_of(4) ? 8 : 200), done = 0;
    for (int index = 0; index < length; index++) out[index] = (unsigned char)next();
    if (!is_due || half) {
        send(fd, out, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
        recv(fd, in, sizeof in, MSG_DONTWAIT);
        return;
    }
    long began = now_ms();
    if (send(fd, out, (size_t)length, MSG_NOSIGNAL) != length) printf("lost at %d: %s\n", step, strerrorname_np(errno)), leave();
    while (done < length) {
        struct pollfd entry = {fd, POLLIN, 0};
        if (poll(&entry, 1, LIMIT_MS) != 1) printf("silent at %d\n", step), leave();
        ssize_t came = recv(fd, in, (size_t)(length - done), 0);
        if (came <= 0) printf("lost at %d: %s\n", step, came < 0 ? strerrorname_np(errno) : "end"), leave();
        if (memcmp(in, out + done, (size_t)came) != 0) printf("other bytes at %d\n", step), leave();
        done += (int)came;
    }
    if (now_ms() - began > LATE_MS) printf("late at %d: %ld ms\n", step, now_ms() - began);
}

/* A memory file that is right but for what `wrong` says; 0 to 2: nothing. Its first word that matters says "I may be asleep". */
static int memory(int wrong) {
    static const int sizes[] = {0, 1, 4095, 4096, 8192, SEGMENT - 1, SEGMENT / 2};
    int made = memfd_create("hushwire-swap", MFD_ALLOW_SEALING | (wrong == 9 ? MFD_HUGETLB : 0));
    if (ftruncate(made, wrong == 3 ? sizes[one_of(7)] : wrong == 4 ? SEGMENT * 3L : wrong == 9 ? 1L << 21 : wrong == 5 ? 1L << 40 : SEGMENT) != 0) exit(69);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    if (wrong == 6) seals &= (int)next();
    if (wrong == 7) return made;
    if (wrong != 3 && wrong != 9) {
        unsigned char *at = mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
        *(uint64_t *)(at + SLEEP) = 1;
        /* One that nobody can write any more, not even its maker. */
        if (wrong == 8) munmap(at, SEGMENT), seals |= F_SEAL_WRITE;
        else if (own) munmap(at, SEGMENT);
        else own = at, own_segment_fd = dup(made);
    }
    fcntl(made, F_ADD_SEALS, seals);
    return made;
}

/* Descriptors that are no memory files, or not only. Never the connection: who keeps that alive has not left. */
static int anything(void) {
    int ends[2];
    switch (one_of(12)) {
    case 0: return open("/dev/null", O_RDWR);
    case 1: return open("/dev/zero", O_RDWR);
    case 2: return open("/", O_RDONLY);
    case 3: return open("/proc/self/maps", O_RDONLY);
    case 4: return open("/bin/sh", O_RDONLY);
    case 5: return open("/bin/sh", O_PATH);
    case 6: return eventfd(1, 0);
    case 7: return epoll_create1(0);
    case 8: return socket(AF_UNIX, SOCK_DGRAM, 0);
    case 9: if (pipe(ends) == 0) close(ends[0]); return ends[1];
    case 10: if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) close(ends[0]); return ends[1];
    default: return memory(3 + one_of(7));
    }
}

/* One datagram through `through`: words, length and descriptors as chance has it, and sometimes as they should be. */
static void offer(int through, const struct sockaddr_un *name, socklen_t name_length) {
    static unsigned char bytes[DATAGRAM_MAX];
    uint64_t words[4] = {0, from, to, CAPACITY};
    memcpy(words, "HWSWAP02", 8);
    int is_right = one_of(3) == 0;
    int which = is_right ? -1 : one_of(10);
    if (which == 0) memcpy(words, one_of(2) ? "HWSWAP01" : "HWSWAP03", 8);
    if (which == 1) words[0] = next();
    if (which == 2) words[1] = one_of(2) ? to : next();
    if (which == 3) words[2] = one_of(2) ? from : next();
    if (which == 4) words[3] = one_of(2) ? next() : (uint64_t)CAPACITY << one_of(40);
    memcpy(bytes, words, sizeof words);
    static const size_t lengths[] = {0, 1, 8, 16, 31, 33, 64, DATAGRAM_MAX};
    size_t length = which == 5 ? lengths[one_of(8)] : sizeof words;
    int fds[40], count = which == 6 ? one_of(40) : which == 7 ? 0 : 1;
    for (int place = 0; place < count; place++) fds[place] = is_right ? memory(one_of(3)) : one_of(3) ? anything() : memory(one_of(10));
    /* What the other side offered, sent back to it: a ring that it would write and read itself. */
    if (count == 1 && taken >= 0 && one_of(8) == 0) fds[0] = dup(taken), is_due = 0;
    /* The same segment once more. */
    if (count == 1 && own_segment_fd >= 0 && one_of(3) == 0) fds[0] = dup(own_segment_fd);
    char space[CMSG_SPACE(sizeof fds)] = {0};
    struct iovec part = {bytes, length};
    struct msghdr message = {.msg_name = (void *)name, .msg_namelen = name ? name_length : 0, .msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = space, message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * (size_t)count);
    }
    if (which == 8 && count == 1) {
        /* In two pieces, the descriptor with the first or with the second. */
        struct iovec first = {bytes, 16}, second = {bytes + 16, 16};
        struct msghdr alone = {.msg_name = message.msg_name, .msg_namelen = message.msg_namelen, .msg_iovlen = 1};
        int early = one_of(2);
        message.msg_iov = early ? &first : &second, alone.msg_iov = early ? &second : &first;
        if (!early) sendmsg(through, &alone, MSG_DONTWAIT | MSG_NOSIGNAL);
        sendmsg(through, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (early) sendmsg(through, &alone, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        for (int times = which == 9 ? 6 : 1; times > 0; times--) sendmsg(through, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    for (int place = 0; place < count; place++) close(fds[place]);
}

static void open_door(void) {
    static const int kinds[] = {SOCK_DGRAM, SOCK_DGRAM, SOCK_DGRAM, SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET};
    struct sockaddr_un address;
    if (own_door >= 0) close(own_door);
    int kind = kinds[one_of(6)];
    own_door = socket(AF_UNIX, kind, 0);
    socklen_t length = door(&address, one_of(8) ? from : (uint32_t)next());
    if (bind(own_door, (struct sockaddr *)&address, length) == 0 && kind != SOCK_DGRAM) listen(own_door, 1);
    /* So full that nothing more goes in. */
    if (kind == SOCK_DGRAM && one_of(6) == 0) {
        int filler = socket(AF_UNIX, SOCK_DGRAM, 0);
        while (sendto(filler, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, length) == 1) {}
        close(filler);
    }
    /* Only now and then to the other side: what is not connected takes datagrams from anybody. */
    length = door(&address, to);
    if (one_of(4)) connect(own_door, (struct sockaddr *)&address, length);
}

static void send_offers(void) {
    struct sockaddr_un address;
    socklen_t length = door(&address, to);
    int through = one_of(4) && own_door >= 0 ? own_door : socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int count = 1 + one_of(6); count > 0; count--) offer(through, one_of(3) ? &address : NULL, length);
    if (through != own_door) close(through);
}

/* Takes what has come to the door: the other side's offer. */
static void take_offer(void) {
    char bytes[64], space[256];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (own_door < 0 || recvmsg(own_door, &message, MSG_DONTWAIT) != 32) return;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_type != SCM_RIGHTS) return;
    memcpy(&taken, CMSG_DATA(head), sizeof taken);
    unsigned char *at = mmap(NULL, SEGMENT, PROT_READ, MAP_SHARED, taken, 0);
    if (at != MAP_FAILED) others = at;
}

/* Any word of our segment, of which some become likely values. */
static void scribble(void) {
    static const int offsets[] = {WRITTEN, MODE, RINGS, 152, READ, STANCE, INSIDE, 400, SLEEP, 0, 1024};
    if (!own) return;
    is_due = 0;
    for (int count = 1 + one_of(50); count > 0; count--) {
        uint64_t value = one_of(2) ? (uint64_t)one_of(5) : one_of(2) ? (uint64_t)CAPACITY + (uint64_t)one_of(3) - 1 : next();
        *(volatile uint64_t *)(own + offsets[one_of(11)]) = value;
        if (one_of(8) == 0) exchange();
    }
}

static void act(void) {
    struct sockaddr_un address;
    static int squatter = -1;
    switch (one_of(16)) {
    case 0: case 1: case 2: open_door(); break;
    case 3: case 4: case 5: case 6: send_offers(); break;
    case 7: case 8: take_offer(); break;
    case 9: usleep((useconds_t)one_of(20000)); break;
    case 10:
        if (own_door >= 0) close(own_door);
        own_door = -1;
        break;
    case 11:
        /* In the place of the other side's door. */
        if (one_of(4)) break;
        if (squatter < 0) squatter = socket(AF_UNIX, SOCK_DGRAM, 0);
        socklen_t length = door(&address, to);
        bind(squatter, (struct sockaddr *)&address, length);
        break;
    case 12:
        if (one_of(6) == 0) half = 1, shutdown(fd, one_of(2) ? SHUT_RD : SHUT_WR);
        break;
    case 13:
        if (one_of(3) == 0) scribble();
        break;
    default: break;
    }
    for (int count = one_of(12); count > 0; count--) exchange();
}

/* As it should be, up to the link. */
static void begin_well(void) {
    struct sockaddr_un address;
    own_door = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t length = door(&address, from);
    if (bind(own_door, (struct sockaddr *)&address, length) != 0) return;
    length = door(&address, to);
    for (int turn = 0; turn < 100 && connect(own_door, (struct sockaddr *)&address, length) != 0; turn++) exchange();
    uint64_t words[4] = {0, from, to, CAPACITY};
    memcpy(words, "HWSWAP02", 8);
    int segment = memory(0);
    char space[CMSG_SPACE(sizeof segment)] = {0};
    struct iovec part = {words, sizeof words};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(head), &segment, sizeof segment);
    sendmsg(own_door, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(segment);
    for (int turn = one_of(60); turn > 0; turn--) exchange();
    take_offer();
}

static int join(const char *path, int listens) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listens) {
        if (bind(made, (struct sockaddr *)&address, sizeof address) != 0 || listen(made, 0) != 0) exit(65);
        int accepted = accept(made, NULL, NULL);
        close(made);
        unlink(path);
        return accepted;
    }
    for (int tries = 0; connect(made, (struct sockaddr *)&address, sizeof address) != 0; tries++) {
        if (tries > 2000) exit(66);
        usleep(5000);
    }
    return made;
}

int main(int count, char **words) {
    int listens = count == 4 && strcmp(words[3], "listen") == 0;
    if (count != 3 && !listens) return 64;
    alarm(60);
    state = strtoull(words[1], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
    fd = join(words[2], listens);
    for (int first = one_of(6); first > 0; first--) exchange();
    struct stat about;
    fstat(fd, &about);
    from = (uint32_t)about.st_ino;
    /* Known to the kernel once the other side has accepted. */
    exchange();
    to = other_inode(from);
    int steps = one_of(5) ? 20 + one_of(20) : one_of(20);
    if (one_of(2)) begin_well();
    for (step = 0; step < steps; step++) act();
    take_offer();
    leave();
}
