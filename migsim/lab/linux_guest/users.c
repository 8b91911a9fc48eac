/*
 * The users of the Linux guest: a closed loop. Each of them thinks for an exponential time, asks the server for one
 * thing, and waits for the answer; this one process plays them all and reports on the second serial port what was
 * done. One question is one round trip: a call of a function in PostgreSQL, or one command of the store.
 *
 * Arguments are key=value. Times are CLOCK_MONOTONIC in microseconds. All counts and sums go on since `ready`.
 */
#define _GNU_SOURCE
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_USERS 400

static struct workload idle = {.name = "idle"};
static struct workload *workload;
static struct user users[MAX_USERS];
static int user_count, tty, polling, argument_count;
static char **argument_words;
static uint64_t think_us, state;

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* splitmix64 */
uint64_t random64(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double uniform(void) { return (double)(random64() >> 11) * 0x1p-53; }

static const char *word(const char *name)
{
    size_t length = strlen(name);
    for (int i = 1; i < argument_count; i++)
        if (!strncmp(argument_words[i], name, length) && argument_words[i][length] == '=')
            return argument_words[i] + length + 1;
    return NULL;
}

uint64_t argument(const char *name, uint64_t otherwise)
{
    const char *found = word(name);
    return found ? strtoull(found, NULL, 10) : otherwise;
}

/* A line that finds the port full is dropped: the next one holds its counts too. */
static void say(const char *format, ...)
{
    static int broken;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    if (broken && write(tty, "\n", 1) != 1)
        return;
    broken = write(tty, line, (size_t)length) != length;
}

void give_up(const char *what, const char *why)
{
    fprintf(stderr, "%s: %.*s\n", what, (int)strcspn(why, "\r\n"), why);
    exit(1);
}

/* Processor time used by all processes and the kernel since boot, by its own books (1/100 s). */
static uint64_t busy_us(void)
{
    static int fd = -1;
    char text[256];
    unsigned long long user, nice, system, idle_for, wait, irq, soft;
    if (fd < 0)
        fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0)
        give_up("/proc/stat", strerror(errno));
    text[got] = 0;
    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle_for, &wait, &irq,
               &soft) != 7)
        give_up("/proc/stat", text);
    return (user + nice + system + irq + soft) * 10000;
}

static void think(struct user *user, uint64_t now)
{
    user->asking = 0;
    user->due_us = now + (uint64_t)(-log1p(-uniform()) * (double)think_us);
}

void answered(struct user *user)
{
    uint64_t now = now_us();
    user->kind->count++;
    user->kind->latency_us += now - user->due_us; /* who got to ask late has waited since the thinking was over */
    think(user, now);
}

static void ask(struct user *user)
{
    int draw = (int)(uniform() * 100);
    user->kind = workload->kinds;
    while (draw >= user->kind->weight)
        draw -= user->kind++->weight;
    user->asking = 1;
    workload->ask(user);
}

static void report(uint64_t busy_at_ready)
{
    char text[512] = "";
    int used = 0;
    for (int kind = 0; kind < workload->kind_count; kind++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %s=%llu:%llu", workload->kinds[kind].name,
                         (unsigned long long)workload->kinds[kind].count,
                         (unsigned long long)workload->kinds[kind].latency_us);
    say("migsim-linux work clock_us=%llu%s busy_us=%llu", (unsigned long long)now_us(), text,
        (unsigned long long)(busy_us() - busy_at_ready));
}

static void set_up(void)
{
    const char *name = word("workload");
    struct workload *known[] = {&order_entry, &store, &idle};
    for (int i = 0; i < 3; i++)
        if (name && !strcmp(name, known[i]->name))
            workload = known[i];
    if (!workload)
        give_up("workload", "order-entry, store or idle");
    user_count = workload == &idle ? 0 : (int)argument("users", 75);
    think_us = argument("think_us", 1000000);
    state = argument("seed", 1);
    if (user_count > MAX_USERS || user_count < 0)
        give_up("users", "too many");
    tty = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    polling = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < user_count; i++) {
        workload->connect(&users[i], i);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(polling, EPOLL_CTL_ADD, users[i].fd, &event))
            give_up("epoll", strerror(errno));
    }
}

/* Who has thought enough asks; returns when the next one will have. */
static uint64_t ask_all_due(uint64_t now, uint64_t next)
{
    for (int i = 0; i < user_count; i++) {
        if (!users[i].asking && users[i].due_us <= now)
            ask(&users[i]);
        if (!users[i].asking && users[i].due_us < next)
            next = users[i].due_us;
    }
    return next;
}

int main(int count, char **words)
{
    argument_count = count;
    argument_words = words;
    set_up();
    uint64_t report_us = argument("report_ms", 1000) * 1000;
    unsigned long long bytes = user_count ? workload->fill(&users[0]) : 0;
    uint64_t now = now_us(), report_at = now + report_us, busy = busy_us();
    for (int i = 0; i < user_count; i++)
        think(&users[i], now);
    say("migsim-linux ready clock_us=%llu workload=%s users=%d shared_buffers_bytes=%llu data_bytes=%llu think_us=%llu",
        (unsigned long long)now, workload->name, user_count, (unsigned long long)argument("buffers_bytes", 0), bytes,
        (unsigned long long)think_us);
    for (;;) {
        now = now_us();
        if (now >= report_at) {
            report(busy);
            /* after a delay on the next beat: missed ones are not made up for */
            report_at += (1 + (now - report_at) / report_us) * report_us;
        }
        uint64_t next = ask_all_due(now, report_at);
        now = now_us();
        uint64_t wait_us = next > now ? next - now : 0;
        struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
        struct epoll_event events[64];
        int found = epoll_pwait2(polling, events, 64, &wait, NULL);
        for (int i = 0; i < found; i++)
            workload->hear(&users[events[i].data.u32]);
    }
}
