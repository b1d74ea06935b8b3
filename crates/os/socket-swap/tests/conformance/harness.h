/* What the cases share: a settled connection, a way to take turns, and a record of what was seen. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Appends one observation. Only what a plain socket promises belongs here, so no amounts that depend on buffers. */
void say(const char *format, ...);
/* The result of a call and, if it failed, the name of its error. */
void result(const char *what, long value);
/* Goes on when the other side has called tell() as often as this side has called hear(). */
void tell(void);
void hear(void);
/* Milliseconds of a clock that only goes forward. */
long now_ms(void);
void pause_ms(long ms);
/* Waits until all other threads of this process sleep in their calls. */
void others_asleep(void);
/* Reads exactly `length` bytes unless the stream ends; returns how many. */
long read_fully(int fd, void *buffer, long length);
long write_fully(int fd, const void *buffer, long length);
/* Byte `index` of a stream whose bytes tell where they belong. */
unsigned char byte_at(long index);
void fill(unsigned char *buffer, long from, long length);
/* The first index that does not hold what belongs there, or -1. */
long first_wrong(const unsigned char *buffer, long from, long length);
/* Exchanges single bytes until a pair that can be swapped has been. */
void settle(int fd, int first);
void set_nonblocking(int fd, int on);
/* Sides that many cases use: one that only waits for the other, and one that answers a tell() with one byte. */
void idle(int fd);
void answer_once(int fd);
/* Until a signal: longer than a call takes to fall asleep on a busy machine. One that comes before interrupts nothing. */
#define LATER_US 150000
/* Counts a signal in `alarms`. */
extern volatile sig_atomic_t alarms;
void on_alarm(int number);
/* Sends one after so many microseconds, under these flags of sigaction. */
void interrupt_after(long us, int flags);
/* A settled connection whose two ends are both this process's. */
void make_pair(int ends[2]);
int send_fd(int through, int passed);
int receive_fd(int through);

struct one_case {
    const char *name;
    void (*server)(int fd);
    void (*client)(int fd);
};
extern const struct one_case basic_cases[];
extern const struct one_case added_cases[];
extern const struct one_case call_cases[];
extern const struct one_case limit_cases[];
extern const struct one_case thread_cases[];
extern const struct one_case set_cases[];
extern const struct one_case name_cases[];
