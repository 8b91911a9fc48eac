/*
 * The users of the Linux guest: a closed loop. Each of them thinks for an exponential time, asks the server for one
 * thing, and waits for the answer; this one process plays them all and reports on the second serial port what was
 * done. One request is one round trip: a call of a function in PostgreSQL, or one command of the store.
 *
 * Arguments are key=value. Times are CLOCK_MONOTONIC in microseconds. All counts and sums go on since `ready`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_USERS 400
#define MAX_KINDS 5

struct kind {
    const char *name, *statement;
    int weight; /* percent */
    uint64_t count, latency_us;
};

/* The five transactions and how often each is asked for. */
static struct kind order_entry[] = {
    {"customer-registration", "SELECT customer_registration()", 10, 0, 0},
    {"browse-products", "SELECT browse_products()", 40, 0, 0},
    {"order-products", "SELECT order_products()", 30, 0, 0},
    {"process-orders", "SELECT process_orders()", 10, 0, 0},
    {"browse-orders", "SELECT browse_orders()", 10, 0, 0},
};
static struct kind store[] = {
    {"get", NULL, 50, 0, 0},
    {"set", NULL, 50, 0, 0},
};

struct user {
    PGconn *database;
    int fd, asking, kind;
    uint64_t due_us, asked_us; /* when thinking ends; when the question was put */
    size_t answer_left;        /* of the store's answer; 0: its first line is not read yet */
};

static struct kind *kinds;
static int kind_count;
static struct user users[MAX_USERS];
static int user_count, tty = -1, polling = -1;
static uint64_t think_us, state;

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* splitmix64 */
static uint64_t random64(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(void) { return (double)(random64() >> 11) * 0x1p-53; }

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

static void give_up(const char *what, const char *why)
{
    fprintf(stderr, "%s: %.*s\n", what, (int)strcspn(why, "\n"), why);
    exit(1);
}

/* Processor time used by all processes and the kernel since boot, by its own books (1/100 s). */
static uint64_t busy_us(void)
{
    static int fd = -1;
    char text[256];
    unsigned long long user, nice, system, idle, wait, irq, soft;
    if (fd < 0)
        fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = 0;
    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft) != 7)
        return 0;
    return (user + nice + system + irq + soft) * 10000;
}

static void think(struct user *user, uint64_t now)
{
    user->asking = 0;
    user->due_us = now + (uint64_t)(-log1p(-uniform()) * (double)think_us);
}

static void answered(struct user *user)
{
    uint64_t now = now_us();
    kinds[user->kind].count++;
    kinds[user->kind].latency_us += now - user->asked_us;
    think(user, now);
}

static void must(PGconn *database, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        give_up("PostgreSQL", PQerrorMessage(database));
    PQclear(result);
}

static void connect_database(struct user *user, int branch)
{
    char text[128];
    snprintf(text, sizeof text, "host=/run user=postgres dbname=branch%d", branch);
    user->database = PQconnectdb(text);
    if (PQstatus(user->database) != CONNECTION_OK)
        give_up("PostgreSQL", PQerrorMessage(user->database));
    snprintf(text, sizeof text, "SELECT setseed(%.9f)", uniform());
    must(user->database, PQexec(user->database, text));
    for (int kind = 0; kind < kind_count; kind++)
        must(user->database, PQprepare(user->database, kinds[kind].name, kinds[kind].statement, 0, NULL));
    PQsetnonblocking(user->database, 1);
    user->fd = PQsocket(user->database);
}

static void ask_database(struct user *user)
{
    if (!PQsendQueryPrepared(user->database, kinds[user->kind].name, 0, NULL, NULL, NULL, 0))
        give_up("PostgreSQL", PQerrorMessage(user->database));
    while (PQflush(user->database) > 0)
        ;
}

static void hear_database(struct user *user)
{
    if (!PQconsumeInput(user->database))
        give_up("PostgreSQL", PQerrorMessage(user->database));
    while (!PQisBusy(user->database)) {
        PGresult *result = PQgetResult(user->database);
        if (!result) {
            if (user->asking)
                answered(user);
            return;
        }
        must(user->database, result);
    }
}

static unsigned long long data_bytes(void)
{
    PGresult *result = PQexec(users[0].database,
                              "SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datname LIKE 'branch%'");
    unsigned long long bytes = PQresultStatus(result) == PGRES_TUPLES_OK ? strtoull(PQgetvalue(result, 0, 0), 0, 10) : 0;
    PQclear(result);
    return bytes;
}

static void ask(struct user *user)
{
    int draw = (int)(uniform() * 100);
    user->kind = 0;
    while (user->kind < kind_count - 1 && draw >= kinds[user->kind].weight)
        draw -= kinds[user->kind++].weight;
    user->asking = 1;
    user->asked_us = now_us();
    ask_database(user);
}

static void report(uint64_t busy_at_ready)
{
    char text[512];
    int used = 0;
    for (int kind = 0; kind < kind_count; kind++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %s=%llu:%llu", kinds[kind].name,
                         (unsigned long long)kinds[kind].count, (unsigned long long)kinds[kind].latency_us);
    text[used] = 0;
    say("migsim-linux work clock_us=%llu%s busy_us=%llu", (unsigned long long)now_us(), text,
        (unsigned long long)(busy_us() - busy_at_ready));
}

static uint64_t argument(int count, char **arguments, const char *name, uint64_t otherwise)
{
    size_t length = strlen(name);
    for (int i = 1; i < count; i++)
        if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=')
            return strtoull(arguments[i] + length + 1, NULL, 10);
    return otherwise;
}

int main(int count, char **arguments)
{
    const char *workload = "";
    for (int i = 1; i < count; i++)
        if (!strncmp(arguments[i], "workload=", 9))
            workload = arguments[i] + 9;
    tty = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    user_count = (int)argument(count, arguments, "users", 75);
    think_us = argument(count, arguments, "think_us", 1000000);
    uint64_t report_us = argument(count, arguments, "report_ms", 1000) * 1000;
    int branches = (int)argument(count, arguments, "branches", 1);
    state = argument(count, arguments, "seed", 1);
    polling = epoll_create1(EPOLL_CLOEXEC);
    if (user_count > MAX_USERS || user_count < 1 || !report_us || branches < 1)
        give_up("users", "a number out of range");
    unsigned long long bytes = 0;
    if (!strcmp(workload, "order-entry")) {
        kinds = order_entry;
        kind_count = (int)(sizeof order_entry / sizeof *order_entry);
    }
    if (!strcmp(workload, "idle"))
        user_count = 0;
    for (int i = 0; i < user_count; i++) {
        connect_database(&users[i], 1 + i % branches);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(polling, EPOLL_CTL_ADD, users[i].fd, &event);
    }
    if (kind_count)
        bytes = data_bytes();
    uint64_t ready = now_us(), report_at = ready + report_us, busy = busy_us();
    say("migsim-linux ready clock_us=%llu workload=%s users=%d shared_buffers_bytes=%llu data_bytes=%llu think_us=%llu",
        (unsigned long long)ready, workload, user_count,
        (unsigned long long)argument(count, arguments, "buffers_bytes", 0), bytes, (unsigned long long)think_us);
    for (int i = 0; i < user_count; i++)
        think(&users[i], ready);
    for (;;) {
        uint64_t now = now_us(), next = report_at;
        if (now >= report_at) {
            report(busy);
            /* after a standstill of the clock's reader: on the next beat, not all the missed ones */
            report_at += (1 + (now - report_at) / report_us) * report_us;
            next = report_at;
        }
        for (int i = 0; i < user_count; i++) {
            if (!users[i].asking && users[i].due_us <= now)
                ask(&users[i]);
            if (!users[i].asking && users[i].due_us < next)
                next = users[i].due_us;
        }
        now = now_us();
        uint64_t wait_us = next > now ? next - now : 0;
        struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
        struct epoll_event events[64];
        int found = epoll_pwait2(polling, events, 64, &wait, NULL);
        for (int i = 0; i < found; i++)
            hear_database(&users[events[i].data.u32]);
    }
}
